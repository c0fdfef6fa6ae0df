//! Query strings, escaped as Go's `url.Values` does.

use std::fmt::Write as _;

/// A query string under construction.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query(String);

impl Query {
    /// No parameters.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds `name=value`.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&escape(value.as_ref()));
        self
    }

    /// Adds `name=value` if there is a value.
    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds `name=1` if `on`.
    #[must_use]
    pub(crate) fn with_flag(self, name: &str, on: bool) -> Self {
        if on { self.with(name, "1") } else { self }
    }

    /// The text to put behind a path; empty without parameters.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Escapes one query value: letters, digits and `-_.~` stay, a space becomes `+`.
pub(crate) fn escape(text: &str) -> String {
    escape_with(text, |byte| matches!(byte, b'-' | b'_' | b'.' | b'~'), true)
}

/// Escapes one path segment; an image reference keeps its slashes and colons.
pub(crate) fn escape_path(text: &str) -> String {
    escape_with(text, |byte| b"-_.~/:@$&+=,;".contains(&byte), false)
}

fn escape_with(text: &str, keep: impl Fn(u8) -> bool, plus: bool) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            _ if byte.is_ascii_alphanumeric() || keep(byte) => out.push(char::from(byte)),
            b' ' if plus => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped_and_joined() {
        let query = Query::new()
            .with("path", "/a b/ü")
            .with_flag("v", true)
            .with_flag("force", false)
            .with_some("t", Some("10"))
            .with_some("signal", None::<&str>);
        assert_eq!(query.as_str(), "?path=%2Fa+b%2F%C3%BC&v=1&t=10");
        assert_eq!(escape_path("reg:5000/a b@sha256:1"), "reg:5000/a%20b@sha256:1");
    }
}
