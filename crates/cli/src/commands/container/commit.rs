//! `davit commit`

use clap::Args;
use davit_types::reference::Reference;
use serde::Deserialize;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::session::Session;

/// Flags of `davit commit`.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Who made it, such as "Jane Doe <jane@example.org>"
    #[arg(long, short)]
    author: Option<String>,
    /// Dockerfile instruction to apply (repeatable)
    #[arg(long, short)]
    change: Vec<String>,
    /// Text for the history
    #[arg(long, short)]
    message: Option<String>,
    /// Pause the container meanwhile
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    pause: bool,
    /// Don't pause the container meanwhile
    #[arg(long)]
    no_pause: bool,
    operands: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

impl Verb for Commit {
    const ABOUT: &'static str = "Make an image of what a container changed";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]";
    const ARITY: Arity = Arity::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let mut query = Query::new()
            .with_some("author", self.author.as_deref())
            .with_some("comment", self.message.as_deref())
            .with("container", &self.operands[0]);
        for change in &self.change {
            query = query.with("changes", change);
        }
        if !self.pause || self.no_pause {
            query = query.with("pause", "0");
        }
        if let Some(name) = self.operands.get(1) {
            let name =
                Reference::parse_familiar(name).map_err(|error| Failure::new(error.to_string()))?;
            query = query.with("repo", name.familiar_name()).with_some("tag", name.tag());
        }
        let made: Made = session.client.post_for("/commit", &query).await?;
        output::line(&made.id)
    }
}
