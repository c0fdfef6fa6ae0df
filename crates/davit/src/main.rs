//! `davit`: the command line and, under `davit daemon` or the name `dockerd`, the daemon.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// Exit status when the program itself failed, as Docker's.
const FAILURE: u8 = 125;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if is_daemon(&mut args) {
        return davit_daemon::run(args).unwrap_or_else(|error| fail(&error));
    }
    davit_cli::run(args)
}

/// Whether the daemon is wanted; leaves its arguments in `args`.
fn is_daemon(args: &mut Vec<OsString>) -> bool {
    let name = args.first().and_then(|program| Path::new(program).file_name());
    let by_name = matches!(name.and_then(OsStr::to_str), Some("dockerd" | "davitd"));
    let by_command = !by_name && args.get(1).is_some_and(|command| command == "daemon");
    if by_name || by_command {
        args.drain(..if by_name { 1 } else { 2 });
    }
    by_name || by_command
}

#[expect(clippy::print_stderr, reason = "this is the last place that can tell")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("davit daemon: {error:#}");
    ExitCode::from(FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_found_by_name_or_command() {
        let check = |line: &str| {
            let mut args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = is_daemon(&mut args);
            let rest: Vec<_> = args.iter().map(|arg| arg.to_str().expect("text")).collect();
            (found, rest.join(" "))
        };
        assert_eq!(check("davit daemon -D"), (true, "-D".to_owned()));
        assert_eq!(check("/usr/bin/dockerd -D"), (true, "-D".to_owned()));
        assert_eq!(check("davit run daemon"), (false, "davit run daemon".to_owned()));
    }
}
