//! `davit stop` and `davit restart`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::for_each;
use crate::failure::Outcome;
use crate::flags::values;
use crate::session::Session;

/// How to stop.
#[derive(Debug, Args)]
struct StopFlags {
    /// Signal to send
    #[arg(long, short)]
    signal: Option<String>,
    /// Seconds to wait before killing, -1 to wait for ever
    #[arg(long, short, alias = "time", value_name = "int", value_parser = values::integer)]
    timeout: Option<i64>,
}

impl StopFlags {
    async fn send(&self, session: &Session, names: &[String], operation: &str) -> Outcome {
        let query = Query::new()
            .with_some("signal", self.signal.as_deref())
            .with_some("t", self.timeout.map(|seconds| seconds.to_string()));
        for_each(names, async |name| {
            session.client.post(&path(name, operation), &query).await?;
            Ok(name.to_owned())
        })
        .await
    }
}

/// Flags of `davit stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    flags: StopFlags,
    operands: Vec<String>,
}

impl Verb for Stop {
    const ABOUT: &'static str = "Stop one or more running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        self.flags.send(session, &self.operands, "/stop").await
    }
}

/// Flags of `davit restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    flags: StopFlags,
    operands: Vec<String>,
}

impl Verb for Restart {
    const ABOUT: &'static str = "Restart one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        self.flags.send(session, &self.operands, "/restart").await
    }
}
