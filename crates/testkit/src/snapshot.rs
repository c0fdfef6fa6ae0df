//! What an engine has left on its host, to compare before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::daemon::{Daemon, Engine};
use crate::{cgroup, wait};

/// Nothing changes for this long in a host at rest.
const REST: Duration = Duration::from_secs(1);

/// Counts of everything that a container may leave behind, by `kind name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, usize>);

impl Snapshot {
    /// Looks at the sandbox of `daemon` once it has come to rest: the kernel takes a moment to let go
    /// of a container's interface, the trash is emptied in the background, and what is seen now must
    /// be there later.
    pub fn of(daemon: &Daemon) -> Result<Self> {
        let mut last = Self::now(daemon)?;
        wait::until_true(Duration::from_secs(20), "the host to come to rest", || {
            std::thread::sleep(REST);
            let before = std::mem::replace(&mut last, Self::now(daemon)?);
            Ok(before == last && !last.0.keys().any(|key| key.starts_with("trash ")))
        })?;
        Ok(last)
    }

    fn now(daemon: &Daemon) -> Result<Self> {
        let mut found = Self(BTreeMap::new());
        found.add_mounts(daemon)?;
        found.add_links(daemon)?;
        found.add_firewall(daemon)?;
        found.add_directories(daemon);
        found.add_processes(daemon);
        found.add_descriptors(daemon)?;
        let parent = daemon.sandbox().cgroup_parent();
        // The parent itself comes with the first container and stays.
        for dir in cgroup::directories(parent).iter().filter(|dir| !dir.ends_with(parent)) {
            found.add("cgroup", dir);
        }
        Ok(found)
    }

    /// What differs in `later`, one line each; empty when nothing does.
    pub fn differences(&self, later: &Self) -> Vec<String> {
        let names = self.0.keys().chain(later.0.keys().filter(|key| !self.0.contains_key(*key)));
        names
            .filter_map(|name| {
                let count = |snapshot: &Self| snapshot.0.get(name).copied().unwrap_or(0);
                let (before, after) = (count(self), count(later));
                (before != after).then(|| format!("{name}: {before} before, {after} after"))
            })
            .collect()
    }

    /// Waits until the host looks like this snapshot again; what is in the way is the error.
    pub fn expect_again(&self, daemon: &Daemon, limit: Duration) -> Result<()> {
        let mut last = Vec::new();
        let settled = wait::until_true(limit, "the host to be as before", || {
            last = self.differences(&Self::now(daemon)?);
            Ok(last.is_empty())
        });
        match settled {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error:#}:\n{}", last.join("\n")),
        }
    }

    fn add(&mut self, kind: &str, name: &str) {
        *self.0.entry(format!("{kind} {name}")).or_default() += 1;
    }

    fn add_mounts(&mut self, daemon: &Daemon) -> Result<()> {
        let path = format!("/proc/{}/mountinfo", daemon.sandbox().init());
        for line in fs::read_to_string(path)?.lines() {
            // Field 5 is the mount point.
            if let Some(point) = line.split(' ').nth(4) {
                self.add("mount", point);
            }
        }
        Ok(())
    }

    fn add_links(&mut self, daemon: &Daemon) -> Result<()> {
        for line in daemon.sandbox().sh("ip -o link")?.ok()?.lines() {
            let name = line.split(": ").nth(1).unwrap_or_default();
            self.add("link", name);
        }
        for line in daemon.sandbox().sh("ip netns list")?.ok()?.lines() {
            self.add("named netns", line.split(' ').next().unwrap_or_default());
        }
        Ok(())
    }

    /// Docker 20 uses iptables, whose rules nft shows too when they are of the nft flavour.
    fn add_firewall(&mut self, daemon: &Daemon) -> Result<()> {
        let script = "nft list ruleset; iptables-save 2>/dev/null; true";
        for line in daemon.sandbox().sh(script)?.ok()?.lines() {
            let line = without_counters(line);
            if !line.is_empty() && !line.starts_with(['#', ':']) {
                self.add("firewall", &line);
            }
        }
        Ok(())
    }

    fn add_directories(&mut self, daemon: &Daemon) {
        let data = daemon.data_root();
        let overlay = ["overlay2", "overlay2/l", "containers", "volumes", "trash"];
        for name in overlay {
            self.add_entries(name, &crate::daemon::inside(daemon, &data.join(name)));
        }
        let exec = daemon.exec_root();
        // Docker collects its pinned namespaces once a minute.
        let pinned = if daemon.engine() == Engine::Docker { "none" } else { "netns" };
        let runtime = if daemon.engine() == Engine::Docker { "none" } else { "." };
        for name in ["containers", pinned, "runtime", runtime] {
            self.add_entries(name, &crate::daemon::inside(daemon, &exec.join(name)));
        }
    }

    fn add_entries(&mut self, kind: &str, dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            self.add(kind, &entry.file_name().to_string_lossy());
        }
    }

    /// Command names only: Go programs start threads, not processes, as they like.
    fn add_processes(&mut self, daemon: &Daemon) {
        for (_, name) in daemon.sandbox().processes() {
            self.add("process", &name);
        }
    }

    /// Descriptors by what they are, sockets and anonymous inodes without their numbers. Docker's
    /// daemon keeps descriptors as Go's collector pleases, so only Davit's are counted.
    fn add_descriptors(&mut self, daemon: &Daemon) -> Result<()> {
        if daemon.engine() == Engine::Docker {
            return Ok(());
        }
        let dir = format!("/proc/{}/fd", daemon.pid()?.as_raw_nonzero());
        for entry in fs::read_dir(dir)?.flatten() {
            if let Ok(target) = fs::read_link(entry.path()) {
                let target = target.to_string_lossy().into_owned();
                let name = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind);
                self.add("daemon fd", name);
            }
        }
        Ok(())
    }
}

/// Drops nft's and iptables' packet counts.
fn without_counters(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "packets" | "bytes" | "expires" => drop(words.next()),
            _ if word.starts_with('[') && word.ends_with(']') && word.contains(':') => {}
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_dropped() {
        assert_eq!(
            without_counters("  tcp dport 80 counter packets 3 bytes 180 accept"),
            "tcp dport 80 counter accept"
        );
    }

    #[test]
    fn differences_name_what_appeared_and_what_went() {
        let one = |name: &str| Snapshot(BTreeMap::from([(name.to_owned(), 1)]));
        let found = one("link a").differences(&one("link b"));
        assert_eq!(found, ["link a: 1 before, 0 after", "link b: 0 before, 1 after"]);
    }
}
