//! Times as Go writes and clients give them.
//!
//! Go writes RFC 3339 with as many of the nine fractional digits as are needed and year 1 for
//! "never"; clients give Unix seconds, RFC 3339 at several precisions, or a duration before now.

use std::fmt;

use davit_types::{Error, Result};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in Go's JSON; its default is Go's zero time, year 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

/// Unix time of 0001-01-01T00:00:00Z.
const ZERO_SECONDS: i64 = -62_135_596_800;

impl Time {
    /// Now.
    pub fn now() -> Self {
        Self(Timestamp::now())
    }

    /// The time so many nanoseconds after the epoch.
    pub fn from_nanoseconds(nanoseconds: i64) -> Self {
        let time = Timestamp::from_nanosecond(i128::from(nanoseconds));
        Self(time.expect("64 bits of nanoseconds are 292 years, which a timestamp can hold"))
    }

    /// Whether it is Go's zero time, "never".
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// Whole seconds since the epoch.
    pub fn unix(self) -> i64 {
        self.0.as_second()
    }

    /// With exactly nine fractional digits, as log lines have it.
    pub fn with_nine_digits(self) -> String {
        format!("{:.9}", self.0)
    }
}

impl Default for Time {
    fn default() -> Self {
        Self(Timestamp::from_second(ZERO_SECONDS).expect("year 1 is in range"))
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    /// An unreadable time is the zero time: a client should not fail because of it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(text.parse().map(Self).unwrap_or_default())
    }
}

/// Reads what `since` and `until` allow: Unix seconds with an optional fraction, RFC 3339 with or
/// without zone at several precisions, or a Go duration before `now`.
///
/// # Errors
/// The text is none of these.
pub fn parse_moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    unix(text)
        .or_else(|| text.parse().ok())
        .or_else(|| without_zone(text))
        .or_else(|| parse_duration(text).and_then(|ago| now.checked_sub(ago).ok()))
        .ok_or_else(|| {
            Error::invalid(format!("failed to parse value as time or duration: {text:?}"))
        })
}

/// Reads a Go duration, `1h30m`, `-1.5s`, `100ms`.
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    match rest {
        "" => return None,
        "0" => return Some(SignedDuration::ZERO),
        _ => {}
    }
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = number.parse::<f64>().ok()? * unit_seconds(unit)?;
        total = total.checked_add(SignedDuration::try_from_secs_f64(seconds).ok()?)?;
        rest = tail;
    }
    Some(total * sign)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" | "μs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i32 = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

fn without_zone(text: &str) -> Option<Timestamp> {
    let date_time = text.parse::<DateTime>().ok().or_else(|| {
        // `2006-01-02T15` has no minutes, which the parser wants.
        let (date, hour) = text.split_once('T')?;
        let hour = (hour.len() == 2).then(|| hour.parse().ok())??;
        date.parse::<Date>().ok()?.at(0, 0, 0, 0).with().hour(hour).build().ok()
    })?;
    TimeZone::UTC.to_timestamp(date_time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        let time = |nanoseconds| Time::from_nanoseconds(nanoseconds).to_string();
        assert_eq!(Time::default().to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(time(1_795_439_802_686_643_381), "2026-11-23T13:16:42.686643381Z");
        assert_eq!(time(1_795_439_802_680_000_000), "2026-11-23T13:16:42.68Z");
        assert_eq!(time(1_795_439_802_000_000_000), "2026-11-23T13:16:42Z");
        let exact = Time::from_nanoseconds(1_795_439_802_680_000_000).with_nine_digits();
        assert_eq!(exact, "2026-11-23T13:16:42.680000000Z");
    }

    #[test]
    fn times_are_read_leniently() {
        let read = |text: &str| serde_json::from_str::<Time>(text).expect("a string");
        assert_eq!(read(r#""2026-11-23T14:16:42+01:00""#), read(r#""2026-11-23T13:16:42Z""#));
        assert!(read(r#""""#).is_zero());
        assert!(read(r#""0001-01-01T00:00:00Z""#).is_zero());
    }

    #[test]
    fn moments_have_many_forms() {
        let now: Timestamp = "2026-11-23T13:16:42Z".parse().expect("valid");
        let cases = [
            ("1795439802", "2026-11-23T13:16:42Z"),
            ("1795439802.5", "2026-11-23T13:16:42.5Z"),
            ("1795439802.000000001", "2026-11-23T13:16:42.000000001Z"),
            ("2026-11-23T13:16:42+01:00", "2026-11-23T12:16:42Z"),
            ("2026-11-23T13:16:42.25", "2026-11-23T13:16:42.25Z"),
            ("2026-11-23T13:16", "2026-11-23T13:16:00Z"),
            ("2026-11-23T13", "2026-11-23T13:00:00Z"),
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            ("1h16m42s", "2026-11-23T12:00:00Z"),
            ("100ms", "2026-11-23T13:16:41.9Z"),
        ];
        for (text, expected) in cases {
            let found = parse_moment(text, now).expect(text);
            assert_eq!(found.to_string(), expected, "{text}");
        }
        for bad in ["", "x", "1d", "h", "2026-13-01"] {
            assert!(parse_moment(bad, now).is_err(), "{bad}");
        }
    }
}
