//! `davit logs`

use clap::Args;
use davit_api::Time;
use davit_api::time::parse_moment;
use http::Method;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::failure::{Failure, Outcome};
use crate::output::template::Value;
use crate::session::Session;
use crate::stream::{BodyReader, Sinks};

/// Flags of `davit logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Show the attributes that log options added
    #[arg(long)]
    details: bool,
    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Begin at this time, or so long ago (42m)
    #[arg(long)]
    since: Option<String>,
    /// How many lines from the end
    #[arg(long, short = 'n', default_value = "all")]
    tail: String,
    /// Show when each line was written
    #[arg(long, short)]
    timestamps: bool,
    /// End at this time, or so long ago
    #[arg(long)]
    until: Option<String>,
    operands: Vec<String>,
}

impl Verb for Logs {
    const ABOUT: &'static str = "Print what a container has written";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let name = &self.operands[0];
        let container: Value = session.client.get(&path(name, "/json"), &Query::new()).await?;
        let query = Query::new()
            .with_flag("details", self.details)
            .with_flag("follow", self.follow)
            .with_some("since", moment(self.since.as_deref(), "since")?)
            .with_flag("stderr", true)
            .with_flag("stdout", true)
            .with("tail", &self.tail)
            .with_flag("timestamps", self.timestamps)
            .with_some("until", moment(self.until.as_deref(), "until")?);
        let id = container.at(&["Id"]).text();
        let answer =
            session.client.send(Request::new(Method::GET, path(id, "/logs"), &query)).await?;
        let mut reader = BodyReader::new(answer.into_body());
        let mut sinks = Sinks::standard();
        match container.at(&["Config", "Tty"]).is_true() {
            true => sinks.copy_raw(&mut reader).await?,
            false => sinks.copy_frames(&mut reader).await?,
        }
        Ok(0)
    }
}

/// A time flag as Unix seconds with nanoseconds, the way the daemon takes it.
pub(crate) fn moment(text: Option<&str>, flag: &str) -> Outcome<Option<String>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let timestamp = parse_moment(text, Time::now().0)
        .map_err(|error| Failure::new(format!("invalid value for {flag:?}: {error}")))?;
    Ok(Some(format!("{}.{:09}", timestamp.as_second(), timestamp.subsec_nanosecond().max(0))))
}
