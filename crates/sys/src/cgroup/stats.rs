//! A cgroup's counters, the same for both versions as far as they have them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Cgroup, read};

/// Counters of one cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Number of tasks.
    pub pids: PidsStats,
    /// Bytes read from and written to block devices.
    pub blkio_bytes: Vec<BlkioEntry>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// Altogether.
    pub usage: u64,
    /// By processor; empty on version 2.
    pub per_cpu: Vec<u64>,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which it ran out.
    pub throttled_periods: u64,
    /// How long it was stopped for that.
    pub throttled_time: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Now.
    pub usage: u64,
    /// The most there was; 0 when the kernel doesn't say.
    pub max_usage: u64,
    /// The limit; `u64::MAX` when there is none.
    pub limit: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// `memory.stat`.
    pub stat: BTreeMap<String, u64>,
}

/// Number of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// The limit; absent when there is none.
    pub limit: Option<u64>,
}

/// Transfers of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkioEntry {
    /// Device number, major part.
    pub major: u64,
    /// Device number, minor part.
    pub minor: u64,
    /// `Read`, `Write`, ... as the kernel writes it; `read` and `write` on version 2.
    pub operation: String,
    /// Bytes.
    pub value: u64,
}

pub(super) fn read_stats(cgroup: &Cgroup) -> io::Result<Stats> {
    if cgroup.is_v2() { stats_v2(cgroup) } else { stats_v1(cgroup) }
}

fn stats_v1(cgroup: &Cgroup) -> io::Result<Stats> {
    // Controllers that the kernel lacks count nothing.
    let mut stats = Stats::default();
    if let Some(dir) = cgroup.directory("cpuacct") {
        const NANOSECONDS_PER_TICK: u64 = 10_000_000;
        let ticks = read(&dir.join("cpuacct.stat"))?;
        let part = |key| number_after(&ticks, key).unwrap_or(0) * NANOSECONDS_PER_TICK;
        stats.cpu.usage = number(&dir.join("cpuacct.usage"))?;
        stats.cpu.per_cpu = numbers(&read(&dir.join("cpuacct.usage_percpu"))?);
        (stats.cpu.user, stats.cpu.system) = (part("user"), part("system"));
    }
    if let Some(dir) = cgroup.directory("cpu") {
        let text = read(&dir.join("cpu.stat"))?;
        stats.cpu.periods = number_after(&text, "nr_periods").unwrap_or(0);
        stats.cpu.throttled_periods = number_after(&text, "nr_throttled").unwrap_or(0);
        stats.cpu.throttled_time = number_after(&text, "throttled_time").unwrap_or(0);
    }
    if let Some(dir) = cgroup.directory("memory") {
        /// What version 1 shows for no limit: the largest number of whole pages.
        const NO_LIMIT: u64 = 0x7fff_ffff_ffff_f000;
        let limit = number(&dir.join("memory.limit_in_bytes"))?;
        stats.memory = MemoryStats {
            usage: number(&dir.join("memory.usage_in_bytes"))?,
            max_usage: number(&dir.join("memory.max_usage_in_bytes"))?,
            limit: if limit >= NO_LIMIT { u64::MAX } else { limit },
            failcnt: number(&dir.join("memory.failcnt"))?,
            stat: table(&read(&dir.join("memory.stat"))?),
        };
    }
    if let Some(dir) = cgroup.directory("pids") {
        stats.pids = pids(dir)?;
    }
    if let Some(dir) = cgroup.directory("blkio") {
        let bfq = dir.join("blkio.bfq.io_service_bytes_recursive");
        let throttle = dir.join("blkio.throttle.io_service_bytes_recursive");
        let mut text = read(&bfq).unwrap_or_default();
        // BFQ's file only has a total line unless that scheduler is in use.
        if text.lines().count() <= 1 {
            text = read(&throttle).unwrap_or_default();
        }
        stats.blkio_bytes = text.lines().filter_map(blkio_v1).collect();
    }
    Ok(stats)
}

fn stats_v2(cgroup: &Cgroup) -> io::Result<Stats> {
    let dir = cgroup.unified_directory().ok_or(io::ErrorKind::NotFound)?;
    const NANOSECONDS: u64 = 1000;
    let cpu = read(&dir.join("cpu.stat"))?;
    let value = |key| number_after(&cpu, key).unwrap_or(0);
    let events = read(&dir.join("memory.events")).unwrap_or_default();
    Ok(Stats {
        cpu: CpuStats {
            usage: value("usage_usec") * NANOSECONDS,
            per_cpu: Vec::new(),
            user: value("user_usec") * NANOSECONDS,
            system: value("system_usec") * NANOSECONDS,
            periods: value("nr_periods"),
            throttled_periods: value("nr_throttled"),
            throttled_time: value("throttled_usec") * NANOSECONDS,
        },
        memory: MemoryStats {
            usage: number(&dir.join("memory.current")).unwrap_or(0),
            max_usage: number(&dir.join("memory.peak")).unwrap_or(0),
            limit: number(&dir.join("memory.max")).unwrap_or(u64::MAX),
            failcnt: number_after(&events, "oom").unwrap_or(0),
            stat: table(&read(&dir.join("memory.stat")).unwrap_or_default()),
        },
        pids: pids(dir).unwrap_or_default(),
        blkio_bytes: blkio_v2(&read(&dir.join("io.stat")).unwrap_or_default()),
    })
}

fn pids(dir: &Path) -> io::Result<PidsStats> {
    let current = number(&dir.join("pids.current"))?;
    let limit = read(&dir.join("pids.max"))?.trim().parse().ok();
    Ok(PidsStats { current, limit })
}

/// `254:0 Read 4096`.
fn blkio_v1(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let operation = words.next()?.to_owned();
    let value = words.next()?.parse().ok()?;
    Some(BlkioEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, operation, value })
}

/// `254:0 rbytes=4096 wbytes=0 rios=1 ...`.
fn blkio_v2(text: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for word in words {
            let (operation, value) = match word.split_once('=') {
                Some(("rbytes", value)) => ("read", value),
                Some(("wbytes", value)) => ("write", value),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            entries.push(BlkioEntry { major, minor, operation: operation.to_owned(), value });
        }
    }
    entries
}

/// The number behind `key` in `key number` lines.
pub(super) fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

fn table(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn number(path: &Path) -> io::Result<u64> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| {
        let text = format!("read {}: not a number: {:?}", path.display(), text.trim());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_transfer_counters_are_read() {
        let entry = blkio_v1("254:0 Read 4096").expect("an entry");
        assert_eq!((entry.major, entry.minor, entry.value), (254, 0, 4096));
        assert_eq!(blkio_v1("Total 4096"), None);
        let entries = blkio_v2("8:16 rbytes=1 wbytes=2 rios=3 wios=4\n");
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[1].operation.as_str(), entries[1].value), ("write", 2));
    }

    #[test]
    fn a_key_is_matched_whole() {
        let text = "oom 1\noom_kill 2\noom_group_kill 3\n";
        assert_eq!(number_after(text, "oom_kill"), Some(2));
        assert_eq!(number_after(text, "kill"), None);
    }
}
