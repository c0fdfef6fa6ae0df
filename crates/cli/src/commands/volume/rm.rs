//! `davit volume rm` and `davit volume prune`

use clap::Args;
use davit_api::volume::VolumesPruneResponse;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::{confirm, for_each};
use crate::failure::Outcome;
use crate::flags::filter;
use crate::output::{self, units};
use crate::session::Session;

/// Flags of `davit volume rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// A volume that is not there is no error
    #[arg(long, short)]
    force: bool,
    operands: Vec<String>,
}

impl Verb for Remove {
    const ABOUT: &'static str = "Remove one or more volumes";
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let query = Query::new().with_flag("force", self.force);
        for_each(&self.operands, async |name| {
            session.client.delete(&path(name), &query).await?;
            Ok(name.to_owned())
        })
        .await
    }
}

/// Flags of `davit volume prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove named volumes as well, not just anonymous ones
    #[arg(long, short)]
    all: bool,
    /// Which volumes, such as label=x
    #[arg(long, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Don't ask
    #[arg(long, short)]
    force: bool,
    operands: Vec<String>,
}

impl Verb for Prune {
    const ABOUT: &'static str = "Remove volumes that no container uses";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let warning = match self.all {
            true => {
                "WARNING! This will remove all local volumes not used by at least one container."
            }
            false => {
                "WARNING! This will remove anonymous local volumes not used by at least one container."
            }
        };
        if !self.force && !confirm(warning)? {
            return Ok(0);
        }
        let freed = prune(session, self.all, &self.filter).await?;
        output::line(&format!("Total reclaimed space: {}", units::decimal_size(freed as f64, 4)))
    }
}

/// Removes unused volumes, prints their names and returns the bytes freed.
pub(crate) async fn prune(
    session: &Session,
    all: bool,
    given: &[(String, String)],
) -> Outcome<u64> {
    let mut filters = filter::collect(given);
    if all {
        filters.add("all", "true");
    }
    let query = filter::add(Query::new(), &filters);
    let response: VolumesPruneResponse = session.client.post_for("/volumes/prune", &query).await?;
    let deleted = response.volumes_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        output::text(&format!("Deleted Volumes:\n{}\n\n", deleted.join("\n")))?;
    }
    Ok(response.space_reclaimed)
}
