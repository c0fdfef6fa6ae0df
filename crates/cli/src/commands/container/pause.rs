//! `davit pause` and `davit unpause`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::for_each;
use crate::failure::Outcome;
use crate::session::Session;

/// Flags of `davit pause`.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    operands: Vec<String>,
}

impl Verb for Pause {
    const ABOUT: &'static str = "Pause all processes of one or more containers";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        send(session, &self.operands, "/pause").await
    }
}

/// Flags of `davit unpause`.
#[derive(Debug, Args)]
pub(crate) struct Unpause {
    operands: Vec<String>,
}

impl Verb for Unpause {
    const ABOUT: &'static str = "Let paused containers go on";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        send(session, &self.operands, "/unpause").await
    }
}

async fn send(session: &Session, names: &[String], operation: &str) -> Outcome {
    for_each(names, async |name| {
        session.client.post(&path(name, operation), &Query::new()).await?;
        Ok(name.to_owned())
    })
    .await
}
