//! `davit diff`

use clap::Args;
use davit_api::container::Change;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::output::format::Listing;
use crate::output::template::Row;
use crate::session::Session;

const LISTING: Listing = Listing {
    titles: &[("Type", "CHANGE TYPE"), ("Path", "PATH")],
    default: "table {{.Type}}\t{{.Path}}",
    quiet: "{{.Path}}",
};

/// Flags of `davit diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    operands: Vec<String>,
}

impl Verb for Diff {
    const ABOUT: &'static str = "List the files that differ from the image";
    const USAGE: &'static str = "CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let name = &self.operands[0];
        if name.is_empty() {
            return Err(Failure::new("Container name cannot be empty"));
        }
        let changes: Option<Vec<Change>> =
            session.client.get(&path(name, "/changes"), &Query::new()).await?;
        let rows = changes.unwrap_or_default().into_iter().map(|change| {
            let kind = match change.kind {
                0 => "C",
                1 => "A",
                _ => "D",
            };
            Row::new(vec![("Type", kind.into()), ("Path", change.path.into())])
        });
        LISTING.print(rows.collect(), Some("{{.Type}} {{.Path}}"), false)
    }
}
