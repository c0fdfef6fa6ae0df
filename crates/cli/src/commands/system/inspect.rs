//! `davit inspect`: whatever has that name or id.

use bytes::Bytes;
use clap::Args;

use crate::catalogue::{Arity, Verb};
use crate::client::{Query, escape_path};
use crate::commands::inspection;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// Kinds of objects and where they are, in the order they are looked for.
const KINDS: [(&str, &str, &str); 4] = [
    ("container", "/containers/", "/json"),
    ("image", "/images/", "/json"),
    ("network", "/networks/", ""),
    ("volume", "/volumes/", ""),
];

/// Kinds that Docker knows and Davit has none of.
const OTHERS: [&str; 6] = ["config", "node", "plugin", "secret", "service", "task"];

/// Flags of `davit inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Print with a Go template, or 'json'
    #[arg(long, short)]
    format: Option<String>,
    /// Include a container's sizes
    #[arg(long, short)]
    size: bool,
    /// Kind of the objects: container, image, network or volume
    #[arg(long = "type")]
    kind: Option<String>,
    operands: Vec<String>,
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show all there is to know about any objects";
    const USAGE: &'static str = "[OPTIONS] NAME|ID [NAME|ID...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let kind = self.kind.as_deref().filter(|kind| !kind.is_empty());
        if let Some(kind) = kind
            && !KINDS.iter().any(|(name, ..)| *name == kind)
            && !OTHERS.contains(&kind)
        {
            return Err(Failure::new(format!(
                "unknown type: {kind:?}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \
                 \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
            )));
        }
        inspection::inspect(&self.operands, self.format.as_deref(), |name| {
            find(session, name, kind, self.size)
        })
        .await
    }
}

async fn find(session: &Session, name: &str, kind: Option<&str>, size: bool) -> Outcome<Bytes> {
    let wanted = KINDS.iter().filter(|(candidate, ..)| kind.is_none_or(|kind| kind == *candidate));
    for (candidate, before, after) in wanted {
        let is_container = *candidate == "container";
        let query = Query::new().with_flag("size", size && is_container);
        match session.client.get_raw(&format!("{before}{}{after}", escape_path(name)), &query).await
        {
            Err(failure) if failure.is_status(404) && kind.is_none() => {}
            found => return found,
        }
    }
    match kind {
        None => Err(Failure::new(format!("Error: No such object: {name}"))),
        Some(kind) => Err(Failure::new(format!("Error: No such {kind}: {name}"))),
    }
}
