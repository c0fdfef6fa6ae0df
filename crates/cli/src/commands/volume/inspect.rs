//! `davit volume inspect`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::inspection;
use crate::failure::Outcome;
use crate::session::Session;

/// Flags of `davit volume inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Print with a Go template, or 'json'
    #[arg(long, short)]
    format: Option<String>,
    operands: Vec<String>,
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show all there is to know about volumes";
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        inspection::inspect(&self.operands, self.format.as_deref(), async |name| {
            session.client.get_raw(&path(name), &Query::new()).await
        })
        .await
    }
}
