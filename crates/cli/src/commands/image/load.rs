//! `davit load` and `davit import`

use std::fs::File;
use std::io::{self, Read};

use clap::Args;
use davit_types::reference::Reference;
use http::Method;

use super::push::platform_document;
use crate::catalogue::{Arity, Verb};
use crate::client::{Body, Query, Request};
use crate::commands::container::cp::streamed;
use crate::failure::{Failure, Outcome, go_io_error};
use crate::output::progress::{self, Display};
use crate::session::Session;
use crate::terminal;

/// Flags of `davit load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// File to read, in place of standard input
    #[arg(long, short)]
    input: Option<String>,
    /// Load only these platforms, such as linux/arm64
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// Print nothing but the images' names
    #[arg(long, short)]
    quiet: bool,
    operands: Vec<String>,
}

impl Verb for Load {
    const ABOUT: &'static str = "Bring in images from a tar archive";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        if self.input.is_none() && terminal::is_stdin() {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        let body = read(self.input.as_deref())?;
        let mut query = Query::new().with("quiet", if self.quiet { "1" } else { "0" });
        for platform in &self.platform {
            query = query.with("platform", platform_document(platform)?);
        }
        let request = Request::new(Method::POST, "/images/load", &query);
        let request = request.streamed(body, "application/x-tar");
        let answer = session.client.send(request).await?;
        progress::show(answer, Display::Stdout).await?;
        Ok(0)
    }
}

/// Flags of `davit import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Dockerfile instruction to apply (repeatable)
    #[arg(long, short)]
    change: Vec<String>,
    /// Text for the history
    #[arg(long, short)]
    message: Option<String>,
    /// What the image runs on, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    operands: Vec<String>,
}

impl Verb for Import {
    const ABOUT: &'static str = "Make an image of a tar archive of a file system";
    const USAGE: &'static str = "[OPTIONS] file|- [REPOSITORY[:TAG]]";
    const ARITY: Arity = Arity::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let source = &self.operands[0];
        if source.starts_with("http://") || source.starts_with("https://") {
            return Err(Failure::new(
                "importing from a URL is not supported: fetch it and pipe it in",
            ));
        }
        let mut query = Query::new();
        for change in &self.change {
            query = query.with("changes", change);
        }
        query = query
            .with("fromSrc", "-")
            .with_some("message", self.message.as_deref())
            .with_some("platform", self.platform.as_deref());
        if let Some(name) = self.operands.get(1) {
            let name =
                Reference::parse_familiar(name).map_err(|error| Failure::new(error.to_string()))?;
            query = query.with("repo", name.familiar_name()).with_some("tag", name.tag());
        }
        let body = read(Some(source.as_str()).filter(|source| *source != "-"))?;
        let request = Request::new(Method::POST, "/images/create", &query);
        let answer = session.client.send(request.streamed(body, "application/x-tar")).await?;
        progress::show(answer, Display::Stdout).await?;
        Ok(0)
    }
}

/// A file's bytes, or standard input's.
fn read(path: Option<&str>) -> Outcome<Body> {
    let mut source: Box<dyn Read + Send> = match path {
        Some(path) => Box::new(
            File::open(path)
                .map_err(|error| Failure::new(format!("open {path}: {}", go_io_error(&error))))?,
        ),
        None => Box::new(io::stdin()),
    };
    Ok(streamed(move |mut out| {
        io::copy(&mut source, &mut out).and_then(|_| io::Write::flush(&mut out))
    }))
}
