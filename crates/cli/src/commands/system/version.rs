//! `davit version`

use clap::Args;
use davit_api::system::VersionResponse;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::output;
use crate::output::format::align_with;
use crate::output::template::{Template, Value};
use crate::session::Session;

/// Flags of `davit version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Print with a Go template, or 'json'
    #[arg(long, short)]
    format: Option<String>,
    operands: Vec<String>,
}

impl Verb for Version {
    const ABOUT: &'static str = "Show the versions of client and daemon";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let server = session.client.get_raw("/version", &Query::new()).await;
        let document = document(session, server.as_deref().ok())?;
        let text = match self.format.as_deref().filter(|text| !text.is_empty()) {
            Some("json") => document.json() + "\n",
            Some(text) => Template::parse(text)?.render(&document)? + "\n",
            None => describe(session, server.as_deref().ok())?,
        };
        output::text(&text)?;
        server.map(|_| 0)
    }
}

/// Client and server as one document, as Docker's templates see it.
fn document(session: &Session, server: Option<&[u8]>) -> Outcome<Value> {
    let entry = |name: &str, value: Value| (name.to_owned(), value);
    let client = Value::Map(vec![
        entry("Platform", Value::Map(vec![entry("Name", "Davit".into())])),
        entry("Version", env!("CARGO_PKG_VERSION").into()),
        entry("ApiVersion", session.client.version().to_string().into()),
        entry("DefaultAPIVersion", davit_api::version::NEWEST.to_string().into()),
        entry("Os", "linux".into()),
        entry("Arch", architecture().into()),
        entry("Context", "default".into()),
    ]);
    let server = match server {
        Some(bytes) => Value::parse(bytes).map_err(crate::failure::Failure::new)?,
        None => Value::Null,
    };
    Ok(Value::Map(vec![entry("Client", client), entry("Server", server)]))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn describe(session: &Session, server: Option<&[u8]>) -> Outcome<String> {
    let mut text = format!(
        "Client: Davit\n Version:\t{}\n API version:\t{}\n OS/Arch:\tlinux/{}\n Context:\tdefault\n",
        env!("CARGO_PKG_VERSION"),
        session.client.version(),
        architecture()
    );
    let server: Option<VersionResponse> =
        server.and_then(|bytes| serde_json::from_slice(bytes).ok());
    if let Some(server) = server {
        let name = &server.platform.name;
        text +=
            &if name.is_empty() { "\nServer:\n".to_owned() } else { format!("\nServer: {name}\n") };
        for component in &server.components {
            text += &format!(" {}:\n  Version:\t{}\n", component.name, component.version);
            let detail = |key: &str| component.details.get(key);
            if component.name == "Engine" {
                let api = detail("ApiVersion").unwrap_or(&server.api_version);
                let oldest = detail("MinAPIVersion").unwrap_or(&server.min_api_version);
                text += &format!("  API version:\t{api} (minimum version {oldest})\n");
                text += &format!("  OS/Arch:\t{}/{}\n", server.os, server.arch);
            }
            if let Some(commit) = detail("GitCommit") {
                text += &format!("  GitCommit:\t{commit}\n");
            }
        }
    }
    align_with(&text, 17, 1)
}
