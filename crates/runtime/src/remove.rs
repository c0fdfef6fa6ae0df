//! Signals to a container, and its end.

use std::path::Path;

use davit_sys::cgroup::Cgroup;
use davit_sys::pidfd;
use rustix::process::{Pid, Signal};

use crate::failure::{Step, text};
use crate::hooks;
use crate::lock::{self, Lock};
use crate::state::{State, Status};
use crate::systemd;
use crate::{Failure, Rdt};

/// Sends signal number `signal` to the first process of container `id`; 0 only asks whether it can be.
///
/// # Errors
/// `container not running`, or what sending says.
pub fn kill(root: &Path, id: &str, signal: i32) -> Result<(), Failure> {
    let state = State::load(root, id)?;
    signal_first(&state, signal)?;
    if signal == Signal::KILL.as_raw() {
        let cgroup = open_cgroup(&state)?;
        // Frozen, it would never get to see it.
        thaw(cgroup.as_ref());
    }
    Ok(())
}

/// Sends signal number `signal` to every process in the cgroup of container `id`, which may have
/// stopped.
///
/// # Errors
/// What finding them or sending says.
pub fn kill_all(root: &Path, id: &str, signal: i32) -> Result<(), Failure> {
    let state = State::load(root, id)?;
    let Some(cgroup) = open_cgroup(&state)? else { return signal_first(&state, signal) };
    if signal == Signal::KILL.as_raw() {
        return cgroup.kill_all().step("kill processes of", id);
    }
    if state.unfinished || state.status() == Status::Created {
        return signal_first(&state, signal);
    }
    check_signal(id, signal)?;
    for pid in cgroup.procs().step("read cgroup of", id)? {
        send(pid, signal).step("signal", id)?;
    }
    Ok(())
}

/// Pids of the processes of container `id`, as the caller's pid namespace numbers them.
///
/// # Errors
/// It is not there, or what reading its cgroup says.
pub fn processes(root: &Path, id: &str) -> Result<Vec<i32>, Failure> {
    let state = State::load(root, id)?;
    match open_cgroup(&state)? {
        Some(cgroup) => cgroup.procs().step("read cgroup of", id),
        None => Ok(Some(state.pid).filter(|_| state.is_alive()).into_iter().collect()),
    }
}

/// Removes what is left of container `id`: its cgroup, with every process that is still in it, and its
/// state. One that waits to be started is killed; one that runs is refused. Then its `poststop` hooks
/// run; returned is what went wrong with those, which is worth a warning.
///
/// # Errors
/// `container does not exist`, that it runs, or what removing says.
pub fn delete(root: &Path, id: &str) -> Result<Vec<Failure>, Failure> {
    delete_as(root, id, Force::No)
}

/// [`delete`] of a container that may run, or whose record may be damaged.
///
/// # Errors
/// `container does not exist`, or what removing says.
pub fn force_delete(root: &Path, id: &str) -> Result<Vec<Failure>, Failure> {
    delete_as(root, id, Force::Yes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Force {
    Yes,
    No,
}

fn delete_as(root: &Path, id: &str, force: Force) -> Result<Vec<Failure>, Failure> {
    let lock = match force {
        Force::No => Some(Lock::take(root, id)?),
        Force::Yes => lock::take_or_abandon(root, id)?,
    };
    let Some(lock) = lock else { return Ok(Vec::new()) };
    let state = match State::load(root, id) {
        Ok(state) => state,
        Err(_) if force == Force::Yes && lock.is_unrecorded() => {
            return lock.remove().map(|()| Vec::new());
        }
        Err(failure) if force == Force::Yes => second_record(root, id, &failure)?,
        Err(failure) => return Err(failure),
    };
    let status = state.status_locked();
    if matches!(status, Status::Running | Status::Paused) && force == Force::No {
        let status = status.as_str();
        let message = format!("cannot delete container {id} that is not stopped: {status}");
        return Err(text("delete", id, message));
    }
    remove(&state)?;
    state.rdt.as_ref().map_or(Ok(()), Rdt::remove)?;
    lock.remove()?;
    Ok(hooks::poststop(&state))
}

/// Without a record nobody knows what the container has left, so that nothing may be removed.
fn second_record(root: &Path, id: &str, first: &Failure) -> Result<State, Failure> {
    State::load_copy(root, id).map_err(|second| {
        let shown = root.join(id).join("state.json");
        let why = format!("{}; its copy: {}", first.message, second.message);
        let message = format!(
            "nothing is removed: both records of container {id} are damaged, {}: {why}",
            shown.display()
        );
        text("delete", id, message)
    })
}

fn remove(state: &State) -> Result<(), Failure> {
    if state.is_alive() {
        // Ended meanwhile is what was wanted.
        let _ = signal_first(state, Signal::KILL.as_raw());
    }
    let Some(cgroup) = open_cgroup(state)? else { return Ok(()) };
    let id = &state.id;
    // Without a pid namespace of its own a container may leave processes.
    if !cgroup.procs().step("read cgroup of", id)?.is_empty() {
        cgroup.kill_all().step("kill processes of", id)?;
        thaw(Some(&cgroup));
    }
    let stopped = state.unit.as_ref().map_or(Ok(()), systemd::stop);
    cgroup.remove().step("remove cgroup of", id).and(stopped)
}

fn open_cgroup(state: &State) -> Result<Option<Cgroup>, Failure> {
    state.open_cgroup().step("open cgroup of", &state.id)
}

fn thaw(cgroup: Option<&Cgroup>) {
    // There may be no freezer, or nothing frozen.
    if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.is_frozen().unwrap_or(false)) {
        let _ = cgroup.thaw();
    }
}

fn signal_first(state: &State, signal: i32) -> Result<(), Failure> {
    let id = &state.id;
    check_signal(id, signal)?;
    let stopped = || text("kill", id, "container not running");
    let pidfd = pidfd::open(state.pid).map_err(|_| stopped())?;
    // With the pidfd in hand it is this process or none.
    if !state.is_alive() {
        return Err(stopped());
    }
    if signal == 0 {
        return Ok(());
    }
    // The first process of a pid namespace is spared what it doesn't handle, and before its program
    // runs there is nothing that could.
    let created = state.unfinished || state.status() == Status::Created;
    match if created { before_start(signal) } else { Some(signal) } {
        Some(signal) => pidfd::send_signal(&pidfd, signal).step("signal", id),
        None => Ok(()),
    }
}

/// What a signal is to a process that waits to be started, as runc has it: those that ask for the end
/// or tell of a crash end it, and those that a program would have to wait for do nothing.
fn before_start(signal: i32) -> Option<i32> {
    match signal {
        libc::SIGSTOP | libc::SIGCONT => Some(signal),
        libc::SIGHUP
        | libc::SIGINT
        | libc::SIGTERM
        | libc::SIGKILL
        | libc::SIGQUIT
        | libc::SIGABRT
        | libc::SIGILL
        | libc::SIGTRAP
        | libc::SIGBUS
        | libc::SIGFPE
        | libc::SIGSEGV
        | libc::SIGSTKFLT
        | libc::SIGSYS => Some(libc::SIGKILL),
        _ => None,
    }
}

fn check_signal(id: &str, signal: i32) -> Result<(), Failure> {
    const LAST: i32 = 64;
    if (0..=LAST).contains(&signal) {
        return Ok(());
    }
    Err(text("kill", id, format!("unknown signal {signal}")))
}

/// A process that has ended meanwhile needs no signal.
fn send(pid: i32, signal: i32) -> std::io::Result<()> {
    let Some(pid) = Pid::from_raw(pid).filter(|_| signal != 0) else { return Ok(()) };
    match pidfd::open(pid.as_raw_nonzero().get())
        .and_then(|process| pidfd::send_signal(process, signal))
    {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}
