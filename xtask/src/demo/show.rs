//! What the demo tells about the running container.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::place::{CONTAINER, DATA_ROOT, SOCKET, davit};
use crate::run::say;

const LIMIT: Duration = Duration::from_secs(10);

/// Log, process, namespaces, cgroup, address.
pub(crate) fn container() -> Result<()> {
    say(&format!("\n$ davit logs {CONTAINER}"));
    let logs = davit(&["logs", CONTAINER], LIMIT)?.code(0)?;
    say(format!("{}{}", logs.stdout, logs.stderr).trim());
    let inspected = davit(&["inspect", CONTAINER], LIMIT)?.ok()?;
    let inspected: Value = serde_json::from_str(&inspected)?;
    let container = &inspected[0];
    let pid = container["State"]["Pid"].as_i64().context("inspect without State.Pid")?;
    let id = container["Id"].as_str().unwrap_or_default();
    let address = &container["NetworkSettings"]["Networks"]["bridge"]["IPAddress"];
    say(&format!("\n$ davit inspect {CONTAINER}"));
    say(&format!("State.Pid {pid}, address {}", address.as_str().unwrap_or_default()));
    say(&format!("metadata  {DATA_ROOT}/containers/{id}/"));
    say("\nIts namespaces, beside this machine's:");
    for name in ["pid", "net", "mnt", "uts", "ipc", "cgroup", "user"] {
        let of = |who: &str| {
            let link = fs::read_link(format!("/proc/{who}/ns/{name}"));
            link.map_or_else(|_| "?".to_owned(), |target| target.display().to_string())
        };
        let (its, ours) = (of(&pid.to_string()), of("self"));
        let word = if its == ours { "shared" } else { "own" };
        say(&format!("  {name:<7} {its:<22} {ours:<22} {word}"));
    }
    say("\nIts cgroup:");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("read its cgroup")?;
    say(cgroup.trim());
    Ok(())
}

/// How to go on, and how to stop.
pub(crate) fn what_next(port: u16) {
    say(&format!(
        "\nIt is running. Go on with\n\
         \n    export DOCKER_HOST=unix://{SOCKET}\n    \
         curl localhost:{port}\n    \
         target/release/davit ps\n    \
         target/release/davit exec -it {CONTAINER} sh\n    \
         target/release/davit stop {CONTAINER}\n\
         \nand remove every trace with\n\n    cargo xtask demo --down\n"
    ));
}
