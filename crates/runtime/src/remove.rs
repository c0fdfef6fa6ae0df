//! Signals to a container, and its end.

use std::fs;
use std::path::Path;

use davit_sys::cgroup::{Cgroup, Layout};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::Failure;
use crate::failure::{Step, text};
use crate::hooks;
use crate::state::{self, State, Status};

/// Sends signal number `signal` to the first process of container `id`.
///
/// # Errors
/// `container not running`, or what sending says.
pub fn kill(root: &Path, id: &str, signal: i32) -> Result<(), Failure> {
    let state = State::load(root, id)?;
    let stopped = || text("kill", id, "container not running");
    let pid = Pid::from_raw(state.pid).ok_or_else(stopped)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| stopped())?;
    if !state.is_alive() {
        return Err(stopped());
    }
    let signal = Signal::from_named_raw(signal)
        .ok_or_else(|| text("kill", id, format!("unknown signal {signal}")))?;
    rustix::process::pidfd_send_signal(&pidfd, signal).step("signal", id)
}

/// Removes what is left of container `id`: its cgroup, with every process that is still in it, and its
/// state. One that waits to be started is killed; one that runs is refused. Then its `poststop` hooks
/// run; returned is what went wrong with those, which is worth a warning.
///
/// # Errors
/// `container does not exist`, that it runs, or what removing says.
pub fn delete(root: &Path, id: &str) -> Result<Vec<Failure>, Failure> {
    let state = State::load(root, id)?;
    let status = state.status();
    if matches!(status, Status::Running | Status::Paused) {
        let status = status.as_str();
        let message = format!("cannot delete container {id} that is not stopped: {status}");
        return Err(text("delete", id, message));
    }
    if status == Status::Created {
        kill(root, id, Signal::KILL.as_raw())?;
    }
    if let Some(path) = &state.cgroup {
        let layout = Layout::detect().step("detect", "cgroups")?;
        let cgroup = Cgroup::open(&layout, path).step("open cgroup", path)?;
        // Without a pid namespace of its own a container may leave processes.
        if !cgroup.procs().step("read cgroup", path)?.is_empty() {
            cgroup.kill_all().step("kill processes of cgroup", path)?;
        }
        cgroup.remove().step("remove cgroup", path)?;
    }
    let directory = state::directory(root, id)?;
    fs::remove_dir_all(&directory).step("remove", directory.to_string_lossy())?;
    Ok(hooks::poststop(&state))
}
