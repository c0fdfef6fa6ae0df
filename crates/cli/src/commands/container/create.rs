//! `davit create`, and the making of a container for `run`.

use clap::Args;
use davit_api::container::{CreateRequest, CreateResponse};
use davit_types::reference::Reference;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::image::pull;
use crate::failure::{CLI_ERROR, Failure, Outcome};
use crate::flags::container::{ContainerFlags, refused};
use crate::output::progress::Display;
use crate::output::{self, complain};
use crate::session::Session;

/// Flags about the making of a container.
#[derive(Debug, Args)]
pub(crate) struct CreateFlags {
    /// Name of the container
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Platform to run, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    /// When to pull the image: always, missing or never
    #[arg(long, default_value = "missing")]
    pull: String,
    /// Don't show the progress of a pull
    #[arg(long, short)]
    quiet: bool,
    /// No longer has an effect
    #[arg(long, hide = true)]
    disable_content_trust: bool,
}

/// Flags of `davit create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    create: CreateFlags,
    #[command(flatten)]
    container: ContainerFlags,
    #[arg(trailing_var_arg = true)]
    operands: Vec<String>,
}

impl Verb for Create {
    const ABOUT: &'static str = "Create a new container";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        self.create.check().map_err(|failure| refused("create", failure))?;
        let (image, command) = split(&self.operands);
        let request =
            self.container.request(image, command).map_err(|failure| refused("create", failure))?;
        let id = self.create.create(session, &request, self.container.cidfile()).await?;
        output::line(&id)
    }
}

/// The image, and the command to run in it.
pub(super) fn split(operands: &[String]) -> (&str, &[String]) {
    operands.split_first().map_or(("", &[]), |(image, command)| (image.as_str(), command))
}

impl CreateFlags {
    /// Refuses values that no daemon is asked about.
    pub(super) fn check(&self) -> Outcome<()> {
        match self.pull.as_str() {
            "always" | "missing" | "never" => Ok(()),
            other => Err(Failure::new(format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ))),
        }
    }

    /// Makes the container, pulling its image if need be, and returns its id.
    pub(super) async fn create(
        &self,
        session: &Session,
        request: &CreateRequest,
        cidfile: Option<&str>,
    ) -> Outcome<String> {
        if let Some(path) = cidfile.filter(|path| std::fs::exists(path).unwrap_or(false)) {
            return Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ))
            .with_code(CLI_ERROR));
        }
        let image = &request.config.image;
        let reference = Reference::parse_familiar(image);
        if let Err(error) = &reference
            && !is_image_id(image)
        {
            return Err(Failure::new(format!("{error}")));
        }
        if self.pull == "always" {
            self.fetch(session, image).await?;
        }
        let query = Query::new()
            .with_some("name", self.name.as_deref())
            .with_some("platform", self.platform().as_deref());
        let first = session.client.post_json("/containers/create", &query, request).await;
        let response: CreateResponse = match first {
            Err(failure)
                if failure.is_status(404) && self.pull == "missing" && reference.is_ok() =>
            {
                if !self.quiet {
                    let familiar =
                        reference.map_or_else(|_| image.clone(), |found| found.familiar());
                    complain(&format!("Unable to find image '{familiar}' locally"));
                }
                self.fetch(session, image).await?;
                session.client.post_json("/containers/create", &query, request).await?
            }
            other => other?,
        };
        for warning in &response.warnings {
            complain(&format!("WARNING: {warning}"));
        }
        if let Some(path) = cidfile {
            std::fs::write(path, &response.id).map_err(|error| {
                Failure::new(format!(
                    "failed to write the container ID to the file {path}: {error}"
                ))
            })?;
        }
        Ok(response.id)
    }

    fn platform(&self) -> Option<String> {
        let default =
            || std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|text| !text.is_empty());
        self.platform.clone().or_else(default)
    }

    async fn fetch(&self, session: &Session, image: &str) -> Outcome<()> {
        let display = if self.quiet { Display::Quiet } else { Display::Stderr };
        pull::fetch(session, image, self.platform().as_deref(), display).await
    }
}

/// A full image id is no reference, yet names an image.
fn is_image_id(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
