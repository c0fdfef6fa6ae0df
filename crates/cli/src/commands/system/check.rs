//! `davit system check`

use clap::Args;
use serde::Deserialize;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::output;
use crate::session::Session;

/// Flags of `davit system check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Put right what can be: damaged blobs go, a pull brings them back; strays are deleted
    #[arg(long)]
    repair: bool,
    operands: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Finding {
    object: String,
    problem: String,
    repaired: bool,
}

impl Verb for Check {
    const ABOUT: &'static str = "Check that every stored byte is right and has an owner";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    /// Exits with 1 when something is wrong that was not repaired.
    async fn run(self, session: &Session) -> Outcome {
        let query = Query::new().with_flag("repair", self.repair);
        let answer: Answer = session.client.post_for("/system/check", &query).await?;
        for Finding { object, problem, repaired } in &answer.findings {
            let repaired = if *repaired { " (repaired)" } else { "" };
            output::line(&format!("{object}: {problem}{repaired}"))?;
        }
        if answer.findings.is_empty() {
            return output::line("No problems found");
        }
        Ok(u8::from(answer.findings.iter().any(|finding| !finding.repaired)))
    }
}
