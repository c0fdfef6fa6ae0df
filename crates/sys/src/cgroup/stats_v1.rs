//! Counters of version 1. Controllers that the kernel lacks count nothing.

use std::io;
use std::path::Path;

use super::stats::{
    BlkioEntry, CpuStats, HugepageStats, MemoryAmount, MemoryStats, Stats, hugepage_sizes, number,
    number_after, numbers, optional_number, pids, rdma, table,
};
use super::{Cgroup, read};

/// What stands for no limit: the largest number of whole pages.
const NO_LIMIT: u64 = 0x7fff_ffff_ffff_f000;

pub(super) fn read_stats(cgroup: &Cgroup) -> io::Result<Stats> {
    let mut stats = Stats { cpu: cpu(cgroup)?, rdma: rdma(cgroup), ..Stats::default() };
    if let Some(dir) = cgroup.directory("memory") {
        stats.memory = memory(dir)?;
    }
    if let Some(dir) = cgroup.directory("pids") {
        stats.pids = pids(dir)?;
    }
    if let Some(dir) = cgroup.directory("blkio") {
        stats.blkio_bytes = block_io(dir, "io_service_bytes_recursive");
        stats.blkio_operations = block_io(dir, "io_serviced_recursive");
    }
    if let Some(dir) = cgroup.directory("hugetlb") {
        let sizes = hugepage_sizes(dir, ".usage_in_bytes").into_iter();
        stats.hugepages = sizes.map(|size| (size.clone(), hugepages(dir, &size))).collect();
    }
    Ok(stats)
}

fn cpu(cgroup: &Cgroup) -> io::Result<CpuStats> {
    let mut cpu = CpuStats::default();
    if let Some(dir) = cgroup.directory("cpuacct") {
        const NANOSECONDS_PER_TICK: u64 = 10_000_000;
        let ticks = read(&dir.join("cpuacct.stat"))?;
        let part = |key| number_after(&ticks, key).unwrap_or(0) * NANOSECONDS_PER_TICK;
        cpu.usage = number(&dir.join("cpuacct.usage"))?;
        cpu.per_cpu = numbers(&read(&dir.join("cpuacct.usage_percpu"))?);
        (cpu.user, cpu.system) = (part("user"), part("system"));
    }
    if let Some(dir) = cgroup.directory("cpu") {
        let text = read(&dir.join("cpu.stat"))?;
        let value = |key| number_after(&text, key).unwrap_or(0);
        cpu.periods = value("nr_periods");
        cpu.throttled_periods = value("nr_throttled");
        cpu.throttled_time = value("throttled_time");
        (cpu.bursts, cpu.burst_time) = (value("nr_bursts"), value("burst_time"));
    }
    Ok(cpu)
}

fn memory(dir: &Path) -> io::Result<MemoryStats> {
    let events = read(&dir.join("memory.oom_control")).unwrap_or_default();
    let limit = number(&dir.join("memory.limit_in_bytes"))?;
    Ok(MemoryStats {
        usage: number(&dir.join("memory.usage_in_bytes"))?,
        max_usage: number(&dir.join("memory.max_usage_in_bytes"))?,
        limit: unlimited(limit),
        failcnt: number(&dir.join("memory.failcnt"))?,
        stat: table(&read(&dir.join("memory.stat"))?),
        swap: amount(dir, "memory.memsw."),
        kernel: amount(dir, "memory.kmem."),
        kernel_tcp: amount(dir, "memory.kmem.tcp."),
        oom_kills: number_after(&events, "oom_kill").unwrap_or(0),
        pressure: None,
    })
}

fn unlimited(limit: u64) -> u64 {
    if limit >= NO_LIMIT { u64::MAX } else { limit }
}

fn amount(dir: &Path, prefix: &str) -> MemoryAmount {
    let value = |name: &str| optional_number(&dir.join(format!("{prefix}{name}")));
    MemoryAmount {
        usage: value("usage_in_bytes"),
        max_usage: value("max_usage_in_bytes"),
        limit: unlimited(value("limit_in_bytes")),
        failcnt: value("failcnt"),
    }
}

fn hugepages(dir: &Path, size: &str) -> HugepageStats {
    let value = |name: &str| optional_number(&dir.join(format!("hugetlb.{size}.{name}")));
    HugepageStats {
        usage: value("usage_in_bytes"),
        max_usage: value("max_usage_in_bytes"),
        failcnt: value("failcnt"),
    }
}

/// BFQ's file only has a total line unless that scheduler is in use.
fn block_io(dir: &Path, name: &str) -> Vec<BlkioEntry> {
    let text = |kind: &str| read(&dir.join(format!("blkio.{kind}.{name}"))).unwrap_or_default();
    let bfq = text("bfq");
    let text = if bfq.lines().count() > 1 { bfq } else { text("throttle") };
    text.lines().filter_map(entry).collect()
}

/// `254:0 Read 4096`.
fn entry(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let operation = words.next()?.to_owned();
    let value = words.next()?.parse().ok()?;
    Some(BlkioEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, operation, value })
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn transfer_counters_are_read() {
        let found = entry("254:0 Read 4096").expect("an entry");
        assert_eq!((found.major, found.minor, found.value), (254, 0, 4096));
        assert_eq!(entry("Total 4096"), None);
    }
}
