//! `davit network rm` and `davit network prune`

use clap::Args;
use davit_api::network::NetworksPruneResponse;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::confirm;
use crate::failure::{Failure, Outcome};
use crate::flags::filter;
use crate::output;
use crate::session::Session;

/// Flags of `davit network rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// A network that is not there is no error
    #[arg(long, short)]
    force: bool,
    operands: Vec<String>,
}

impl Verb for Remove {
    const ABOUT: &'static str = "Remove one or more networks";
    const USAGE: &'static str = "NETWORK [NETWORK...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let mut has_failed = false;
        for name in &self.operands {
            match session.client.delete(&path(name, ""), &Query::new()).await {
                Ok(_) => {
                    output::line(name)?;
                }
                Err(failure) if self.force && failure.is_status(404) => {}
                Err(failure) => {
                    output::complain(&failure.text);
                    has_failed = true;
                }
            }
        }
        if has_failed { Err(Failure::new("exit status 1")) } else { Ok(0) }
    }
}

/// Flags of `davit network prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Which networks, such as until=24h or label=x
    #[arg(long, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Don't ask
    #[arg(long, short)]
    force: bool,
    operands: Vec<String>,
}

impl Verb for Prune {
    const ABOUT: &'static str = "Remove all networks that no container uses";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let warning =
            "WARNING! This will remove all custom networks not used by at least one container.";
        if self.force || confirm(warning)? {
            prune(session, &self.filter).await?;
        }
        Ok(0)
    }
}

/// Removes unused networks and prints their names.
pub(crate) async fn prune(session: &Session, filters: &[(String, String)]) -> Outcome<()> {
    let query = filter::add(Query::new(), &filter::collect(filters));
    let response: NetworksPruneResponse =
        session.client.post_for("/networks/prune", &query).await?;
    let deleted = response.networks_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        output::text(&format!("Deleted Networks:\n{}\n\n", deleted.join("\n")))?;
    }
    Ok(())
}
