//! `davit tag`

use clap::Args;
use davit_types::reference::Reference;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// Flags of `davit tag`.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    operands: Vec<String>,
}

impl Verb for Tag {
    const ABOUT: &'static str = "Give an image another name";
    const USAGE: &'static str = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let (source, target) = (&self.operands[0], &self.operands[1]);
        let reference = Reference::parse_familiar(target).map_err(|error| {
            Failure::new(format!(
                "Error parsing reference: {target:?} is not a valid repository/tag: {error}"
            ))
        })?;
        if reference.digest().is_some() {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        let query = Query::new().with("repo", reference.name()).with_some("tag", reference.tag());
        session.client.post(&path(source, "/tag"), &query).await?;
        Ok(0)
    }
}
