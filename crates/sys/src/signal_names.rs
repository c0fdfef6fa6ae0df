//! Signals as people and clients write them.

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

/// The number of `text`: one from 1 to 64, or a name with or without `SIG`, in any case; real-time
/// signals also as `RTMIN+n` and `RTMAX-n`.
pub fn number(text: &str) -> Option<i32> {
    const ALL: std::ops::RangeInclusive<i32> = 1..=64;
    const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
    if let Ok(number) = text.parse::<i32>() {
        return ALL.contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.parse::<u8>().ok());
    let up = offset("RTMIN+").map(|offset| REAL_TIME.start() + i32::from(offset));
    let down = || offset("RTMAX-").map(|offset| REAL_TIME.end() - i32::from(offset));
    up.or_else(down).filter(|number| REAL_TIME.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_in_all_spellings() {
        for (text, expected) in [
            ("9", 9),
            ("64", 64),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("term", 15),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMAX-2", 62),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        let wrong =
            ["", "0", "65", "-9", "NOSUCH", "SIG", "RTMIN+99", "RTMIN+-1", "RTMAX+1", "TERM+1"];
        for text in wrong {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
