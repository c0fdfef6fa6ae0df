//! `davit image inspect`

use clap::Args;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::inspection;
use crate::failure::Outcome;
use crate::session::Session;

/// Flags of `davit image inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Print with a Go template, or 'json'
    #[arg(long, short)]
    format: Option<String>,
    /// Platform of the image, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    operands: Vec<String>,
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show all there is to know about images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        inspection::inspect(&self.operands, self.format.as_deref(), |name| {
            let platform = self.platform.as_deref().map(platform_json);
            async move {
                let query = Query::new().with_some("platform", platform);
                session.client.get_raw(&path(name, "/json"), &query).await
            }
        })
        .await
    }
}

/// `os/architecture/variant` as the JSON that the API takes.
fn platform_json(text: &str) -> String {
    let mut parts = text.split('/');
    let keys = ["os", "architecture", "variant"];
    let pairs: Vec<String> =
        keys.iter().zip(&mut parts).map(|(key, value)| format!("{key:?}:{value:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}
