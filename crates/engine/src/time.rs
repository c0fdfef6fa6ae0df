//! Time as records and clients have it: nanoseconds since the epoch inside, RFC 3339 with Go's
//! trimming of zeros outside, and year 1 for "never".

use davit_types::{Error, Result};
use jiff::Timestamp;

/// How Go writes a time that was never set.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds since the epoch, now.
pub(crate) fn now() -> i64 {
    nanoseconds(Timestamp::now())
}

/// `nanoseconds` as `2026-11-23T13:16:42.686643381Z`.
pub(crate) fn format(nanoseconds: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}

/// A time or [`NEVER`].
pub(crate) fn format_optional(nanoseconds: Option<i64>) -> String {
    nanoseconds.map_or_else(|| NEVER.to_owned(), format)
}

/// Reads what [`format`] writes.
pub(crate) fn parse(text: &str) -> Result<i64> {
    text.parse()
        .map(nanoseconds)
        .map_err(|cause| Error::invalid(format!("invalid time {text:?}")).with_source(cause))
}

fn nanoseconds(time: Timestamp) -> i64 {
    // Overflows in the year 2262.
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Serialises an `Option<i64>` as a time or [`NEVER`].
pub(crate) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[allow(clippy::ref_option)] // the signature is serde's
    pub(crate) fn serialize<S: Serializer>(time: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
        super::format_optional(*time).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        let text = String::deserialize(from)?;
        if text == super::NEVER {
            return Ok(None);
        }
        super::parse(&text).map(Some).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_trimmed_like_gos_and_read_back() {
        for (nanoseconds, text) in [
            (1_795_439_802_686_643_381, "2026-11-23T13:16:42.686643381Z"),
            (1_795_439_802_686_640_000, "2026-11-23T13:16:42.68664Z"),
            (1_795_439_802_000_000_000, "2026-11-23T13:16:42Z"),
        ] {
            assert_eq!(format(nanoseconds), text);
            assert_eq!(parse(text).expect(text), nanoseconds);
        }
        assert_eq!(format_optional(None), NEVER);
    }
}
