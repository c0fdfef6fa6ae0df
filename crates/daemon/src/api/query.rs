//! The query string, read as Docker reads it.
//!
//! A truth value is false when it is empty, `0`, `no`, `false` or `none`; anything else is true.

use davit_types::{Error, Result};

/// Decoded pairs in the order they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub(crate) fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key, true), decode(value, true))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// The first value of `key`, empty when there is none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.all(key).next().unwrap_or_default()
    }

    /// The first value of `key` unless it is empty or missing.
    pub(crate) fn non_empty(&self, key: &str) -> Option<&str> {
        Some(self.get(key)).filter(|value| !value.is_empty())
    }

    /// All values of `key`.
    pub(crate) fn all<'q, 'k>(
        &'q self,
        key: &'k str,
    ) -> impl Iterator<Item = &'q str> + use<'q, 'k> {
        self.0.iter().filter(move |(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// The truth value of `key`, false when it is missing.
    pub(crate) fn truth(&self, key: &str) -> bool {
        !matches!(
            self.get(key).trim().to_ascii_lowercase().as_str(),
            "" | "0" | "no" | "false" | "none"
        )
    }

    /// The truth value of `key`, `default` when it is missing.
    pub(crate) fn truth_or(&self, key: &str, default: bool) -> bool {
        if self.all(key).next().is_some() { self.truth(key) } else { default }
    }

    /// The number under `key`, if there is one.
    ///
    /// # Errors
    /// The value is no number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>> {
        let Some(text) = self.non_empty(key) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            Error::invalid(format!("invalid value for {key}: {text:?}: invalid syntax"))
        })?;
        Ok(Some(number))
    }
}

/// Resolves `%41`, and `+` as a space if `plus` says so. What is not UTF-8 is replaced.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) if plus => bytes.push(b' '),
            _ => bytes.push(*first),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_the_words_for_no_is_true() {
        let query = Query::parse("a=1&b=False&c=+none+&d=x&e=&f&g=0&h=no");
        let truths =
            ["a", "b", "c", "d", "e", "f", "g", "h", "missing"].map(|key| query.truth(key));
        assert_eq!(truths, [true, false, false, true, false, false, false, false, false]);
        assert!(query.truth_or("missing", true));
        assert!(!query.truth_or("g", true));
    }

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("filters=%7B%22a%22%3A1%7D&x=a+b%2Bc&bad=%zz%4&x=2");
        assert_eq!(query.get("filters"), r#"{"a":1}"#);
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["a b+c", "2"]);
        assert_eq!(query.get("bad"), "%zz%4");
        assert_eq!(decode("a+b%20c", false), "a+b c");
    }

    #[test]
    fn numbers_may_be_missing_but_not_malformed() {
        let query = Query::parse("t=-1&n=&x=y");
        assert_eq!(query.number("t").expect("a number"), Some(-1));
        assert_eq!(query.number("n").expect("empty"), None);
        assert!(query.number("x").is_err());
    }
}
