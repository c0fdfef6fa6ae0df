//! `docker-init`: the first process of a container that is run with `--init`.
//!
//! The kernel gives a pid namespace's first process two duties that few programs know of: orphans
//! become its children and have to be reaped, and signals it has no handler for never reach it. This
//! process takes both over, passes signals on to the program and ends as the program ends.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use davit_sys::signal;
use davit_types::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions};

/// The name under which the program is this role.
pub(crate) const NAME: &str = "docker-init";

/// `SIGKILL` and `SIGSTOP` can't be caught; the others tell of faults of this very process.
const NOT_PASSED: [i32; 6] = [4, 7, 8, 9, 11, 19];
const SIGCHLD: i32 = 17;
const LAST_SIGNAL: i32 = 64;

/// Runs the program of `args` (behind `--`) and ends with its exit status.
pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    let program = match args {
        [separator, program @ ..] if separator == "--" => program,
        program => program,
    };
    let [name, arguments @ ..] = program else {
        return Err(Error::invalid("usage: docker-init -- PROGRAM [ARGUMENT...]"));
    };
    // Blocked before the program exists, so that no signal is lost. The program starts with none
    // blocked: the standard library sees to that. The two reserved for threads can't be blocked.
    let signals: Vec<i32> = (1..=LAST_SIGNAL)
        .filter(|signal| !NOT_PASSED.contains(signal) && !(32..=34).contains(signal))
        .collect();
    let pending = signal::descriptor(&signals).context(|| "take signals")?;
    let child = match Command::new(name).args(arguments).process_group(0).spawn() {
        Ok(child) => Pid::from_child(&child),
        Err(error) => return Ok(could_not_start(name, &error)),
    };
    // Fails when standard input is no terminal: then there is no foreground to give.
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), child);
    loop {
        let mut wait = [PollFd::new(&pending, PollFlags::IN)];
        // Interrupted by a stop and continuation; the next round looks again.
        let _ = rustix::event::poll(&mut wait, None);
        while let Some(number) = pending.next() {
            if number == SIGCHLD {
                if let Some(status) = reap(child) {
                    return Ok(ExitCode::from(status));
                }
            } else if let Some(signal) = Signal::from_named_raw(number) {
                // The program may just have ended; its SIGCHLD follows.
                let _ = rustix::process::kill_process(child, signal);
            }
        }
    }
}

/// Collects every child that has ended; the program's exit status if it was among them.
fn reap(child: Pid) -> Option<u8> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == child {
            let code = status.exit_status().or(status.terminating_signal().map(|n| 128 + n));
            ended = code.and_then(|code| u8::try_from(code).ok());
        }
    }
    ended
}

fn could_not_start(name: &OsString, error: &std::io::Error) -> ExitCode {
    let text = format!("docker-init: exec {}: {error}\n", name.to_string_lossy());
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}
