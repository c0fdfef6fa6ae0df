//! Wall-clock time as the log and the status file need it: nanoseconds, and Go's RFC3339Nano in UTC.

use rustix::time::{ClockId, clock_gettime};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// Nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec * SECOND + time.tv_nsec
}

/// Appends RFC3339 in UTC with the fraction's trailing zeros cut, as Go's `RFC3339Nano` prints it.
pub(crate) fn append_rfc3339(out: &mut Vec<u8>, nanoseconds: i64) {
    let (seconds, fraction) = (nanoseconds.div_euclid(SECOND), nanoseconds.rem_euclid(SECOND));
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let time = seconds.rem_euclid(DAY);
    push_digits(out, year, 4);
    out.push(b'-');
    push_digits(out, month, 2);
    out.push(b'-');
    push_digits(out, day, 2);
    out.push(b'T');
    push_digits(out, time / 3600, 2);
    out.push(b':');
    push_digits(out, time / 60 % 60, 2);
    out.push(b':');
    push_digits(out, time % 60, 2);
    if fraction != 0 {
        out.push(b'.');
        push_digits(out, fraction, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

fn push_digits(out: &mut Vec<u8>, number: i64, width: u32) {
    for position in (0..width).rev() {
        let digit = number / 10_i64.pow(position) % 10;
        out.push(b'0' + u8::try_from(digit).expect("one decimal digit of a positive number"));
    }
}

/// Year, month and day of the day `days` after 1970-01-01. Counts up year by year: it is called once
/// per read, not per line, and clocks stand near the epoch or some decades later.
fn date(days: i64) -> (i64, i64, i64) {
    let (mut year, mut rest) = (1970, days.max(0));
    while rest >= 365 + i64::from(is_leap(year)) {
        rest -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_go_prints_them() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399 * SECOND, "2000-02-28T23:59:59Z"),
            (951_782_400 * SECOND, "2000-02-29T00:00:00Z"),
            (4_107_542_399 * SECOND + 999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400 * SECOND, "2100-03-01T00:00:00Z"),
            (1_795_439_881 * SECOND + 318_151_300, "2026-11-23T13:18:01.3181513Z"),
            (1_798_761_599 * SECOND + 5, "2026-12-31T23:59:59.000000005Z"),
            (1_798_761_600 * SECOND + 100_000_000, "2027-01-01T00:00:00.1Z"),
        ];
        for (nanoseconds, expected) in table {
            let mut out = Vec::new();
            append_rfc3339(&mut out, nanoseconds);
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
        }
    }
}
