//! `davit wait`

use clap::Args;

use super::waiting::Waiting;
use crate::catalogue::{Arity, Verb};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::session::Session;

/// Flags of `davit wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    operands: Vec<String>,
}

impl Verb for Wait {
    const ABOUT: &'static str = "Wait until containers end, then print their exit statuses";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let mut failures = Vec::new();
        for name in &self.operands {
            let status = async { Waiting::open(session, name, "").await?.status().await };
            match status.await {
                Ok(status) => {
                    output::line(&status.to_string())?;
                }
                Err(failure) => failures.push(failure.text),
            }
        }
        if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
    }
}
