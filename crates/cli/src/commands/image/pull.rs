//! `davit pull`, and the pulling of a missing image for `run` and `create`.

use clap::Args;
use davit_types::reference::Reference;
use http::Method;

use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::credentials;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::output::progress::{self, Display};
use crate::session::Session;

/// Flags of `davit pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Pull every tag of the repository
    #[arg(long, short)]
    all_tags: bool,
    /// No longer has an effect
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Platform of the image, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    /// Print nothing but the image's name
    #[arg(long, short)]
    quiet: bool,
    operands: Vec<String>,
}

impl Verb for Pull {
    const ABOUT: &'static str = "Get an image from a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG|@DIGEST]";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let name = &self.operands[0];
        let reference = Reference::parse(name).map_err(|error| Failure::new(error.to_string()))?;
        let is_plain = reference.tag().is_none() && reference.digest().is_none();
        if self.all_tags && !is_plain {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        if is_plain && !self.all_tags && !self.quiet {
            output::line("Using default tag: latest")?;
        }
        let display = if self.quiet { Display::Quiet } else { Display::Stdout };
        let platform = self.platform.clone().or_else(|| {
            std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|text| !text.is_empty())
        });
        let (reference, tag) = match self.all_tags {
            true => (reference, None),
            false => named(name)?,
        };
        request(session, &reference, tag.as_deref(), platform.as_deref(), display).await?;
        output::line(&match tag {
            Some(tag) if tag.contains(':') => format!("{}@{tag}", reference.name()),
            Some(tag) => format!("{}:{tag}", reference.name()),
            None => reference.name(),
        })
    }
}

/// The reference, and its digest or else its tag.
fn named(text: &str) -> Outcome<(Reference, Option<String>)> {
    let reference =
        Reference::parse_familiar(text).map_err(|error| Failure::new(error.to_string()))?;
    let digest = reference.digest().map(ToString::to_string);
    let tag = digest.or_else(|| reference.tag().map(str::to_owned));
    Ok((reference, tag))
}

/// Pulls `image` and shows how it goes.
pub(crate) async fn fetch(
    session: &Session,
    image: &str,
    platform: Option<&str>,
    display: Display,
) -> Outcome<()> {
    let (reference, tag) = named(image)?;
    request(session, &reference, tag.as_deref(), platform, display).await
}

async fn request(
    session: &Session,
    reference: &Reference,
    tag: Option<&str>,
    platform: Option<&str>,
    display: Display,
) -> Outcome<()> {
    let query = Query::new()
        .with("fromImage", reference.name())
        .with_some("platform", platform)
        .with_some("tag", tag);
    let mut request = Request::new(Method::POST, "/images/create", &query);
    if let Some(header) = credentials::registry_auth(reference.registry())? {
        request = request.header("x-registry-auth", header);
    }
    let answer = session.client.send(request).await?;
    progress::show(answer, display).await
}
