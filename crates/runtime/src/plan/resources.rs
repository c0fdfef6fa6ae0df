//! The cgroup and its limits.

use davit_sys::cgroup::{
    Access, Cgroup, DeviceKind, DeviceRule, DeviceWeight, Hugepages, Limits, Rdma, Scope, Throttle,
};
use davit_types::oci::runtime::{
    Linux, LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources,
    LinuxThrottleDevice, LinuxWeightDevice,
};

use super::{Host, config};
use crate::Failure;
use serde::{Deserialize, Serialize};

/// A cgroup to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPlan {
    /// Its path as it was asked for.
    pub path: String,
    /// The configuration asks for it.
    pub asked: bool,
    /// Where that is.
    pub cgroup: Cgroup,
    /// The unit that systemd makes for it; absent: it is made by hand.
    pub unit: Option<Unit>,
    /// Its limits.
    pub limits: Limits,
    /// Its device rules, in order; a later one wins.
    pub devices: Vec<DeviceRule>,
}

/// A scope of systemd's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// The slice it is in.
    pub slice: String,
    /// It belongs to the user's systemd, not to the system's.
    pub user: bool,
}

pub(super) fn plan(id: &str, linux: &Linux, host: &Host) -> Result<Option<CgroupPlan>, Failure> {
    let path = linux.cgroups_path().as_ref().map(|path| path.to_string_lossy().into_owned());
    let path = path.filter(|path| !path.is_empty());
    let asked = path.is_some();
    let bad = |error: std::io::Error| config("cgroupsPath", error.to_string());
    let (path, cgroup, unit) = match (path, &host.systemd) {
        (path, Some(systemd)) => {
            let path = path.unwrap_or_else(|| format!(":davit:{id}"));
            let scope = Scope::parse(&path, systemd.default_slice()).map_err(bad)?;
            let below = format!("{}{}", systemd.cgroup, scope.path);
            let cgroup = Cgroup::open(&host.cgroups, &below).map_err(bad)?;
            (below, cgroup, Some(Unit { name: scope.unit, slice: scope.slice, user: systemd.user }))
        }
        (Some(path), None) if path.starts_with('/') => {
            let cgroup = Cgroup::open(&host.cgroups, &path).map_err(bad)?;
            (path, cgroup, None)
        }
        (Some(path), None) if path.split(':').count() == 3 => {
            let text = format!("cgroupsPath {path:?} is for systemd (--systemd-cgroup)");
            return Err(config("cgroupsPath", text));
        }
        (Some(path), None) => {
            let cgroup = Cgroup::below_own(&host.cgroups, &path).map_err(bad)?;
            (path, cgroup, None)
        }
        (None, None) => {
            let path = format!("/{id}");
            let cgroup = Cgroup::open(&host.cgroups, &path).map_err(bad)?;
            (path, cgroup, None)
        }
    };
    let resources = linux.resources().clone().unwrap_or_default();
    let (limits, devices) = (limits(&resources), device_rules(&resources)?);
    Ok(Some(CgroupPlan { path, asked, cgroup, unit, limits, devices }))
}

/// The limits of a configuration or an update; what is 0 or empty is not asked for.
pub fn limits(resources: &LinuxResources) -> Limits {
    let mut limits = Limits::default();
    if let Some(memory) = resources.memory() {
        set_memory(&mut limits, memory);
    }
    if let Some(cpu) = resources.cpu() {
        set_cpu(&mut limits, cpu);
    }
    // 0 means no limit to Docker and nothing to the specification.
    limits.pids = resources.pids().map(|pids| pids.limit()).filter(|&limit| limit != 0);
    if let Some(io) = resources.block_io() {
        set_block_io(&mut limits, io);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        limits.hugepages.push(Hugepages { size: page.page_size().clone(), limit: page.limit() });
    }
    for (device, rdma) in resources.rdma().iter().flatten() {
        let (handles, objects) = (rdma.hca_handles(), rdma.hca_objects());
        limits.rdma.push(Rdma { device: device.clone(), handles, objects });
    }
    limits.rdma.sort_by(|a, b| a.device.cmp(&b.device));
    if let Some(network) = resources.network() {
        limits.network_class = network.class_id().filter(|&class| class != 0);
        let priorities = network.priorities().iter().flatten();
        limits.network_priorities =
            priorities.map(|entry| (entry.name().clone(), entry.priority())).collect();
    }
    let unified = resources.unified().iter().flatten();
    limits.unified = unified.map(|(file, value)| (file.clone(), value.clone())).collect();
    limits.unified.sort();
    limits
}

fn set_memory(limits: &mut Limits, memory: &LinuxMemory) {
    limits.memory = memory.limit().filter(|&limit| limit != 0);
    limits.memory_reservation = memory.reservation().filter(|&limit| limit != 0);
    limits.memory_swap = memory.swap().filter(|&limit| limit != 0);
    limits.swappiness = memory.swappiness();
    limits.oom_kill_disable = memory.disable_oom_killer();
    // Kernels no longer do it and say so; ignored it would be a limit that isn't there.
    limits.kernel_memory = memory.kernel().filter(|&limit| limit > 0);
    limits.kernel_tcp_memory = memory.kernel_tcp().filter(|&limit| limit > 0);
    limits.use_hierarchy = memory.use_hierarchy();
    limits.check_before_update = memory.check_before_update().unwrap_or(false);
}

fn set_cpu(limits: &mut Limits, cpu: &LinuxCpu) {
    let set = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
    limits.cpu_shares = cpu.shares().filter(|&shares| shares != 0);
    limits.cpu_quota = cpu.quota().filter(|&quota| quota != 0);
    limits.cpu_period = cpu.period().filter(|&period| period != 0);
    limits.cpu_burst = cpu.burst();
    limits.cpu_idle = cpu.idle();
    limits.cpu_rt_period = cpu.realtime_period().filter(|&period| period != 0);
    limits.cpu_rt_runtime = cpu.realtime_runtime().filter(|&runtime| runtime != 0);
    limits.cpuset_cpus = set(cpu.cpus());
    limits.cpuset_mems = set(cpu.mems());
}

fn set_block_io(limits: &mut Limits, io: &LinuxBlockIo) {
    limits.blkio_weight = io.weight().filter(|&weight| weight != 0);
    limits.blkio_leaf_weight = io.leaf_weight().filter(|&weight| weight != 0);
    let weight = |device: &LinuxWeightDevice| DeviceWeight {
        major: device.major(),
        minor: device.minor(),
        weight: device.weight(),
        leaf_weight: device.leaf_weight(),
    };
    limits.weights = io.weight_device().iter().flatten().map(weight).collect();
    limits.read_bps = throttles(io.throttle_read_bps_device().as_deref());
    limits.write_bps = throttles(io.throttle_write_bps_device().as_deref());
    limits.read_iops = throttles(io.throttle_read_iops_device().as_deref());
    limits.write_iops = throttles(io.throttle_write_iops_device().as_deref());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_resource_of_the_specification_becomes_a_limit() {
        let resources = json!({
            "memory": {
                "limit": 1, "reservation": 2, "swap": 3, "kernel": 4, "kernelTCP": 5,
                "swappiness": 6, "disableOOMKiller": false, "useHierarchy": true,
                "checkBeforeUpdate": true,
            },
            "cpu": {
                "shares": 7, "quota": 8, "period": 9, "burst": 10, "idle": 1,
                "realtimeRuntime": 11, "realtimePeriod": 12, "cpus": "0", "mems": "1",
            },
            "pids": {"limit": 13},
            "blockIO": {
                "weight": 14, "leafWeight": 15,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 16, "leafWeight": 17}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 18}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 19}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 20}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 21}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 22}],
            "network": {"classID": 23, "priorities": [{"name": "eth0", "priority": 24}]},
            "rdma": {"mlx5_1": {"hcaHandles": 25}},
            "unified": {"memory.high": "26"},
        });
        let resources: LinuxResources = serde_json::from_value(resources).expect("resources");
        let throttle = |rate| vec![Throttle { major: 8, minor: 0, rate }];
        let weight = DeviceWeight { major: 8, minor: 0, weight: Some(16), leaf_weight: Some(17) };
        let rdma = Rdma { device: "mlx5_1".to_owned(), handles: Some(25), objects: None };
        let wanted = Limits {
            memory: Some(1),
            memory_reservation: Some(2),
            memory_swap: Some(3),
            swappiness: Some(6),
            oom_kill_disable: Some(false),
            kernel_memory: Some(4),
            kernel_tcp_memory: Some(5),
            use_hierarchy: Some(true),
            check_before_update: true,
            cpu_shares: Some(7),
            cpu_quota: Some(8),
            cpu_period: Some(9),
            cpu_burst: Some(10),
            cpu_idle: Some(1),
            cpu_rt_period: Some(12),
            cpu_rt_runtime: Some(11),
            cpuset_cpus: Some("0".to_owned()),
            cpuset_mems: Some("1".to_owned()),
            pids: Some(13),
            blkio_weight: Some(14),
            blkio_leaf_weight: Some(15),
            weights: vec![weight],
            read_bps: throttle(18),
            write_bps: throttle(19),
            read_iops: throttle(20),
            write_iops: throttle(21),
            hugepages: vec![Hugepages { size: "2MB".to_owned(), limit: 22 }],
            rdma: vec![rdma],
            network_class: Some(23),
            network_priorities: vec![("eth0".to_owned(), 24)],
            unified: vec![("memory.high".to_owned(), "26".to_owned())],
        };
        assert_eq!(limits(&resources), wanted);
        assert_eq!(limits(&LinuxResources::default()), Limits::default());
    }
}
