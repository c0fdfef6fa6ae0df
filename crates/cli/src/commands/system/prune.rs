//! `davit system prune`

use clap::Args;

use crate::catalogue::{Arity, Verb};
use crate::commands::{confirm, container, image, network, volume};
use crate::failure::Outcome;
use crate::flags::filter;
use crate::output::{self, units};
use crate::session::Session;

/// Flags of `davit system prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove all images that no container uses, not just those without a name
    #[arg(long, short)]
    all: bool,
    /// What, such as until=24h or label=x
    #[arg(long, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Don't ask
    #[arg(long, short)]
    force: bool,
    /// Remove anonymous volumes as well
    #[arg(long)]
    volumes: bool,
    operands: Vec<String>,
}

impl Verb for Prune {
    const ABOUT: &'static str = "Remove everything that is not used";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        if !self.force && !confirm(&self.warning())? {
            return Ok(0);
        }
        let mut freed = container::prune::prune(session, &self.filter).await?;
        network::rm::prune(session, &self.filter).await?;
        if self.volumes {
            freed += volume::rm::prune(session, false, &self.filter).await?;
        }
        freed += image::prune::prune(session, self.all, &self.filter).await?;
        output::line(&format!("Total reclaimed space: {}", units::decimal_size(freed as f64, 4)))
    }
}

impl Prune {
    fn warning(&self) -> String {
        let mut lines =
            vec!["all stopped containers", "all networks not used by at least one container"];
        if self.volumes {
            lines.push("all anonymous volumes not used by at least one container");
        }
        lines.push(match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        });
        let list: String = lines.iter().map(|line| format!("  - {line}\n")).collect();
        format!("WARNING! This will remove:\n{list}")
    }
}
