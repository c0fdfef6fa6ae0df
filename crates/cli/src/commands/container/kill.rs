//! `davit kill`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::for_each;
use crate::failure::Outcome;
use crate::session::Session;

/// Flags of `davit kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal to send in place of KILL
    #[arg(long, short)]
    signal: Option<String>,
    operands: Vec<String>,
}

impl Verb for Kill {
    const ABOUT: &'static str = "Kill one or more running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let query = Query::new().with_some("signal", self.signal.as_deref());
        for_each(&self.operands, async |name| {
            session.client.post(&path(name, "/kill"), &query).await?;
            Ok(name.to_owned())
        })
        .await
    }
}
