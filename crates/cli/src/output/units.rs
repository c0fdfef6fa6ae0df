//! Sizes and spans of time in Docker's words.

use davit_api::Time;

/// A size in powers of 1000 with `digits` significant digits: `1.23MB`.
pub(crate) fn decimal_size(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], digits)
}

/// A size in powers of 1024 with four significant digits: `1.5MiB`.
pub(crate) fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit < units.len() - 1 {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// Go's `%.Ng`: so many significant digits, no zeros at the end.
fn significant(number: f64, digits: usize) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{:.*e}", digits.saturating_sub(1), number);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= i32::try_from(digits).unwrap_or(i32::MAX) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(0) - 1 - exponent).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}

/// A span of time, roughly: `About an hour`, `3 days`.
pub(crate) fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match (seconds, minutes, hours) {
        (i64::MIN..1, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (2..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, i64::MIN..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / 24),
        (_, _, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago a Unix time was: `2 minutes ago`.
pub(crate) fn ago(unix: i64) -> String {
    if unix <= 0 {
        return "N/A".to_owned();
    }
    format!("{} ago", duration(Time::now().unix() - unix))
}

/// A Unix time as Go prints it: `2026-11-23 13:16:42 +0000 UTC`.
pub(crate) fn moment(unix: i64) -> String {
    let text = Time::from_nanoseconds(unix.saturating_mul(1_000_000_000)).to_string();
    text.replace('T', " ").trim_end_matches('Z').to_owned() + " +0000 UTC"
}

/// The first twelve digits of an id, without `sha256:`.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// `text` cut to `width` characters, the last one an ellipsis if something is missing.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_dockers_precision() {
        let table = [
            (0.0, "0B"),
            (12.0, "12B"),
            (999.0, "999B"),
            (1000.0, "1kB"),
            (1234.0, "1.23kB"),
            (1_234_567.0, "1.23MB"),
            (192_345_678.0, "192MB"),
            (1e9, "1GB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(decimal_size(bytes, 3), expected);
        }
        assert_eq!(
            (binary_size(1.5 * 1048576.0), binary_size(0.0)),
            ("1.5MiB".to_owned(), "0B".to_owned())
        );
        assert_eq!(binary_size(2_067_333_120.0), "1.925GiB");
        assert_eq!(decimal_size(1_234_567.0, 4), "1.235MB");
    }

    #[test]
    fn spans_are_rounded_as_docker_rounds_them() {
        let table = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (172_799, "2 days"),
            (86_400 * 13, "13 days"),
            (86_400 * 14, "2 weeks"),
            (86_400 * 59, "8 weeks"),
            (86_400 * 60, "2 months"),
            (86_400 * 729, "24 months"),
            (86_400 * 730, "2 years"),
        ];
        for (seconds, expected) in table {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn ids_and_texts_are_cut() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
        assert_eq!(moment(1_795_439_802), "2026-11-23 13:16:42 +0000 UTC");
    }
}
