//! `davit history`

use clap::Args;
use davit_api::image::HistoryItem;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::output::format::Listing;
use crate::output::template::Row;
use crate::output::units;
use crate::session::Session;

const LISTING: Listing = Listing {
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    default: "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
};

/// With `--human=false` the second column holds a time.
const LISTING_WITH_TIMES: Listing = Listing {
    default: "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    ..LISTING
};

/// Flags of `davit history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Print with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Sizes and times for people
    #[arg(long, short = 'H', default_value = "true")]
    human: bool,
    /// Don't cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
    operands: Vec<String>,
}

impl Verb for History {
    const ABOUT: &'static str = "Show how an image was made";
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let items: Vec<HistoryItem> =
            session.client.get(&path(&self.operands[0], "/history"), &Query::new()).await?;
        let rows = items.iter().map(|item| self.row(item)).collect();
        let listing = if self.human { LISTING } else { LISTING_WITH_TIMES };
        listing.print(rows, self.format.as_deref(), self.quiet)
    }
}

impl History {
    fn row(&self, item: &HistoryItem) -> Row {
        let id = if self.no_trunc { &item.id } else { units::short_id(&item.id) };
        let command = item.created_by.replace('\t', " ");
        let command = if self.no_trunc { command } else { units::ellipsis(&command, 45) };
        let size = match self.human {
            true => units::decimal_size(item.size as f64, 3),
            false => item.size.to_string(),
        };
        let at = davit_api::Time::from_nanoseconds(item.created.saturating_mul(1_000_000_000))
            .to_string();
        let since = if self.human { units::ago(item.created) } else { at.clone() };
        Row::new(vec![
            ("ID", id.into()),
            ("CreatedSince", since.into()),
            ("CreatedAt", at.into()),
            ("CreatedBy", command.into()),
            ("Size", size.into()),
            ("Comment", item.comment.as_str().into()),
        ])
    }
}
