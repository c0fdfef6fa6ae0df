//! The JSON lines that pull, push, load and build answer with. Each line ends with CRLF.

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;

/// One line of a progress stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProgressMessage {
    /// Text to print as it is (load, build).
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// What is being done.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// What it is done to: short digest of a layer, or a tag.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The end, if it is a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The same text for older clients.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Machine-readable extras.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far something is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    /// Done so far.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub current: i64,
    /// All there is to do.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub total: i64,
    /// Unix time it began.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub start: i64,
    /// Don't show the numbers.
    #[serde(
        rename = "hidecounts",
        deserialize_with = "null",
        skip_serializing_if = "crate::lenient::is_default"
    )]
    pub hide_counts: bool,
    /// Unit of the numbers, bytes if empty.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub units: String,
}

/// A failure inside a stream whose status was already sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// Exit code of a build step.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub code: i64,
    /// What went wrong.
    #[serde(deserialize_with = "null")]
    pub message: String,
}

impl ProgressMessage {
    /// The line that ends a stream with a failure.
    pub fn failure(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error: message.clone(),
            error_detail: Some(ErrorDetail { code: 0, message }),
            ..Self::default()
        }
    }

    /// The message as a line of the stream, with its CRLF.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and numbers are always JSON");
        line.extend_from_slice(b"\r\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_only_what_is_set_and_ends_with_crlf() {
        let message = ProgressMessage {
            status: "Downloading".into(),
            progress_detail: Some(ProgressDetail { current: 1, total: 9, ..Default::default() }),
            id: "5e06c3d4b3e7".into(),
            ..Default::default()
        };
        let line = String::from_utf8(message.to_line()).expect("JSON is UTF-8");
        let expected = r#"{"status":"Downloading","progressDetail":{"current":1,"total":9},"id":"5e06c3d4b3e7"}"#;
        assert_eq!(line, format!("{expected}\r\n"));
    }

    #[test]
    fn a_failure_keeps_the_old_flat_key() {
        let line = ProgressMessage::failure("no space").to_line();
        assert_eq!(
            line,
            b"{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\r\n"
        );
    }
}
