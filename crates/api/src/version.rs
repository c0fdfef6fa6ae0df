//! API versions: which ones are spoken, and how they compare.

use std::fmt;
use std::str::FromStr;

use davit_types::Error;

/// Newest version spoken; what a request without a version in its path gets.
pub const NEWEST: ApiVersion = ApiVersion(1, 56);

/// Oldest version spoken.
pub const OLDEST: ApiVersion = ApiVersion(1, 40);

/// A version of the API, `1.52`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(
    /// The major part.
    pub u16,
    /// The minor part.
    pub u16,
);

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for ApiVersion {
    type Err = Error;

    /// Reads `1.52`; further parts are ignored and a missing one is 0, as Docker compares them.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split('.').map(|part| part.parse::<u16>().unwrap_or(0));
        let starts_with_digit = text.starts_with(|first: char| first.is_ascii_digit());
        match (starts_with_digit, parts.next()) {
            (true, Some(major)) => Ok(Self(major, parts.next().unwrap_or(0))),
            _ => Err(Error::invalid(format!("invalid API version: {text:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_text() {
        let parse = |text: &str| text.parse::<ApiVersion>().expect("a version");
        assert!(parse("1.9") < OLDEST);
        assert!(parse("1.99") > NEWEST);
        assert_eq!(parse("1.44").to_string(), "1.44");
        assert_eq!(parse("2"), ApiVersion(2, 0));
        assert!("x".parse::<ApiVersion>().is_err());
    }
}
