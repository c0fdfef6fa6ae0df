//! Limits as plain numbers, and how each version of the hierarchy takes them.

use std::io;
use std::path::Path;

use super::{Cgroup, read, write};

/// What a cgroup may use. Absent: left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory; -1 unlimited.
    pub memory: Option<i64>,
    /// Bytes of memory below which reclaim leaves it alone.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 unlimited.
    pub memory_swap: Option<i64>,
    /// 0 to 100 (version 1 only).
    pub swappiness: Option<u64>,
    /// Processes wait instead of being killed (version 1 only).
    pub oom_kill_disable: bool,
    /// Relative weight, 2 to 262144, 1024 being usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1 unlimited.
    pub cpu_quota: Option<i64>,
    /// Length of the period in microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds that may be saved up.
    pub cpu_burst: Option<u64>,
    /// `SCHED_IDLE` for the whole group (1) or not (0).
    pub cpu_idle: Option<i64>,
    /// Processors, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, as `0-2,4`.
    pub cpuset_mems: Option<String>,
    /// Number of tasks; 0 or less: unlimited.
    pub pids: Option<i64>,
    /// Relative weight, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Read bytes per second.
    pub read_bps: Vec<Throttle>,
    /// Written bytes per second.
    pub write_bps: Vec<Throttle>,
    /// Reads per second.
    pub read_iops: Vec<Throttle>,
    /// Writes per second.
    pub write_iops: Vec<Throttle>,
    /// Huge pages.
    pub hugepages: Vec<Hugepages>,
    /// Files of the unified hierarchy and what is written to them.
    pub unified: Vec<(String, String)>,
}

/// A rate on one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Device number, major part.
    pub major: i64,
    /// Device number, minor part.
    pub minor: i64,
    /// The rate.
    pub rate: u64,
}

/// A limit on huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hugepages {
    /// The size as the kernel writes it (`2MB`).
    pub size: String,
    /// Bytes.
    pub limit: i64,
}

pub(super) fn apply_v1(cgroup: &Cgroup, limits: &Limits) -> io::Result<()> {
    let set = Files { cgroup };
    apply_memory_v1(&set, limits)?;
    set.optional("cpu", "cpu.shares", limits.cpu_shares)?;
    // The period first: a quota below the old period's hundredth would be refused.
    set.optional("cpu", "cpu.cfs_period_us", limits.cpu_period)?;
    set.optional("cpu", "cpu.cfs_quota_us", limits.cpu_quota)?;
    set.optional("cpu", "cpu.cfs_burst_us", limits.cpu_burst)?;
    set.optional("cpu", "cpu.idle", limits.cpu_idle)?;
    set.optional("cpuset", "cpuset.cpus", limits.cpuset_cpus.as_deref())?;
    set.optional("cpuset", "cpuset.mems", limits.cpuset_mems.as_deref())?;
    set.optional("pids", "pids.max", limits.pids.map(maximum))?;
    apply_weight(&set, "blkio", "blkio.bfq.weight", "blkio.weight", limits.blkio_weight)?;
    for (file, throttles) in [
        ("blkio.throttle.read_bps_device", &limits.read_bps),
        ("blkio.throttle.write_bps_device", &limits.write_bps),
        ("blkio.throttle.read_iops_device", &limits.read_iops),
        ("blkio.throttle.write_iops_device", &limits.write_iops),
    ] {
        for Throttle { major, minor, rate } in throttles {
            set.value("blkio", file, &format!("{major}:{minor} {rate}"))?;
        }
    }
    for page in &limits.hugepages {
        let file = format!("hugetlb.{}.limit_in_bytes", page.size);
        set.value("hugetlb", &file, &page.limit.to_string())?;
    }
    Ok(())
}

fn apply_memory_v1(set: &Files<'_>, limits: &Limits) -> io::Result<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    let Some(dir) = set.cgroup.directory("memory") else {
        return set.optional("memory", LIMIT, limits.memory.filter(|&limit| limit > 0));
    };
    // Without swap accounting there is nothing to limit.
    let both = limits.memory_swap.filter(|_| dir.join(BOTH).exists());
    // The kernel wants memory <= memory + swap at every moment.
    let grows = match both {
        None => false,
        Some(-1) => true,
        Some(both) => read(&dir.join(BOTH))?.trim().parse::<i64>().is_ok_and(|now| both > now),
    };
    if grows {
        set.optional("memory", BOTH, both)?;
    }
    set.optional("memory", LIMIT, limits.memory)?;
    if !grows {
        set.optional("memory", BOTH, both)?;
    }
    set.optional("memory", "memory.soft_limit_in_bytes", limits.memory_reservation)?;
    set.optional("memory", "memory.swappiness", limits.swappiness)?;
    if limits.oom_kill_disable {
        set.value("memory", "memory.oom_control", "1")?;
    }
    Ok(())
}

pub(super) fn apply_v2(cgroup: &Cgroup, limits: &Limits) -> io::Result<()> {
    let set = Files { cgroup };
    set.optional("memory", "memory.max", limits.memory.map(unlimited_below_zero))?;
    set.optional("memory", "memory.low", limits.memory_reservation.map(unlimited_below_zero))?;
    if let Some(swap) = swap_v2(limits) {
        let absent = cgroup.directory("memory").is_some_and(|dir| !has(dir, "memory.swap.max"));
        if !absent {
            set.value("memory", "memory.swap.max", &swap)?;
        }
    }
    set.optional("cpu", "cpu.weight", limits.cpu_shares.filter(|&n| n > 0).map(cpu_weight))?;
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        const DEFAULT_PERIOD: u64 = 100_000;
        let quota = limits.cpu_quota.filter(|&quota| quota > 0).map_or(-1, |quota| quota);
        let period = limits.cpu_period.unwrap_or(DEFAULT_PERIOD);
        set.value("cpu", "cpu.max", &format!("{} {period}", unlimited_below_zero(quota)))?;
    }
    set.optional("cpu", "cpu.max.burst", limits.cpu_burst)?;
    set.optional("cpu", "cpu.idle", limits.cpu_idle)?;
    set.optional("cpuset", "cpuset.cpus", limits.cpuset_cpus.as_deref())?;
    set.optional("cpuset", "cpuset.mems", limits.cpuset_mems.as_deref())?;
    set.optional("pids", "pids.max", limits.pids.map(maximum))?;
    apply_weight(&set, "io", "io.bfq.weight", "io.weight", limits.blkio_weight)?;
    for (key, throttles) in [
        ("rbps", &limits.read_bps),
        ("wbps", &limits.write_bps),
        ("riops", &limits.read_iops),
        ("wiops", &limits.write_iops),
    ] {
        for Throttle { major, minor, rate } in throttles {
            set.value("io", "io.max", &format!("{major}:{minor} {key}={rate}"))?;
        }
    }
    for page in &limits.hugepages {
        set.value("hugetlb", &format!("hugetlb.{}.max", page.size), &page.limit.to_string())?;
    }
    for (file, value) in &limits.unified {
        if file.contains('/') {
            let text = format!("invalid cgroup file name {file:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        set.value("unified", file, value)?;
    }
    Ok(())
}

/// The same 10..1000 for the BFQ scheduler, or stretched to 1..10000 for `io.weight`.
fn apply_weight(
    set: &Files<'_>,
    controller: &str,
    bfq: &str,
    plain: &str,
    weight: Option<u16>,
) -> io::Result<()> {
    let Some(weight) = weight.filter(|&weight| weight > 0) else { return Ok(()) };
    if set.cgroup.directory(controller).is_some_and(|dir| has(dir, bfq)) {
        return set.value(controller, bfq, &weight.to_string());
    }
    let stretched = 1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990;
    let value = if set.cgroup.is_v2() { stretched } else { weight.into() };
    set.value(controller, plain, &value.to_string())
}

/// What is left for swap when `memory_swap` counts both.
fn swap_v2(limits: &Limits) -> Option<String> {
    match (limits.memory_swap?, limits.memory) {
        (-1, _) => Some("max".to_owned()),
        (0, _) => None,
        (both, Some(memory)) if memory > 0 => Some((both - memory).max(0).to_string()),
        (both, _) => Some(both.to_string()),
    }
}

/// 2..262144 onto 1..10000.
fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn unlimited_below_zero(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn maximum(value: i64) -> String {
    if value <= 0 { "max".to_owned() } else { value.to_string() }
}

fn has(dir: &Path, file: &str) -> bool {
    dir.join(file).exists()
}

struct Files<'a> {
    cgroup: &'a Cgroup,
}

impl Files<'_> {
    fn optional(
        &self,
        controller: &str,
        file: &str,
        value: Option<impl ToString>,
    ) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.value(controller, file, &value.to_string()))
    }

    fn value(&self, controller: &str, file: &str, value: &str) -> io::Result<()> {
        let dir = self.cgroup.directory(controller).ok_or_else(|| {
            let text = format!("set {file}: the kernel has no {controller} cgroup controller");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        write(&dir.join(file), value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_memory_leaves_of_both() {
        let swap =
            |memory, memory_swap| swap_v2(&Limits { memory, memory_swap, ..Limits::default() });
        assert_eq!(swap(Some(100), Some(150)).as_deref(), Some("50"));
        assert_eq!(swap(Some(100), Some(100)).as_deref(), Some("0"));
        assert_eq!(swap(Some(100), Some(-1)).as_deref(), Some("max"));
        assert_eq!(swap(Some(100), None), None);
    }

    #[test]
    fn shares_span_the_whole_range_of_weights() {
        assert_eq!(cpu_weight(2), 1);
        assert_eq!(cpu_weight(1024), 39);
        assert_eq!(cpu_weight(262_144), 10_000);
    }
}
