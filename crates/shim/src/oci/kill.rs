//! `kill`

use davit_types::{Error, Result};

use super::{Host, failed};

/// Flags of `kill`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// To all processes of the container, which may have stopped
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// Name (with or without SIG) or number; 0 only asks whether there is a process
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
}

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

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let signal = number(&args.signal)
        .ok_or_else(|| Error::invalid(format!("unknown signal {:?}", args.signal)))?;
    let kill = if args.all { davit_runtime::kill_all } else { davit_runtime::kill };
    kill(&host.root, &args.id, signal).map_err(failed)
}

fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let plain = |name: &str| NAMES.iter().find(|known| known.0 == name).map(|known| known.1);
    let relative = |sign: char| {
        let (base, offset) = name.split_once(sign)?;
        let offset = offset.parse::<i32>().ok().filter(|offset| (0..=30).contains(offset))?;
        Some((plain(base).filter(|_| base.starts_with("RT"))?, offset))
    };
    plain(name)
        .or_else(|| relative('+').map(|(base, offset)| base + offset))
        .or_else(|| relative('-').map(|(base, offset)| base - offset))
        .filter(|number| (1..=64).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let cases = [
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("0", Some(0)),
            ("64", Some(64)),
            ("65", None),
            ("-1", None),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-2", Some(62)),
            ("TERM+1", None),
            ("RTMAX+1", None),
            ("SIG", None),
            ("nosuch", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
