//! Signal names and numbers as clients write them.

use davit_types::{Error, Result};

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// `SIGKILL`.
pub(crate) const KILL: i32 = 9;
/// `SIGTERM`, what stops a container that says nothing else.
pub(crate) const TERM: i32 = 15;

/// The number of `text`: a number, or a name with or without `SIG`, in any case.
///
/// # Errors
/// Anything else is invalid.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let real_time = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
    let number = real_time("RTMIN+").map(|n: i32| 34 + n).or(real_time("RTMAX-").map(|n| 64 - n));
    number.filter(|number| (34..=64).contains(number)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_in_all_spellings() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("term", 15),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text).expect(text), number, "{text}");
        }
        for bad in ["", "0", "65", "NOSUCH", "SIG", "RTMIN+99", "-9"] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.to_string(), format!("invalid signal: {bad}"));
        }
    }
}
