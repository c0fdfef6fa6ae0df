//! `davit container prune`

use clap::Args;
use davit_api::container::PruneResponse;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::confirm;
use crate::failure::Outcome;
use crate::flags::filter;
use crate::output::{self, units};
use crate::session::Session;

/// Flags of `davit container prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Which containers, such as until=24h or label=x
    #[arg(long, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Don't ask
    #[arg(long, short)]
    force: bool,
    operands: Vec<String>,
}

impl Verb for Prune {
    const ABOUT: &'static str = "Remove all stopped containers";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        if !self.force && !confirm("WARNING! This will remove all stopped containers.")? {
            return Ok(0);
        }
        let freed = prune(session, &self.filter).await?;
        output::line(&format!("Total reclaimed space: {}", units::decimal_size(freed as f64, 4)))
    }
}

/// Removes all stopped containers, prints their ids and returns the bytes freed.
pub(crate) async fn prune(session: &Session, filters: &[(String, String)]) -> Outcome<u64> {
    let query = filter::add(Query::new(), &filter::collect(filters));
    let response: PruneResponse = session.client.post_for("/containers/prune", &query).await?;
    let deleted = response.containers_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        output::text(&format!("Deleted Containers:\n{}\n\n", deleted.join("\n")))?;
    }
    Ok(response.space_reclaimed)
}
