//! `davit container inspect`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::commands::inspection;
use crate::failure::Outcome;
use crate::session::Session;

/// Flags of `davit container inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Print with a Go template, or 'json'
    #[arg(long, short)]
    format: Option<String>,
    /// Include the sizes
    #[arg(long, short)]
    size: bool,
    operands: Vec<String>,
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show all there is to know about containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        inspection::inspect(&self.operands, self.format.as_deref(), |name| {
            fetch(session, name, self.size)
        })
        .await
    }
}

async fn fetch(session: &Session, name: &str, size: bool) -> Outcome<bytes::Bytes> {
    inspection::document(session, &path(name, "/json"), size).await
}
