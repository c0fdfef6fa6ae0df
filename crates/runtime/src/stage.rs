//! The process in between: enters namespaces that have to be entered before others are made.
//!
//! A namespace belongs to the user namespace in which it is made, and who makes a user namespace loses
//! all power over others. So a user namespace that exists is entered before the container's other
//! namespaces are made, and namespaces that exist are entered before a user namespace is made. The
//! caller can't do either himself: there is no way back.
//!
//! An exec needs it too: whoever is in a container's pid namespace is seen by its processes, and one
//! with `CAP_SYS_PTRACE` may follow its working directory, root and descriptors in `/proc`. So the
//! process in between leaves all that is the host's behind, and only its child is a member. (A new
//! container that joins another's pid namespace can't be spared that: its `/proc` has to be mounted by
//! a member. Who shares a pid namespace with `CAP_SYS_PTRACE` has power over whoever joins it.)
//!
//! Where none of these is needed there is no such process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use davit_sys::clone::{Child, clone3, clone3_sibling};
use davit_sys::{fdpass, namespace, process as sys_process};
use rustix::process::{WaitId, WaitIdOptions};

use crate::Failure;
use crate::failure::{Step, text};
use crate::init::{Entry, Init};
use crate::parent::{kill_and_reap, report};
use crate::plan::{IdMapping, Namespaces};

/// Whether `namespaces` take a process in between.
pub(crate) fn is_needed(namespaces: &Namespaces) -> bool {
    let others =
        namespaces.join.iter().any(|join| !matches!(join.kind, namespace::PID | namespace::MOUNT));
    namespaces.joined_user().is_some() || (namespaces.new & namespace::USER != 0 && others)
}

/// The container's child, a child of the caller's as ever.
pub(crate) fn clone(
    init: &Init<'_>,
    cgroup: Option<&OwnedFd>,
    starter: &mut Option<OwnedFd>,
) -> Result<Child, Failure> {
    let enter = || {
        // The user namespace first: it gives the power to enter those that belong to it.
        let user = init.entries.iter().filter(|entry| entry.kind == namespace::USER);
        let others = init
            .entries
            .iter()
            // The mounts are entered when the root is finished.
            .filter(|entry| !matches!(entry.kind, namespace::USER | namespace::MOUNT));
        for Entry { kind, file, name } in user.chain(others) {
            namespace::setns(file.as_fd(), *kind).step("join namespace", name)?;
        }
        check_tables(&init.plan.namespaces)
    };
    let body = || report(init.channel, init.run());
    let way = Way { channel: init.channel, cgroup, flags: init.plan.namespaces.new, close: None };
    through(&way, starter, enter, body)
}

/// How the process in between comes to be and what it makes.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    /// Where it tells what fails.
    pub(crate) channel: BorrowedFd<'a>,
    /// Unified cgroup to be born in.
    pub(crate) cgroup: Option<&'a OwnedFd>,
    /// Namespaces to be made.
    pub(crate) flags: u64,
    /// Descriptors from this number on are closed before the child is made, except for these.
    pub(crate) close: Option<(u32, Vec<BorrowedFd<'a>>)>,
}

/// A child of the caller's that runs `body`, made by a process that has done `enter`.
pub(crate) fn through(
    way: &Way<'_>,
    starter: &mut Option<OwnedFd>,
    enter: impl FnOnce() -> Result<(), Failure>,
    body: impl FnOnce() -> i32,
) -> Result<Child, Failure> {
    let (receiver, sender) = fdpass::pair().step("make", "socket pair")?;
    let (mut receiver, mut sender) = (Some(receiver), Some(sender));
    let stage = clone3(0, way.cgroup.map(AsFd::as_fd), || {
        receiver = None;
        // The copies would keep the channel open when the starter is gone.
        *starter = None;
        let made = enter().and_then(|()| {
            close_others(way, sender.as_ref())?;
            let child = clone3_sibling(way.flags, || {
                sender = None;
                body()
            });
            let child = child.step("clone", "container process")?;
            let sender = sender.as_ref().expect("only the child lets go of it");
            fdpass::send(sender, &[0], &[child.pidfd.as_fd()]).step("send", "container process")
        });
        match made {
            Ok(()) => 0,
            Err(failure) => report(way.channel, Err(failure)),
        }
    })
    .step("clone", "process in between")?;
    drop(sender);
    let mut byte = [0];
    let receiver = receiver.expect("only the child lets go of it");
    let received = fdpass::recv(&receiver, &mut byte).step("receive", "container process");
    // It has nothing more to do.
    kill_and_reap(&stage.pidfd);
    match received? {
        (1, mut fds) if fds.len() == 1 => own_child(fds.remove(0)),
        // Its failure is in the channel.
        _ => Err(text("clone", "", "the process in between ended without a container process")),
    }
}

/// Leaves nothing of the host's to the child that it doesn't need.
fn close_others(way: &Way<'_>, sender: Option<&OwnedFd>) -> Result<(), Failure> {
    let Some((first, keep)) = &way.close else { return Ok(()) };
    let keep: Vec<_> = keep.iter().copied().chain(sender.map(AsFd::as_fd)).collect();
    sys_process::close_from(*first, &keep).step("close", "descriptors")
}

/// The child of `pidfd`. What came through a process that others could see is not believed: it has to
/// be a child of ours, and the kernel tells its pid.
fn own_child(pidfd: OwnedFd) -> Result<Child, Failure> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)
        .step("find", "container process")?;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let info = std::fs::read_to_string(&path).step("read", &path)?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    match pid {
        Some(pid) => Ok(Child { pid, pidfd }),
        None => Err(text("read", &path, "the container process has no pid")),
    }
}

/// Tables that come with a user namespace that exists say what it has to have.
fn check_tables(namespaces: &Namespaces) -> Result<(), Failure> {
    if namespaces.joined_user().is_none() {
        return Ok(());
    }
    for (file, wanted) in
        [("uid_map", &namespaces.uid_mappings), ("gid_map", &namespaces.gid_mappings)]
    {
        let path = format!("/proc/self/{file}");
        let present = std::fs::read_to_string(&path).step("read", &path)?;
        let numbers = |table: &str| -> Vec<Vec<u32>> {
            let line = |line: &str| line.split_whitespace().flat_map(str::parse).collect();
            let mut lines: Vec<Vec<u32>> = table.lines().map(line).collect();
            lines.sort();
            lines
        };
        if !wanted.is_empty() && numbers(&present) != numbers(&IdMapping::table(wanted)) {
            let message = "the user namespace has other id mappings than the configuration";
            return Err(text("config", file, message));
        }
    }
    Ok(())
}
