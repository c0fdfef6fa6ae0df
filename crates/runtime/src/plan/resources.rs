//! The cgroup and its limits.

use davit_sys::cgroup::{Access, DeviceKind, DeviceRule, Hugepages, Limits, Throttle};
use davit_types::oci::runtime::{
    Linux, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources, LinuxThrottleDevice,
};

use super::config;
use crate::Failure;

/// A cgroup to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPlan {
    /// Its path in the hierarchies.
    pub path: String,
    /// Its limits.
    pub limits: Limits,
    /// Its device rules, in order; a later one wins.
    pub devices: Vec<DeviceRule>,
}

pub(super) fn plan(id: &str, linux: &Linux) -> Result<Option<CgroupPlan>, Failure> {
    let path = match linux.cgroups_path() {
        Some(path) if !path.as_os_str().is_empty() => path.to_string_lossy().into_owned(),
        _ => format!("/{id}"),
    };
    if !path.starts_with('/') && path.split(':').count() == 3 {
        let text = format!("cgroupsPath {path:?} is for systemd, and only cgroupfs is supported");
        return Err(config("cgroupsPath", text));
    }
    let resources = linux.resources().clone().unwrap_or_default();
    let limits = limits(&resources);
    Ok(Some(CgroupPlan { path, limits, devices: device_rules(&resources)? }))
}

fn limits(resources: &LinuxResources) -> Limits {
    let mut limits = Limits::default();
    if let Some(memory) = resources.memory() {
        limits.memory = memory.limit().filter(|&limit| limit != 0);
        limits.memory_reservation = memory.reservation().filter(|&limit| limit != 0);
        limits.memory_swap = memory.swap().filter(|&limit| limit != 0);
        limits.swappiness = memory.swappiness();
        limits.oom_kill_disable = memory.disable_oom_killer().unwrap_or(false);
    }
    if let Some(cpu) = resources.cpu() {
        let set = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
        limits.cpu_shares = cpu.shares().filter(|&shares| shares != 0);
        limits.cpu_quota = cpu.quota().filter(|&quota| quota != 0);
        limits.cpu_period = cpu.period().filter(|&period| period != 0);
        limits.cpu_burst = cpu.burst();
        limits.cpu_idle = cpu.idle();
        limits.cpuset_cpus = set(cpu.cpus());
        limits.cpuset_mems = set(cpu.mems());
    }
    // 0 means no limit to Docker and nothing to the specification.
    limits.pids = resources.pids().map(|pids| pids.limit()).filter(|&limit| limit != 0);
    if let Some(io) = resources.block_io() {
        limits.blkio_weight = io.weight();
        limits.read_bps = throttles(io.throttle_read_bps_device().as_deref());
        limits.write_bps = throttles(io.throttle_write_bps_device().as_deref());
        limits.read_iops = throttles(io.throttle_read_iops_device().as_deref());
        limits.write_iops = throttles(io.throttle_write_iops_device().as_deref());
    }
    for page in resources.hugepage_limits().iter().flatten() {
        limits.hugepages.push(Hugepages { size: page.page_size().clone(), limit: page.limit() });
    }
    let unified = resources.unified().iter().flatten();
    limits.unified = unified.map(|(file, value)| (file.clone(), value.clone())).collect();
    limits.unified.sort();
    limits
}

fn throttles(list: Option<&[LinuxThrottleDevice]>) -> Vec<Throttle> {
    let throttle = |device: &LinuxThrottleDevice| Throttle {
        major: device.major(),
        minor: device.minor(),
        rate: device.rate(),
    };
    list.unwrap_or_default().iter().map(throttle).collect()
}

/// The configuration's rules, and after them what every container needs: making any node, which is
/// no use of the device, the standard ones, and its own terminals.
fn device_rules(resources: &LinuxResources) -> Result<Vec<DeviceRule>, Failure> {
    let Some(list) = resources.devices().as_ref().filter(|list| !list.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut rules: Vec<DeviceRule> = list.iter().map(device_rule).collect::<Result<_, _>>()?;
    let everything = rules.last().is_some_and(|last| {
        last.allow
            && last.kind == DeviceKind::All
            && last.access == Access::ALL
            && last.major.is_none()
    });
    if everything {
        return Ok(rules);
    }
    let rule = |kind, major, minor, access| DeviceRule { allow: true, kind, major, minor, access };
    rules.push(rule(DeviceKind::Char, None, None, Access::MKNOD));
    rules.push(rule(DeviceKind::Block, None, None, Access::MKNOD));
    const STANDARD: &[(u32, Option<u32>)] = &[
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(2)),
        (136, None),
    ];
    for &(major, minor) in STANDARD {
        rules.push(rule(DeviceKind::Char, Some(major), minor, Access::ALL));
    }
    Ok(rules)
}

fn device_rule(rule: &LinuxDeviceCgroup) -> Result<DeviceRule, Failure> {
    let bad = |what: String| config("linux.resources.devices", what);
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => DeviceKind::All,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::P) => return Err(bad("device rule of type p".to_owned())),
    };
    // -1 is the older way to say all.
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| bad(format!("invalid device number {number} in a device rule"))),
    };
    let access = rule.access().as_deref().unwrap_or("rwm");
    if let Some(wrong) = access.chars().find(|c| !"rwm".contains(*c)) {
        return Err(bad(format!("invalid device access {wrong:?} in a device rule")));
    }
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        access: Access {
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        },
    })
}
