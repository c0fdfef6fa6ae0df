//! The files of version 1.

use std::io;

use super::Limits;
use super::writes::{Writes, check_usage, refuse};

const LIMIT: &str = "memory.limit_in_bytes";
const BOTH: &str = "memory.memsw.limit_in_bytes";
const PERIOD: &str = "cpu.cfs_period_us";
const QUOTA: &str = "cpu.cfs_quota_us";

pub(super) fn plan(writes: &mut Writes<'_>, limits: &Limits) -> io::Result<()> {
    if !limits.unified.is_empty() {
        return refuse("invalid configuration: cannot use unified on cgroup v1");
    }
    memory(writes, limits)?;
    cpu(writes, limits)?;
    writes.maybe("cpuset", "cpuset.cpus", limits.cpuset_cpus.as_deref());
    writes.maybe("cpuset", "cpuset.mems", limits.cpuset_mems.as_deref());
    writes.maybe("pids", "pids.max", limits.pids.map(super::writes_v2::maximum));
    block_io(writes, limits);
    writes.hugepages(limits, "limit_in_bytes");
    writes.rdma(limits);
    writes.maybe("net_cls", "net_cls.classid", limits.network_class);
    for (interface, priority) in &limits.network_priorities {
        writes.set("net_prio", "net_prio.ifpriomap", format!("{interface} {priority}"));
    }
    Ok(())
}

fn memory(writes: &mut Writes<'_>, limits: &Limits) -> io::Result<()> {
    check_usage(writes, limits, "memory.usage_in_bytes")?;
    if let Some(wanted) = limits.use_hierarchy {
        let wanted = i64::from(wanted);
        if writes.number("memory", "memory.use_hierarchy").unwrap_or(1) != wanted {
            writes.set("memory", "memory.use_hierarchy", wanted);
        }
    }
    memory_and_swap(writes, limits)?;
    writes.maybe("memory", "memory.soft_limit_in_bytes", limits.memory_reservation);
    writes.maybe("memory", "memory.kmem.limit_in_bytes", limits.kernel_memory);
    writes.maybe("memory", "memory.kmem.tcp.limit_in_bytes", limits.kernel_tcp_memory);
    writes.maybe("memory", "memory.swappiness", limits.swappiness);
    match limits.oom_kill_disable {
        Some(true) => writes.set("memory", "memory.oom_control", 1),
        // Inherited from the cgroup above; as a rule it is off.
        Some(false) => {
            let now = writes.read("memory", "memory.oom_control").unwrap_or_default();
            if now.lines().any(|line| line == "oom_kill_disable 1") {
                writes.set("memory", "memory.oom_control", 0);
            }
        }
        None => {}
    }
    Ok(())
}

/// The kernel wants memory to be at most memory and swap together, at every moment.
fn memory_and_swap(writes: &mut Writes<'_>, limits: &Limits) -> io::Result<()> {
    let now = writes.number("memory", BOTH);
    let both = match (limits.memory, limits.memory_swap, now) {
        // Without a limit on memory one on both together would still be one.
        (Some(-1), None, Some(_)) => Some(-1),
        // Nothing counts swap, so that there is no limit to be lifted.
        (_, Some(-1), None) => None,
        (Some(memory), Some(both), _) if memory > 0 && both > 0 && both < memory => {
            return refuse(format!(
                "memory+swap limit {both} should be at least the memory limit {memory}"
            ));
        }
        (_, both, _) => both,
    };
    let grows = match (both, now) {
        (Some(both), Some(now)) => both == -1 || both > now,
        _ => false,
    };
    let mut order = [(BOTH, both), (LIMIT, limits.memory)];
    if !grows {
        order.reverse();
    }
    for (file, value) in order {
        writes.maybe("memory", file, value);
    }
    Ok(())
}

fn cpu(writes: &mut Writes<'_>, limits: &Limits) -> io::Result<()> {
    if let Some(shares) = limits.cpu_shares {
        // The kernel would silently take the nearest number.
        if shares < 2 {
            return refuse("the minimum allowed cpu-shares is 2");
        }
        if shares > 262_144 {
            return refuse("the maximum allowed cpu-shares is 262144");
        }
    }
    writes.with_idle(limits, |writes| writes.maybe("cpu", "cpu.shares", limits.cpu_shares));
    writes.with_burst(limits, "cpu.cfs_burst_us", |writes| bandwidth(writes, limits));
    writes.maybe("cpu", "cpu.rt_period_us", limits.cpu_rt_period);
    writes.maybe("cpu", "cpu.rt_runtime_us", limits.cpu_rt_runtime);
    Ok(())
}

/// Their ratio may not exceed that of the cgroup above between the two writes either: the order with
/// the smaller ratio in between is taken.
fn bandwidth(writes: &mut Writes<'_>, limits: &Limits) {
    let mut order = [(PERIOD, limits.cpu_period.map(u64::cast_signed)), (QUOTA, limits.cpu_quota)];
    if let (Some(period), Some(quota)) = (limits.cpu_period, limits.cpu_quota) {
        let read = |file| writes.read("cpu", file)?.parse::<i64>().ok();
        let old_quota = read(QUOTA).filter(|&quota| quota > 0);
        if let (Some(old_quota), Some(old_period), true) = (old_quota, read(PERIOD), quota > 0) {
            let period_first = i128::from(old_quota) * i128::from(old_period);
            let quota_first = i128::from(quota) * i128::from(period);
            if quota_first < period_first {
                order.reverse();
            }
        }
    }
    for (file, value) in order {
        writes.maybe("cpu", file, value);
    }
}

fn block_io(writes: &mut Writes<'_>, limits: &Limits) {
    let weighs = limits.blkio_weight.is_some() || !limits.weights.is_empty();
    let bfq = weighs && writes.has("blkio", "blkio.bfq.weight");
    let name = |file: &str| match bfq {
        true => format!("blkio.bfq.{file}"),
        false => format!("blkio.{file}"),
    };
    writes.maybe("blkio", &name("weight"), limits.blkio_weight);
    writes.maybe("blkio", "blkio.leaf_weight", limits.blkio_leaf_weight);
    for device in &limits.weights {
        let value =
            |weight: Option<u16>| Some(format!("{}:{} {}", device.major, device.minor, weight?));
        writes.maybe("blkio", &name("weight_device"), value(device.weight));
        writes.maybe("blkio", "blkio.leaf_weight_device", value(device.leaf_weight));
    }
    for (file, throttles) in [
        ("blkio.throttle.read_bps_device", &limits.read_bps),
        ("blkio.throttle.write_bps_device", &limits.write_bps),
        ("blkio.throttle.read_iops_device", &limits.read_iops),
        ("blkio.throttle.write_iops_device", &limits.write_iops),
    ] {
        for throttle in throttles {
            let value = format!("{}:{} {}", throttle.major, throttle.minor, throttle.rate);
            writes.set("blkio", file, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::writes::testing::planned;
    use super::super::{DeviceWeight, Hugepages, Rdma, Throttle};
    use super::*;

    const HUGE: &str = "9223372036854771712";

    #[test]
    fn memory_and_swap_are_raised_and_lowered_in_the_order_the_kernel_takes() {
        let limits = Limits { memory: Some(100), memory_swap: Some(200), ..Limits::default() };
        let (memory, both) = ("memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=200");
        let lowered = planned(&limits, false, &[(BOTH, HUGE)]);
        assert_eq!(lowered.expect("a plan"), [memory, both]);
        let raised = planned(&limits, false, &[(BOTH, "50")]);
        assert_eq!(raised.expect("a plan"), [both, memory]);
        let unlimited = Limits { memory: Some(-1), ..Limits::default() };
        let lifted = planned(&unlimited, false, &[(BOTH, "50")]).expect("a plan");
        assert_eq!(lifted, ["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"]);
        let lifted = planned(&unlimited, false, &[]).expect("a plan");
        assert_eq!(lifted, ["memory.limit_in_bytes=-1"]);
        let crossed = Limits { memory: Some(100), memory_swap: Some(99), ..Limits::default() };
        assert!(planned(&crossed, false, &[]).is_err());
    }

    #[test]
    fn quota_and_period_never_pass_a_larger_ratio() {
        let files = |quota, period| [(QUOTA, quota), (PERIOD, period)];
        let limits =
            Limits { cpu_quota: Some(25_000), cpu_period: Some(50_000), ..Limits::default() };
        let (quota, period) = ("cpu.cfs_quota_us=25000", "cpu.cfs_period_us=50000");
        let plan = |now: &[(&str, &str)]| planned(&limits, false, now).expect("a plan");
        assert_eq!(plan(&files("50000", "100000")), [quota, period]);
        assert_eq!(plan(&files("10000", "20000")), [period, quota]);
        assert_eq!(plan(&files("-1", "100000")), [period, quota]);
    }

    #[test]
    fn burst_and_idle_move_with_what_they_depend_on() {
        let limits = Limits { cpu_quota: Some(5), cpu_burst: Some(4), ..Limits::default() };
        let plan = |now| planned(&limits, false, &[("cpu.cfs_burst_us", now)]).expect("a plan");
        assert_eq!(plan("9"), ["cpu.cfs_burst_us=4", "cpu.cfs_quota_us=5"]);
        assert_eq!(plan("0"), ["cpu.cfs_quota_us=5", "cpu.cfs_burst_us=4"]);
        for (idle, wanted) in
            [(0, ["cpu.idle=0", "cpu.shares=9"]), (1, ["cpu.shares=9", "cpu.idle=1"])]
        {
            let limits = Limits { cpu_shares: Some(9), cpu_idle: Some(idle), ..Limits::default() };
            assert_eq!(planned(&limits, false, &[]).expect("a plan"), wanted);
        }
    }

    #[test]
    fn everything_of_the_specification_has_its_file() {
        let throttle = |rate| vec![Throttle { major: 8, minor: 0, rate }];
        let limits = Limits {
            memory_reservation: Some(1),
            swappiness: Some(60),
            oom_kill_disable: Some(true),
            kernel_tcp_memory: Some(2),
            use_hierarchy: Some(true),
            cpu_rt_period: Some(3),
            cpu_rt_runtime: Some(4),
            cpuset_cpus: Some("0-1".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            pids: Some(-1),
            blkio_weight: Some(10),
            blkio_leaf_weight: Some(11),
            weights: vec![DeviceWeight {
                major: 8,
                minor: 0,
                weight: Some(12),
                leaf_weight: Some(13),
            }],
            read_bps: throttle(14),
            write_bps: throttle(15),
            read_iops: throttle(16),
            write_iops: throttle(17),
            hugepages: vec![Hugepages { size: "2MB".to_owned(), limit: 18 }],
            rdma: vec![Rdma { device: "mlx5_1".to_owned(), handles: Some(3), objects: None }],
            network_class: Some(0x10_0001),
            network_priorities: vec![("eth0".to_owned(), 5)],
            ..Limits::default()
        };
        let now = [("blkio.bfq.weight", "100"), ("hugetlb.2MB.rsvd.limit_in_bytes", "0")];
        let wanted = [
            "memory.soft_limit_in_bytes=1",
            "memory.kmem.tcp.limit_in_bytes=2",
            "memory.swappiness=60",
            "memory.oom_control=1",
            "cpu.rt_period_us=3",
            "cpu.rt_runtime_us=4",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "pids.max=max",
            "blkio.bfq.weight=10",
            "blkio.leaf_weight=11",
            "blkio.bfq.weight_device=8:0 12",
            "blkio.leaf_weight_device=8:0 13",
            "blkio.throttle.read_bps_device=8:0 14",
            "blkio.throttle.write_bps_device=8:0 15",
            "blkio.throttle.read_iops_device=8:0 16",
            "blkio.throttle.write_iops_device=8:0 17",
            "hugetlb.2MB.limit_in_bytes=18",
            "hugetlb.2MB.rsvd.limit_in_bytes=18",
            "rdma.max=mlx5_1 hca_handle=3 hca_object=max",
            "net_cls.classid=1048577",
            "net_prio.ifpriomap=eth0 5",
        ];
        assert_eq!(planned(&limits, false, &now).expect("a plan"), wanted);
    }

    #[test]
    fn what_version_1_lacks_is_refused() {
        let unified = vec![("memory.oom.group".to_owned(), "1".to_owned())];
        let error = planned(&Limits { unified, ..Limits::default() }, false, &[]);
        assert_eq!(
            error.expect_err("refused"),
            "invalid configuration: cannot use unified on cgroup v1"
        );
        for shares in [1, 262_145] {
            let limits = Limits { cpu_shares: Some(shares), ..Limits::default() };
            assert!(planned(&limits, false, &[]).expect_err("refused").contains("cpu-shares"));
        }
        let limits = Limits { memory: Some(50), check_before_update: true, ..Limits::default() };
        let error = planned(&limits, false, &[("memory.usage_in_bytes", "60")]);
        assert_eq!(
            error.expect_err("refused"),
            "memory limit 50 is not above the present usage of 60 bytes"
        );
    }
}
