//! A cgroup's counters, the same for both versions as far as they have them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Cgroup, read, stats_v1, stats_v2};

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
    /// Reads from and writes to block devices.
    pub blkio_operations: Vec<BlkioEntry>,
    /// How long processes waited for block devices; absent when the kernel doesn't say.
    pub blkio_pressure: Option<Pressure>,
    /// Huge pages by size (`2MB`).
    pub hugepages: BTreeMap<String, HugepageStats>,
    /// Devices for remote direct memory access by name.
    pub rdma: BTreeMap<String, RdmaStats>,
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
    /// Periods in which it used what it had saved up.
    pub bursts: u64,
    /// How long it ran beyond its quota thereby.
    pub burst_time: u64,
    /// How long processes waited for a processor; absent when the kernel doesn't say.
    pub pressure: Option<Pressure>,
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
    /// Memory and swap together with version 1, swap alone with version 2.
    pub swap: MemoryAmount,
    /// The kernel's own for the processes (version 1 only).
    pub kernel: MemoryAmount,
    /// TCP's buffers (version 1 only).
    pub kernel_tcp: MemoryAmount,
    /// How often the OOM killer killed a process.
    pub oom_kills: u64,
    /// How long processes waited for memory; absent when the kernel doesn't say.
    pub pressure: Option<Pressure>,
}

/// One kind of memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryAmount {
    /// Now.
    pub usage: u64,
    /// The most there was; 0 when the kernel doesn't say.
    pub max_usage: u64,
    /// The limit; `u64::MAX` when there is none.
    pub limit: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HugepageStats {
    /// Now.
    pub usage: u64,
    /// The most there was; 0 when the kernel doesn't say.
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// What is used of a device for remote direct memory access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RdmaStats {
    /// Open handles.
    pub handles: u64,
    /// Objects.
    pub objects: u64,
}

/// Pressure stall information.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some processes waited.
    pub some: PressureLine,
    /// All processes waited at once.
    pub full: PressureLine,
}

/// Shares of time in hundredths of a percent, and a sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PressureLine {
    /// Over the last 10 seconds.
    pub avg10: u32,
    /// Over the last minute.
    pub avg60: u32,
    /// Over the last five minutes.
    pub avg300: u32,
    /// Altogether, in microseconds.
    pub total: u64,
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
    if cgroup.is_v2() { stats_v2::read_stats(cgroup) } else { stats_v1::read_stats(cgroup) }
}

/// The number behind `key` in `key number` lines.
pub(super) fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

pub(super) fn table(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

pub(super) fn number(path: &Path) -> io::Result<u64> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| {
        let text = format!("read {}: not a number: {:?}", path.display(), text.trim());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// [`number`] of a file that not every kernel has.
pub(super) fn optional_number(path: &Path) -> u64 {
    read(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

pub(super) fn pids(dir: &Path) -> io::Result<PidsStats> {
    let current = number(&dir.join("pids.current"))?;
    let limit = read(&dir.join("pids.max"))?.trim().parse().ok();
    Ok(PidsStats { current, limit })
}

/// `mlx5_0 hca_handle=2 hca_object=2000`; the file is the same in both versions.
pub(super) fn rdma(cgroup: &Cgroup) -> BTreeMap<String, RdmaStats> {
    let text = cgroup.directory("rdma").and_then(|dir| read(&dir.join("rdma.current")).ok());
    text.unwrap_or_default().lines().filter_map(rdma_line).collect()
}

fn rdma_line(line: &str) -> Option<(String, RdmaStats)> {
    let (device, values) = line.split_once(' ')?;
    let value = |key| {
        let words =
            values.split(' ').find_map(|word| word.split_once('=').filter(|(k, _)| *k == key));
        words.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    let stats = RdmaStats { handles: value("hca_handle"), objects: value("hca_object") };
    Some((device.to_owned(), stats))
}

/// The sizes of huge pages that have a file `hugetlb.<size><suffix>` in `dir`.
pub(super) fn hugepage_sizes(dir: &Path, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |name: String| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    entries.filter_map(|entry| size(entry.file_name().into_string().ok()?)).collect()
}

/// A pressure file, which is absent or unreadable where the kernel doesn't account for it.
pub(super) fn pressure(path: &Path) -> Option<Pressure> {
    Some(parse_pressure(&read(path).ok()?))
}

/// `some avg10=0.00 avg60=1.20 avg300=0.00 total=12`, and a line `full`.
fn parse_pressure(text: &str) -> Pressure {
    let line = |name: &str| {
        let words = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let value = |key: &str| {
            let find = |word: &'_ str| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
            words.split(' ').find_map(find).unwrap_or_default()
        };
        let percent = |key| value(key).replace('.', "").parse().unwrap_or(0);
        PressureLine {
            avg10: percent("avg10"),
            avg60: percent("avg60"),
            avg300: percent("avg300"),
            total: value("total").parse().unwrap_or(0),
        }
    };
    Pressure { some: line("some "), full: line("full ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_matched_whole() {
        let text = "oom 1\noom_kill 2\noom_group_kill 3\n";
        assert_eq!(number_after(text, "oom_kill"), Some(2));
        assert_eq!(number_after(text, "kill"), None);
    }

    #[test]
    fn pressure_and_rdma_are_read() {
        let text = "some avg10=1.05 avg60=0.20 avg300=0.00 total=4711\n\
                    full avg10=0.00 avg60=0.00 avg300=12.34 total=8\n";
        let pressure = parse_pressure(text);
        assert_eq!((pressure.some.avg10, pressure.some.avg60), (105, 20));
        assert_eq!((pressure.some.total, pressure.full.total), (4711, 8));
        assert_eq!(pressure.full.avg300, 1234);
        let (device, stats) = rdma_line("mlx5_0 hca_handle=2 hca_object=2000").expect("a line");
        assert_eq!((device.as_str(), stats.handles, stats.objects), ("mlx5_0", 2, 2000));
    }
}
