//! `davit image prune`

use clap::Args;
use davit_api::image::ImagesPruneResponse;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::confirm;
use crate::failure::Outcome;
use crate::flags::filter;
use crate::output::{self, units};
use crate::session::Session;

/// Flags of `davit image prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove all images that no container uses, not just those without a name
    #[arg(long, short)]
    all: bool,
    /// Which images, such as until=24h or label=x
    #[arg(long, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Don't ask
    #[arg(long, short)]
    force: bool,
    operands: Vec<String>,
}

impl Verb for Prune {
    const ABOUT: &'static str = "Remove unused images";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let warning = match self.all {
            true => {
                "WARNING! This will remove all images without at least one container associated to them."
            }
            false => "WARNING! This will remove all dangling images.",
        };
        if !self.force && !confirm(warning)? {
            return Ok(0);
        }
        let freed = prune(session, self.all, &self.filter).await?;
        output::line(&format!("Total reclaimed space: {}", units::decimal_size(freed as f64, 4)))
    }
}

/// Removes unused images, prints what went and returns the bytes freed.
pub(crate) async fn prune(
    session: &Session,
    all: bool,
    given: &[(String, String)],
) -> Outcome<u64> {
    let mut filters = filter::collect(given);
    filters.add("dangling", (!all).to_string());
    let query = filter::add(Query::new(), &filters);
    let response: ImagesPruneResponse = session.client.post_for("/images/prune", &query).await?;
    let deleted = response.images_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        let lines: String = deleted.iter().map(super::rm::describe).collect();
        output::text(&format!("Deleted Images:\n{lines}\n"))?;
    }
    Ok(response.space_reclaimed)
}
