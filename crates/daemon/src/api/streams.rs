//! What goes on for as long as the client listens: logs and stats.

use bytes::Bytes;
use davit_api::stream::{MULTIPLEXED, RAW, StreamKind, frame};
use davit_api::time::parse_moment;
use davit_engine::{LogOptions, LogStream};
use davit_types::{Error, Result};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::request::Request;
use super::response::{self, JSON, Response, json};

/// `GET /containers/{name}/logs`
pub(crate) async fn logs(request: Request, name: &str) -> Result<Response> {
    let options = log_options(&request)?;
    let LogStream { tty, chunks } = request.engine().logs(name, options).await?;
    let content_type = if tty || request.older_than(42) { RAW } else { MULTIPLEXED };
    // The status is out already when reading fails: the failure goes to the client as a frame.
    let chunks = response::receive(chunks).map(move |chunk| {
        Ok(chunk.unwrap_or_else(|error| {
            let text = format!("Error grabbing logs: {error:#}\n");
            if tty {
                Bytes::from(text)
            } else {
                frame(StreamKind::SystemError, text.as_bytes()).into()
            }
        }))
    });
    Ok(response::stream(content_type, chunks))
}

fn log_options(request: &Request) -> Result<LogOptions> {
    let query = &request.query;
    let (stdout, stderr) = (query.truth("stdout"), query.truth("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("must specify at least one of 'stdout' or 'stderr'"));
    }
    Ok(LogOptions {
        follow: query.truth("follow"),
        stdout,
        stderr,
        since: moment(query.get("since"))?,
        until: moment(query.get("until"))?.filter(|until| *until != 0),
        tail: query.get("tail").parse().ok(),
        timestamps: query.truth("timestamps"),
        details: query.truth("details"),
    })
}

/// Nanoseconds since the epoch of a `since` or `until`, if there is one.
pub(crate) fn moment(text: &str) -> Result<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let moment = parse_moment(text, Timestamp::now())?;
    Ok(Some(i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)))
}

/// `GET /containers/{name}/stats`
pub(crate) async fn stats(request: Request, name: &str) -> Result<Response> {
    if request.query.truth_or("stream", true) {
        let samples = request.engine().stats_stream(name).await?;
        let lines = response::receive(samples).map(|sample| Ok(json_line(&sample)));
        return Ok(response::stream(JSON, lines));
    }
    let one_shot = request.query.truth("one-shot") && !request.older_than(41);
    Ok(json(&request.engine().stats(name, one_shot).await?))
}

/// A document and a line feed.
pub(crate) fn json_line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("API documents have string keys only");
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_nanoseconds() {
        assert_eq!(moment("").expect("none"), None);
        assert_eq!(moment("0").expect("epoch"), Some(0));
        assert_eq!(moment("1795439802.5").expect("a fraction"), Some(1_795_439_802_500_000_000));
        assert!(moment("yesterday").is_err());
    }
}
