//! The process in between: enters namespaces that have to be entered before others are made.
//!
//! A namespace belongs to the user namespace in which it is made, and who makes a user namespace loses
//! all power over others. So a user namespace that exists is entered before the container's other
//! namespaces are made, and namespaces that exist are entered before a user namespace is made. The
//! caller can't do either himself: there is no way back. Where neither is needed there is no such
//! process.

use std::os::fd::{AsFd, OwnedFd};

use davit_sys::clone::{Child, clone3, clone3_sibling};
use davit_sys::{fdpass, namespace};

use crate::Failure;
use crate::failure::{Step, text};
use crate::init::{Entry, Init};
use crate::parent::{kill_and_reap, report};
use crate::plan::{IdMapping, Namespaces};

/// Whether `namespaces` take a process in between.
pub(crate) fn is_needed(namespaces: &Namespaces) -> bool {
    let others = namespaces.join.iter().any(|join| join.kind != namespace::PID);
    namespaces.joined_user().is_some() || (namespaces.new & namespace::USER != 0 && others)
}

/// The container's child, a child of the caller's as ever.
pub(crate) fn clone(
    init: &Init<'_>,
    cgroup: Option<&OwnedFd>,
    starter: &mut Option<OwnedFd>,
) -> Result<Child, Failure> {
    let (receiver, sender) = fdpass::pair().step("make", "socket pair")?;
    let mut receiver = Some(receiver);
    let stage = clone3(0, cgroup.map(AsFd::as_fd), || {
        receiver = None;
        // The copies would keep the channel open when the starter is gone.
        *starter = None;
        match enter_and_clone(init, &sender) {
            Ok(()) => 0,
            Err(failure) => report(init.channel, Err(failure)),
        }
    })
    .step("clone", "process in between")?;
    drop(sender);
    let mut pid = [0; 4];
    let receiver = receiver.expect("only the child lets go of it");
    let received = fdpass::recv(&receiver, &mut pid).step("receive", "container process");
    // It has nothing more to do, and may not be waited for by number later.
    kill_and_reap(&stage.pidfd);
    match received? {
        (4, mut fds) if fds.len() == 1 => {
            Ok(Child { pid: i32::from_le_bytes(pid), pidfd: fds.remove(0) })
        }
        // Its failure is in the channel.
        _ => Err(failure_of(init)),
    }
}

fn failure_of(init: &Init<'_>) -> Failure {
    let name = init.plan.id.as_str();
    text("clone", name, "the process in between ended without a container process")
}

fn enter_and_clone(init: &Init<'_>, sender: &OwnedFd) -> Result<(), Failure> {
    // The user namespace first: it gives the power to enter those that belong to it.
    let user = init.entries.iter().filter(|entry| entry.kind == namespace::USER);
    let others = init.entries.iter().filter(|entry| entry.kind != namespace::USER);
    for Entry { kind, file, name } in user.chain(others) {
        namespace::setns(file.as_fd(), *kind).step("join namespace", name)?;
    }
    check_tables(&init.plan.namespaces)?;
    let child = clone3_sibling(init.plan.namespaces.new, || report(init.channel, init.run()))
        .step("clone", "container process")?;
    let pid = child.pid.to_le_bytes();
    fdpass::send(sender, &pid, &[child.pidfd.as_fd()]).step("send", "container process")
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
