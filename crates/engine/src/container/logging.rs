//! The json-file log: its options for the monitor, and `GET /containers/{id}/logs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use davit_monitor::task;
use davit_types::{Error, Kind, Result};
use regex_lite::Regex;

use super::Container;
use super::record::Snapshot;
use crate::Engine;
use crate::logs::{self, LogRequest};
use crate::options::{LogOptions, LogStream};

impl Engine {
    /// The log so far, and with `follow` what comes until the container ends.
    ///
    /// # Errors
    /// Neither stream is asked for, the container keeps no log, or is being removed.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream> {
        let container = self.inner().containers.find(name)?;
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("must specify at least one of 'stdout' or 'stderr'"));
        }
        let snapshot = container.snapshot();
        let state = &snapshot.record.state;
        if state.removing || state.dead {
            return Err(Error::conflict(
                "can not get logs from container which is dead or marked for removal",
            ));
        }
        let kind = &snapshot.host_config.log_config.kind;
        if kind != "json-file" {
            return Err(Error::new(
                Kind::NotImplemented,
                "configured logging driver does not support reading",
            ));
        }
        let tty = snapshot.record.config.tty;
        let request = log_request(&container, &options);
        // A container that was never started has no log: the reader finds an empty one.
        let ended = options.follow.then(|| container.ended());
        Ok(LogStream { tty, chunks: logs::stream(request, ended) })
    }
}

/// What the reader is asked for.
pub(crate) fn log_request(container: &Container, options: &LogOptions) -> LogRequest {
    let snapshot = container.snapshot();
    LogRequest {
        // Its path is not in the record before the first start.
        path: container.log_path(),
        stdout: options.stdout,
        stderr: options.stderr,
        since: options.since,
        until: options.until,
        tail: options.tail,
        timestamps: options.timestamps,
        details: options.details,
        multiplexed: !snapshot.record.config.tty,
    }
}

/// The log as the monitor is to write it.
pub(crate) fn task_log(snapshot: &Snapshot) -> Result<Option<task::Log>> {
    let log_config = &snapshot.host_config.log_config;
    if log_config.kind != "json-file" {
        return Ok(None);
    }
    let option = |key: &str| log_config.config.get(key).map(String::as_str);
    let max_size = match option("max-size") {
        None | Some("-1") => None,
        Some(text) => Some(parse_size(text).ok_or_else(|| invalid("max-size", text))?),
    };
    let max_files = match option("max-file") {
        None => 1,
        Some(text) => text
            .parse::<u32>()
            .ok()
            .filter(|count| *count >= 1)
            .ok_or_else(|| invalid("max-file", text))?,
    };
    let compress = matches!(option("compress"), Some("true" | "1"));
    if compress && (max_files < 2 || max_size.is_none()) {
        return Err(Error::invalid(
            "compress cannot be true when max-file is less than 2 or unset",
        ));
    }
    let path = PathBuf::from(&snapshot.record.log_path);
    Ok(Some(task::Log { path, max_size, max_files, compress, attrs: attributes(snapshot)? }))
}

fn invalid(option: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value for log opt '{option}': {value:?}"))
}

/// `10m`, `1g`, `512k`, `100`: powers of 1024.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (number, shift) = match lower.chars().last()? {
        'k' => (&lower[..lower.len() - 1], 10),
        'm' => (&lower[..lower.len() - 1], 20),
        'g' => (&lower[..lower.len() - 1], 30),
        't' => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The labels and variables that are copied to every line.
fn attributes(snapshot: &Snapshot) -> Result<BTreeMap<String, String>> {
    let config = &snapshot.record.config;
    let options = &snapshot.host_config.log_config.config;
    let labels: Vec<(&str, &str)> =
        config.labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let variables: Vec<(&str, &str)> =
        config.env.iter().flatten().filter_map(|variable| variable.split_once('=')).collect();
    let mut attributes = BTreeMap::new();
    for (key, pairs) in [("labels", &labels), ("env", &variables)] {
        let wanted: Vec<&str> =
            options.get(key).map(|list| list.split(',').collect()).unwrap_or_default();
        let pattern = options.get(&format!("{key}-regex"));
        let pattern = pattern
            .map(|text| Regex::new(text).map_err(|_| invalid(&format!("{key}-regex"), text)))
            .transpose()?;
        for (name, value) in pairs {
            let matches = pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
            if wanted.contains(name) || matches {
                attributes.insert((*name).to_owned(), (*value).to_owned());
            }
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, size) in
            [("100", 100), ("1k", 1 << 10), ("10m", 10 << 20), ("1g", 1 << 30), ("2MB", 2 << 20)]
        {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for bad in ["", "m", "x", "-1k"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
