//! Command lines, and what Docker's CLI makes of them: the body of its create request, or its complaint.
//!
//! The bodies are given as what differs from that of a plain `create busybox`.

use std::ffi::OsString;

use clap::{Command, FromArgMatches as _};
use serde_json::{Map, Value, json};

use crate::catalogue::TOP;
use crate::flags::pflag::{self, Parsed};

use super::*;

mod recorded;

use recorded::{BODIES, COMPLAINTS};

/// A small shell: words, with double quotes.
fn words(line: &str) -> Vec<OsString> {
    let mut words: Vec<String> = vec![String::new()];
    let (mut quoted, mut escaped, mut seen) = (false, false, false);
    for c in line.chars() {
        let word = words.last_mut().expect("never empty");
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => {
                quoted = !quoted;
                seen = true;
            }
            ' ' if !quoted => {
                if !word.is_empty() || seen {
                    words.push(String::new());
                }
                seen = false;
            }
            _ => word.push(c),
        }
    }
    words.into_iter().map(OsString::from).collect()
}

#[derive(Args)]
struct Line {
    #[command(flatten)]
    flags: ContainerFlags,
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    platform: Option<String>,
    #[arg(trailing_var_arg = true)]
    operands: Vec<String>,
}

/// The request that a command line makes, or the first line of the complaint.
fn request(line: &str) -> Result<CreateRequest, String> {
    let entry = TOP.iter().find(|entry| entry.name == "create").expect("it is in the table");
    let words = words(line);
    match pflag::parse(entry, "create", &words) {
        Ok(Parsed::Matches(_)) => {}
        Ok(Parsed::Help) => return Err("help".to_owned()),
        Err(failure) => return Err(first_line(&failure)),
    }
    let command = pflag::with_pflag_habits(Line::augment_args(Command::new("create")));
    let matches = command.try_get_matches_from(words).expect("has just been accepted");
    let line = Line::from_arg_matches(&matches).expect("has just been accepted");
    let (image, command) = line.operands.split_first().expect("an image");
    line.flags.request(image, command).map_err(|failure| first_line(&refused("create", failure)))
}

fn first_line(failure: &Failure) -> String {
    failure.text.lines().next().unwrap_or_default().to_owned()
}

/// The document with HostConfig and NetworkingConfig flattened into it.
fn flat(request: &CreateRequest) -> Map<String, Value> {
    let Value::Object(body) = serde_json::to_value(request).expect("plain data") else {
        unreachable!("a struct")
    };
    let mut out = Map::new();
    for (key, value) in body {
        match value {
            Value::Object(inner) if key == "HostConfig" || key == "NetworkingConfig" => {
                out.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => {
                out.insert(key, value);
            }
        }
    }
    out
}

/// Endpoints without the fields that say nothing.
fn trim_endpoints(value: &Value) -> Value {
    let says_something =
        |value: &Value| !(value.is_null() || *value == json!("") || *value == json!(0));
    let trim = |endpoint: &Value| -> Value {
        let fields = endpoint.as_object().into_iter().flatten();
        fields
            .filter(|(_, value)| says_something(value))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, endpoint)| (name.clone(), trim(endpoint)))
        .collect()
}

#[test]
fn create_requests_are_those_of_dockers_cli() {
    let plain = flat(&request("busybox").expect("nothing to refuse"));
    for (line, expected) in BODIES {
        let expected: Map<String, Value> = serde_json::from_str(expected).expect("an object");
        let body = flat(&request(line).unwrap_or_else(|text| panic!("{line}: {text}")));
        let changed: Map<String, Value> = body
            .into_iter()
            .filter(|(key, value)| plain.get(key) != Some(value))
            .map(|(key, value)| match key.ends_with("EndpointsConfig") {
                true => (key, trim_endpoints(&value)),
                false => (key, value),
            })
            .collect();
        assert_eq!(Value::Object(changed), Value::Object(expected), "{line}");
    }
}

#[test]
fn complaints_are_those_of_dockers_cli() {
    for (line, expected) in COMPLAINTS {
        assert_eq!(request(line).err().as_deref(), Some(*expected), "{line}");
    }
}
