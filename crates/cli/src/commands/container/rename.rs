//! `davit rename`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// Flags of `davit rename`.
#[derive(Debug, Args)]
pub(crate) struct Rename {
    operands: Vec<String>,
}

impl Verb for Rename {
    const ABOUT: &'static str = "Rename a container";
    const USAGE: &'static str = "CONTAINER NEW_NAME";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let (old, new) = (self.operands[0].trim(), self.operands[1].trim());
        if old.is_empty() || new.is_empty() {
            return Err(Failure::new("Error: Neither old nor new names may be empty"));
        }
        let renamed =
            session.client.post(&path(old, "/rename"), &Query::new().with("name", new)).await;
        match renamed {
            Ok(()) => Ok(0),
            Err(failure) => {
                crate::output::complain(&failure.text);
                Err(Failure::new(format!("Error: failed to rename container named {old}")))
            }
        }
    }
}
