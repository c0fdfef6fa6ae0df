//! `davit rmi`

use clap::Args;
use davit_api::image::DeleteResponse;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::session::Session;

/// Flags of `davit rmi`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Remove the image even if containers use it or it has several names
    #[arg(long, short)]
    force: bool,
    /// Keep parents that have no name
    #[arg(long)]
    no_prune: bool,
    operands: Vec<String>,
}

impl Verb for Remove {
    const ABOUT: &'static str = "Remove one or more images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let query = Query::new().with_flag("force", self.force).with_flag("noprune", self.no_prune);
        let mut failures = Vec::new();
        let mut only_missing = true;
        for name in &self.operands {
            match remove(session, name, &query).await {
                Ok(deleted) => {
                    output::text(&deleted.iter().map(describe).collect::<String>())?;
                }
                Err(failure) => {
                    only_missing &= failure.is_status(404);
                    failures.push(failure.text);
                }
            }
        }
        match failures.as_slice() {
            [] => Ok(0),
            _ if self.force && only_missing => {
                output::complain(&failures.join("\n"));
                Ok(0)
            }
            _ => Err(Failure::new(failures.join("\n"))),
        }
    }
}

async fn remove(session: &Session, name: &str, query: &Query) -> Outcome<Vec<DeleteResponse>> {
    let bytes = session.client.delete(&path(name, ""), query).await?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::new(error.to_string()))
}

/// A line for one thing that went.
pub(super) fn describe(response: &DeleteResponse) -> String {
    match response.deleted.as_str() {
        "" => format!("Untagged: {}\n", response.untagged),
        deleted => format!("Deleted: {deleted}\n"),
    }
}
