//! `davit rm`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::for_each;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::session::Session;

/// Flags of `davit rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Kill the container first if it runs
    #[arg(long, short)]
    force: bool,
    /// Remove a link in place of a container
    #[arg(long, short)]
    link: bool,
    /// Remove the container's anonymous volumes as well
    #[arg(long, short)]
    volumes: bool,
    operands: Vec<String>,
}

impl Verb for Remove {
    const ABOUT: &'static str = "Remove one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let query = Query::new()
            .with_flag("force", self.force)
            .with_flag("link", self.link)
            .with_flag("v", self.volumes);
        for_each(&self.operands, async |name| {
            let trimmed = name.trim_matches('/');
            if trimmed.is_empty() {
                return Err(Failure::new("Container name cannot be empty"));
            }
            match session.client.delete(&path(trimmed, ""), &query).await {
                Ok(_) => Ok(name.to_owned()),
                // What is gone is as removed as it can be.
                Err(failure) if self.force && failure.is_status(404) => {
                    output::complain(&failure.text);
                    Ok(String::new())
                }
                Err(failure) => Err(failure),
            }
        })
        .await
    }
}
