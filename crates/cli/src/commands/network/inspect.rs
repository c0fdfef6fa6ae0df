//! `davit network inspect`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::inspection;
use crate::failure::Outcome;
use crate::session::Session;

/// Flags of `davit network inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Print with a Go template, or 'json'
    #[arg(long, short)]
    format: Option<String>,
    /// More details, for diagnostics
    #[arg(long, short)]
    verbose: bool,
    operands: Vec<String>,
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show all there is to know about networks";
    const USAGE: &'static str = "[OPTIONS] NETWORK [NETWORK...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let query = Query::new().with_flag("verbose", self.verbose);
        inspection::inspect(&self.operands, self.format.as_deref(), |name| {
            let query = &query;
            async move { session.client.get_raw(&path(name, ""), query).await }
        })
        .await
    }
}
