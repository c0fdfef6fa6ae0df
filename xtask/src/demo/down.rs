//! The demo's end: every trace removed, whatever state it is in. Each step runs even if an earlier
//! one failed; all failures are reported together.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use davit_testkit::cgroup;
use davit_testkit::wait::until_true;
use rustix::process::{Pid, Signal, kill_process};

use super::place::{BRIDGE, CGROUP, DATA_ROOT, EXEC_ROOT, TABLE, answers, daemon_pid, davit};
use crate::run::{output, say};

const LIMIT: Duration = Duration::from_secs(30);

type Step = (&'static str, fn() -> Result<()>);

/// Removes containers, daemon, mounts, bridge, table, cgroups and directories.
pub(crate) fn run() -> Result<()> {
    let steps: [Step; 7] = [
        ("remove the containers", remove_containers),
        ("stop the daemon", stop_daemon),
        ("end left-over processes", end_processes),
        ("unmount", unmount),
        ("remove bridge and firewall table", remove_network),
        ("remove cgroups", || cgroup::remove(CGROUP)),
        ("remove directories", remove_directories),
    ];
    let mut failures = Vec::new();
    for (name, step) in steps {
        if let Err(error) = step() {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    if !failures.is_empty() {
        bail!("the demo could not be removed completely:\n{}", failures.join("\n"));
    }
    say("The demo is gone. (The built programs and cached images are in the target directory.)");
    Ok(())
}

fn remove_containers() -> Result<()> {
    if !answers() {
        return Ok(());
    }
    let listed = davit(&["ps", "--all", "--quiet"], LIMIT)?.ok()?;
    let ids: Vec<&str> = listed.split_whitespace().collect();
    if !ids.is_empty() {
        davit(&[&["rm", "--force"], &ids[..]].concat(), LIMIT)?.ok()?;
    }
    Ok(())
}

fn stop_daemon() -> Result<()> {
    let Some(pid) = daemon_pid() else { return Ok(()) };
    signal(pid, Signal::TERM)?;
    wait_for_end(pid)
}

/// Monitors and containers of a daemon that could not remove them any more: monitors have the demo's
/// directory in their command line, containers are in its cgroups.
fn end_processes() -> Result<()> {
    for _ in 0..10 {
        let left = processes();
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            signal(pid, Signal::KILL)?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("processes {:?} don't end", processes())
}

fn processes() -> Vec<i32> {
    let mut found: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter(|pid| belongs_to_demo(*pid))
        .collect();
    found.sort_unstable();
    found
}

fn belongs_to_demo(pid: i32) -> bool {
    let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let command_line = String::from_utf8_lossy(&read("cmdline")).into_owned();
    let mut words = command_line.split('\0');
    let program = words.next().unwrap_or_default();
    let monitor = program.ends_with("davit-shim") && words.any(|w| w.starts_with(EXEC_ROOT));
    let inside = format!(":{CGROUP}/");
    monitor || String::from_utf8_lossy(&read("cgroup")).contains(&inside)
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    let target = Pid::from_raw(pid).context("pid 0")?;
    match kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("signal {pid}")),
    }
}

fn wait_for_end(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}");
    until_true(LIMIT, "the daemon's end", || Ok(!Path::new(&path).exists()))
}

/// Deepest first, which is last mounted first.
fn unmount() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let ours =
        |point: &&str| [DATA_ROOT, EXEC_ROOT].iter().any(|root| Path::new(point).starts_with(root));
    for point in points.filter(ours).collect::<Vec<_>>().into_iter().rev() {
        rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("unmount {point}"))?;
    }
    Ok(())
}

fn remove_network() -> Result<()> {
    let mut show = Command::new("ip");
    show.args(["link", "show", "dev", BRIDGE]);
    // It fails when there is none.
    if output(show).is_ok() {
        let mut link = Command::new("ip");
        link.args(["link", "delete", BRIDGE]);
        output(link)?;
    }
    let mut list = Command::new("nft");
    list.args(["list", "tables"]);
    for line in output(list)?.lines() {
        // "table ip davit-demo"
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["table", family, TABLE] = words[..] {
            let mut delete = Command::new("nft");
            delete.args(["delete", "table", family, TABLE]);
            output(delete)?;
        }
    }
    Ok(())
}

fn remove_directories() -> Result<()> {
    for dir in [EXEC_ROOT, DATA_ROOT] {
        match fs::remove_dir_all(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("remove {dir}")),
        }
    }
    Ok(())
}
