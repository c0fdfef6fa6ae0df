//! The shim's own process: apart from the daemon's session, deaf to its signals, hard to kill for lack
//! of memory, and replacing itself by its next role.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use davit_monitor::handover::Handover;
use davit_sys::signal;
use davit_types::Error;
use rustix::fs::Mode;

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";
/// What containerd gives its shims: after everything else on the machine.
const MONITOR_SCORE: i32 = -998;

/// Signals that a terminal, a service manager or a broken pipe would end the monitor with: HUP, INT,
/// QUIT, PIPE and TERM. The container must outlive them; whoever wants it stopped says so to it.
const IGNORED: [i32; 5] = [1, 2, 3, 13, 15];

/// Leaves the daemon's session and directory. Nothing here is worth failing a start for.
pub(crate) fn detach() {
    // Refused only when the process leads a session already.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    let _ = signal::ignore(&IGNORED);
}

/// The score that this process was started with, which its children inherit.
pub(crate) fn oom_score_adj() -> Option<i32> {
    fs::read_to_string(OOM_SCORE_ADJ).ok()?.trim().parse().ok()
}

/// Spares the monitor. Only after the container's process exists, which would inherit it.
pub(crate) fn spare_from_oom_killer() {
    set_oom_score_adj(MONITOR_SCORE);
}

/// Sets the score; an unprivileged shim can't lower its own.
pub(crate) fn set_oom_score_adj(score: i32) {
    let _ = fs::write(OOM_SCORE_ADJ, score.to_string());
}

/// Replaces this process by `role` with the handover. Returns only when that fails.
pub(crate) fn become_role(role: &str, task_dir: &Path, handover: &Handover) -> Error {
    let memory: OwnedFd = match handover.store() {
        Ok(memory) => memory,
        Err(error) => return error,
    };
    let error = Command::new("/proc/self/exe")
        .arg0("davit-shim")
        .arg(role)
        .arg(task_dir)
        .arg(memory.as_raw_fd().to_string())
        .exec();
    Error::internal(format!("execute the {role} role")).with_source(error)
}
