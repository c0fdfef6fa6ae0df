//! Counters of version 2. Controllers that are not enabled count nothing.

use std::io;
use std::path::Path;

use super::stats::{
    BlkioEntry, CpuStats, HugepageStats, MemoryAmount, MemoryStats, Stats, hugepage_sizes, number,
    number_after, optional_number, pids, pressure, rdma, table,
};
use super::{Cgroup, read};

const NANOSECONDS: u64 = 1000;

pub(super) fn read_stats(cgroup: &Cgroup) -> io::Result<Stats> {
    let dir = cgroup.unified_directory().ok_or(io::ErrorKind::NotFound)?;
    let transfers = read(&dir.join("io.stat")).unwrap_or_default();
    let sizes = hugepage_sizes(dir, ".current").into_iter();
    Ok(Stats {
        cpu: cpu(dir)?,
        memory: memory(dir),
        pids: pids(dir).unwrap_or_default(),
        blkio_bytes: block_io(&transfers, "rbytes", "wbytes"),
        blkio_operations: block_io(&transfers, "rios", "wios"),
        blkio_pressure: pressure(&dir.join("io.pressure")),
        hugepages: sizes.map(|size| (size.clone(), hugepages(dir, &size))).collect(),
        rdma: rdma(cgroup),
    })
}

fn cpu(dir: &Path) -> io::Result<CpuStats> {
    let text = read(&dir.join("cpu.stat"))?;
    let value = |key| number_after(&text, key).unwrap_or(0);
    Ok(CpuStats {
        usage: value("usage_usec") * NANOSECONDS,
        per_cpu: Vec::new(),
        user: value("user_usec") * NANOSECONDS,
        system: value("system_usec") * NANOSECONDS,
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_time: value("throttled_usec") * NANOSECONDS,
        bursts: value("nr_bursts"),
        burst_time: value("burst_usec") * NANOSECONDS,
        pressure: pressure(&dir.join("cpu.pressure")),
    })
}

fn memory(dir: &Path) -> MemoryStats {
    let events = read(&dir.join("memory.events")).unwrap_or_default();
    let swap_events = read(&dir.join("memory.swap.events")).unwrap_or_default();
    MemoryStats {
        usage: optional_number(&dir.join("memory.current")),
        max_usage: optional_number(&dir.join("memory.peak")),
        limit: number(&dir.join("memory.max")).unwrap_or(u64::MAX),
        failcnt: number_after(&events, "oom").unwrap_or(0),
        stat: table(&read(&dir.join("memory.stat")).unwrap_or_default()),
        swap: MemoryAmount {
            usage: optional_number(&dir.join("memory.swap.current")),
            max_usage: optional_number(&dir.join("memory.swap.peak")),
            limit: number(&dir.join("memory.swap.max")).unwrap_or(u64::MAX),
            failcnt: number_after(&swap_events, "fail").unwrap_or(0),
        },
        kernel: MemoryAmount::default(),
        kernel_tcp: MemoryAmount::default(),
        oom_kills: number_after(&events, "oom_kill").unwrap_or(0),
        pressure: pressure(&dir.join("memory.pressure")),
    }
}

fn hugepages(dir: &Path, size: &str) -> HugepageStats {
    let events = read(&dir.join(format!("hugetlb.{size}.events"))).unwrap_or_default();
    HugepageStats {
        usage: optional_number(&dir.join(format!("hugetlb.{size}.current"))),
        max_usage: 0,
        failcnt: number_after(&events, "max").unwrap_or(0),
    }
}

/// `254:0 rbytes=4096 wbytes=0 rios=1 ...`.
fn block_io(text: &str, read_key: &str, write_key: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for word in words {
            let (operation, value) = match word.split_once('=') {
                Some((key, value)) if key == read_key => ("read", value),
                Some((key, value)) if key == write_key => ("write", value),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            entries.push(BlkioEntry { major, minor, operation: operation.to_owned(), value });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_counters_are_read() {
        let text = "8:16 rbytes=1 wbytes=2 rios=3 wios=4\n";
        let entries = block_io(text, "rbytes", "wbytes");
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[1].operation.as_str(), entries[1].value), ("write", 2));
        assert_eq!(block_io(text, "rios", "wios")[0].value, 3);
    }
}
