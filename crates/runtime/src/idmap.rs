//! Tables of user and group ids of a new user namespace.
//!
//! A privileged runtime writes them. An ordinary user may only map himself; for more there are the
//! set-user-id programs `newuidmap` and `newgidmap`, which know what he was given in `/etc/subuid`.

use std::fs;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::failure::{Step, text};
use crate::plan::{IdMapping, Plan};

/// Writes the tables of process `pid`, which waits in its new namespace.
pub(crate) fn write(plan: &Plan, pid: i32) -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let namespaces = &plan.namespaces;
    write_one(pid, "uid_map", "newuidmap", &namespaces.uid_mappings, uid.as_raw())?;
    write_one(pid, "gid_map", "newgidmap", &namespaces.gid_mappings, gid.as_raw())
}

fn write_one(
    pid: i32,
    file: &str,
    program: &str,
    table: &[IdMapping],
    own: u32,
) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/{file}");
    if rustix::process::geteuid().is_root() {
        return fs::write(&path, IdMapping::table(table)).step("write", &path);
    }
    if matches!(table, [only] if only.size == 1 && only.host == own) {
        if file == "gid_map" {
            // Else a group that forbids something to its members could be left.
            let setgroups = format!("/proc/{pid}/setgroups");
            fs::write(&setgroups, "deny").step("write", &setgroups)?;
        }
        return fs::write(&path, IdMapping::table(table)).step("write", &path);
    }
    let numbers = table.iter().flat_map(|map| [map.container, map.host, map.size]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
    command.stdin(Stdio::null());
    let output = command.output().map_err(|error| {
        let message = format!(
            "{program}: {error}; an ordinary user who maps more ids than his own needs this program \
             (package uidmap)"
        );
        text("write", file, message)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(text("write", file, format!("{program} failed: {}", said.trim())))
}
