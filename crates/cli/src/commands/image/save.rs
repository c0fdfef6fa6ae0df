//! `davit save`

use clap::Args;
use http::Method;

use super::push::platform_document;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::commands::container::export::download;
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::terminal;

/// Flags of `davit save`.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// File to write, in place of standard output
    #[arg(long, short)]
    output: Option<String>,
    /// Save only these platforms, such as linux/arm64
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    operands: Vec<String>,
}

impl Verb for Save {
    const ABOUT: &'static str = "Write images into a tar archive";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        if self.output.is_none() && terminal::is_stdout() {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        let mut query = Query::new();
        for name in &self.operands {
            query = query.with("names", name);
        }
        for platform in &self.platform {
            query = query.with("platform", platform_document(platform)?);
        }
        let answer = session.client.send(Request::new(Method::GET, "/images/get", &query)).await?;
        download(answer.into_body(), self.output.as_deref(), "failed to save image").await
    }
}
