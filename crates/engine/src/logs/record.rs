//! One line of a json-file log: parsing it and writing it out for the client.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::LogRequest;

/// `{"log":"text\n","stream":"stdout","time":"RFC3339Nano","attrs":{...}}`
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    attrs: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

impl<'a> Record<'a> {
    /// The record in a line; `None` when the line is none (a torn write after a power cut).
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// When it was written, nanoseconds since the epoch; 0 when the time can't be read.
    pub(super) fn nanoseconds(&self) -> i64 {
        let time: Option<jiff::Timestamp> = self.time.parse().ok();
        time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
    }

    /// Appends the line as `request` wants it; nothing when its stream is not wanted.
    pub(super) fn encode(&self, request: &LogRequest, out: &mut Vec<u8>) {
        let is_stderr = self.stream == "stderr";
        if !(if is_stderr { request.stderr } else { request.stdout }) {
            return;
        }
        let header = out.len();
        if request.multiplexed {
            out.extend_from_slice(&[if is_stderr { 2 } else { 1 }, 0, 0, 0, 0, 0, 0, 0]);
        }
        let payload = out.len();
        if request.timestamps {
            self.encode_time(out);
        }
        if request.details {
            self.encode_attributes(out);
        }
        out.extend_from_slice(self.log.as_bytes());
        if request.multiplexed {
            let length = u32::try_from(out.len() - payload).unwrap_or(u32::MAX);
            out[header + 4..header + 8].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// The time with exactly nine fractional digits, and a space.
    fn encode_time(&self, out: &mut Vec<u8>) {
        let time = self.time.strip_suffix('Z').unwrap_or(&self.time);
        let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
        out.extend_from_slice(seconds.as_bytes());
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
        out.extend(std::iter::repeat_n(b'0', 9_usize.saturating_sub(fraction.len())));
        out.extend_from_slice(b"Z ");
    }

    /// `key=value` pairs, URL-encoded, sorted, separated by commas, and a space.
    fn encode_attributes(&self, out: &mut Vec<u8>) {
        for (index, (key, value)) in self.attrs.iter().flatten().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            url_encode(key, out);
            out.push(b'=');
            url_encode(value, out);
        }
        out.push(b' ');
    }
}

/// Query encoding as Go's `url.QueryEscape` does it: a space becomes `+`.
fn url_encode(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}
