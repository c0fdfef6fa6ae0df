//! `davit export`

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use clap::Args;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::failure::{Failure, Outcome, go_io_error};
use crate::session::Session;
use crate::terminal;

/// Flags of `davit export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// File to write, in place of standard output
    #[arg(long, short)]
    output: Option<String>,
    operands: Vec<String>,
}

impl Verb for Export {
    const ABOUT: &'static str = "Write a container's file system as a tar archive";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        if self.output.is_none() && terminal::is_stdout() {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        let request = Request::new(Method::GET, path(&self.operands[0], "/export"), &Query::new());
        let body = session.client.send(request).await?.into_body();
        download(body, self.output.as_deref(), "failed to export container").await
    }
}

/// Writes a body into a file, or to standard output.
pub(crate) async fn download(mut body: Incoming, path: Option<&str>, failed: &str) -> Outcome {
    let mut out: Box<dyn std::io::Write> = match path {
        Some(path) => {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            Box::new(options.open(path).map_err(|error| {
                Failure::new(format!("{failed}: open {path}: {}", go_io_error(&error)))
            })?)
        }
        None => Box::new(std::io::stdout()),
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::new(format!("{failed}: {error}")))?;
        if let Ok(data) = frame.into_data() {
            out.write_all(&data)?;
        }
    }
    out.flush()?;
    Ok(0)
}
