//! `davit push`

use clap::Args;
use davit_types::reference::{DEFAULT_TAG, Reference};
use http::Method;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::credentials;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::output::progress::{self, Display};
use crate::session::Session;

/// Flags of `davit push`.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Push every tag of the repository
    #[arg(long, short)]
    all_tags: bool,
    /// No longer has an effect
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Push the manifest of this platform alone, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    /// Print nothing but the image's name
    #[arg(long, short)]
    quiet: bool,
    operands: Vec<String>,
}

impl Verb for Push {
    const ABOUT: &'static str = "Send an image to a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG]";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let name = &self.operands[0];
        let reference = Reference::parse(name).map_err(|error| Failure::new(error.to_string()))?;
        if reference.digest().is_some() {
            return Err(Failure::new("cannot push a digest reference"));
        }
        let tag = match (self.all_tags, reference.tag()) {
            (true, Some(_)) => {
                return Err(Failure::new("tag can't be used with --all-tags/-a"));
            }
            (true, None) => None,
            (false, Some(tag)) => Some(tag.to_owned()),
            (false, None) => {
                if !self.quiet {
                    output::line("Using default tag: latest")?;
                }
                Some(DEFAULT_TAG.to_owned())
            }
        };
        let platform = match &self.platform {
            Some(text) => Some(platform_document(text)?),
            None => None,
        };
        let query = Query::new()
            .with_some("platform", platform.as_deref())
            .with_some("tag", tag.as_deref());
        let auth = credentials::registry_auth(reference.registry())?;
        let request = Request::new(Method::POST, path(&reference.familiar_name(), "/push"), &query)
            // Older daemons want the header, with nothing in it if need be.
            .header("x-registry-auth", auth.unwrap_or_else(|| "e30=".to_owned()));
        let answer = session.client.send(request).await?;
        let display = if self.quiet { Display::Quiet } else { Display::Stdout };
        progress::show(answer, display).await?;
        if self.quiet {
            let shown = tag.map_or_else(String::new, |tag| format!(":{tag}"));
            return output::line(&format!("{}{shown}", reference.name()));
        }
        Ok(0)
    }
}

/// A platform as the API's JSON.
pub(super) fn platform_document(text: &str) -> Outcome<String> {
    let platform = davit_types::Platform::parse(text)
        .map_err(|error| Failure::new(format!("invalid platform: {error}")))?;
    let mut document = serde_json::json!({
        "architecture": platform.architecture, "os": platform.os,
    });
    if !platform.variant.is_empty() {
        document["variant"] = platform.variant.into();
    }
    Ok(document.to_string())
}
