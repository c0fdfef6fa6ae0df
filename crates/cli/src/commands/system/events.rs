//! `davit events`

use clap::Args;
use davit_api::Time;
use davit_api::event::EventMessage;
use http::Method;
use http_body_util::BodyExt as _;

use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::commands::container::logs::moment;
use crate::failure::{Failure, Outcome};
use crate::flags::filter;
use crate::output::template::{Template, Value};
use crate::output::{self, json};
use crate::session::Session;

/// Flags of `davit events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Show only some, such as event=die or container=web
    #[arg(long, short, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print with a Go template, or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Begin at this time, or so long ago (42m)
    #[arg(long)]
    since: Option<String>,
    /// End at this time
    #[arg(long)]
    until: Option<String>,
    operands: Vec<String>,
}

impl Verb for Events {
    const ABOUT: &'static str = "Print what happens, as it happens";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let template = match self.format.as_deref().filter(|text| !text.is_empty()) {
            Some("json" | "{{json .}}") => {
                return self
                    .follow(session, |line| json::compact(line).map_err(Failure::new))
                    .await;
            }
            Some(text) => Some(Template::parse(&text.replace("\\t", "\t"))?),
            None => None,
        };
        self.follow(session, |line| match &template {
            Some(template) => template.render(&fields(line)?),
            None => {
                let event: EventMessage = serde_json::from_slice(line).map_err(|error| {
                    Failure::new(format!("an event is not understood: {error}"))
                })?;
                Ok(describe(&event))
            }
        })
        .await
    }
}

impl Events {
    /// Prints every event as `show` says, until the daemon ends it.
    async fn follow(&self, session: &Session, show: impl Fn(&[u8]) -> Outcome<String>) -> Outcome {
        let print = |line: &[u8]| match line.trim_ascii() {
            [] => Ok(0),
            line => output::line(&show(line)?),
        };
        let query = Query::new()
            .with_some("since", moment(self.since.as_deref(), "since")?)
            .with_some("until", moment(self.until.as_deref(), "until")?);
        let query = filter::add(query, &filter::collect(&self.filter));
        let answer = session.client.send(Request::new(Method::GET, "/events", &query)).await?;
        let mut body = answer.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::new(format!("read events: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                print(&line)?;
            }
        }
        print(&pending)
    }
}

/// The event's fields under the names that Docker's templates use.
fn fields(line: &[u8]) -> Outcome<Value> {
    let Value::Map(mut entries) = Value::parse(line).map_err(Failure::new)? else {
        return Err(Failure::new("an event is not understood: no object"));
    };
    let get = |name: &str, entries: &[(String, Value)]| {
        entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let renamed =
        [("scope", "Scope"), ("time", "Time"), ("timeNano", "TimeNano"), ("Action", "Status")];
    for (old, new) in renamed {
        if let Some(value) = get(old, &entries) {
            entries.push((new.to_owned(), value));
        }
    }
    let actor = get("Actor", &entries).unwrap_or_default();
    entries.push(("ID".to_owned(), actor.at(&["ID"]).clone()));
    let image = actor.at(&["Attributes", "image"]).text();
    entries.push(("From".to_owned(), image.into()));
    Ok(Value::Map(entries))
}

/// `time type action id (key=value, ...)`
fn describe(event: &EventMessage) -> String {
    let nanoseconds = if event.time_nano != 0 {
        event.time_nano
    } else {
        event.time.saturating_mul(1_000_000_000)
    };
    let time = Time::from_nanoseconds(nanoseconds).with_nine_digits();
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"name":"web","exitCode":"0"}},"scope":"local","time":1795439802,"timeNano":1795439802680000000}"#;

    #[test]
    fn events_are_lines_or_templates() {
        let event = serde_json::from_slice(LINE).expect("an event");
        assert_eq!(
            describe(&event),
            "2026-11-23T13:16:42.680000000Z container die abc (exitCode=0, name=web)"
        );
        let template = Template::parse("{{.Time}} {{.Status}} {{.ID}} {{.Actor.Attributes.name}}")
            .expect("good");
        let text = template.render(&fields(LINE).expect("an object")).expect("fields are there");
        assert_eq!(text, "1795439802 die abc web");
    }
}
