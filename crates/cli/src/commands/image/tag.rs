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
        if !is_id(source) {
            valid(source)?;
        }
        let reference = valid(target)?;
        if reference.digest().is_some() {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        let query = Query::new().with("repo", reference.name()).with_some("tag", reference.tag());
        session.client.post(&path(source, "/tag"), &query).await?;
        Ok(0)
    }
}

fn valid(name: &str) -> Outcome<Reference> {
    Reference::parse_familiar(name).map_err(|error| {
        Failure::new(format!(
            "Error parsing reference: {name:?} is not a valid repository/tag: {error}"
        ))
    })
}

/// An image can also be meant by its full id, which is no reference.
fn is_id(name: &str) -> bool {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
