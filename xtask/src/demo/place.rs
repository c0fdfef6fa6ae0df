//! The names and directories that belong to the demo alone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use davit_testkit::http::{self, Request};
use davit_testkit::{Finished, command, paths};

use crate::run::output;

/// What lasts.
pub(crate) const DATA_ROOT: &str = "/var/lib/davit-demo";
/// What a reboot forgets; also the socket, pid file and log.
pub(crate) const EXEC_ROOT: &str = "/run/davit-demo";
/// The API.
pub(crate) const SOCKET: &str = "/run/davit-demo/davit.sock";
/// The daemon's pid.
pub(crate) const PID_FILE: &str = "/run/davit-demo/davit.pid";
/// The daemon's log.
pub(crate) const LOG: &str = "/run/davit-demo/daemon.log";
/// The bridge.
pub(crate) const BRIDGE: &str = "davit-demo0";
/// The nftables table.
pub(crate) const TABLE: &str = "davit-demo";
/// The containers' cgroups.
pub(crate) const CGROUP: &str = "/davit-demo";
/// The container.
pub(crate) const CONTAINER: &str = "davit-demo-nginx";

/// The first /24 of 10.213.0.0/16 that no route of this machine touches, as the bridge's address.
pub(crate) fn free_bridge_address() -> Result<String> {
    let mut routes = Command::new("ip");
    routes.args(["-4", "route", "show", "table", "all"]);
    let routes = output(routes)?;
    let free = (0..=255).find(|n| !routes.contains(&format!("10.213.{n}.")));
    let number = free.context("no free /24 in 10.213.0.0/16")?;
    Ok(format!("10.213.{number}.1/24"))
}

/// Whether the demo's daemon answers.
pub(crate) fn answers() -> bool {
    let request = Request { method: "GET", path: "/_ping", headers: &[], body: b"" };
    http::over_unix(Path::new(SOCKET), request).is_ok_and(|answer| answer.status == 200)
}

/// `davit` with `arguments`, towards the demo's daemon.
pub(crate) fn davit(arguments: &[&str], limit: Duration) -> Result<Finished> {
    let mut davit = Command::new(paths::target_dir().join("release/davit"));
    davit.args(arguments).env("DOCKER_HOST", format!("unix://{SOCKET}"));
    command::run(davit, b"", limit)
}

/// The daemon's pid, if a process with the demo's directories has it.
pub(crate) fn daemon_pid() -> Option<i32> {
    let pid: i32 = fs::read_to_string(PID_FILE).ok()?.trim().parse().ok()?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&command_line).contains(DATA_ROOT).then_some(pid)
}
