//! The files of version 2.

use std::io;

use super::Limits;
use super::writes::{Writes, check_usage, refuse};

const SWAP: &str = "memory.swap.max";

pub(super) fn plan(writes: &mut Writes<'_>, limits: &Limits) -> io::Result<()> {
    refuse_what_is_gone(limits)?;
    memory(writes, limits)?;
    cpu(writes, limits);
    writes.maybe("cpuset", "cpuset.cpus", limits.cpuset_cpus.as_deref());
    writes.maybe("cpuset", "cpuset.mems", limits.cpuset_mems.as_deref());
    writes.maybe("pids", "pids.max", limits.pids.map(maximum));
    block_io(writes, limits);
    writes.hugepages(limits, "max");
    writes.rdma(limits);
    for (file, value) in &limits.unified {
        if file.contains('/') || file.is_empty() {
            return refuse(format!("invalid cgroup file name {file:?}"));
        }
        writes.set("unified", file.as_str(), value);
    }
    Ok(())
}

fn refuse_what_is_gone(limits: &Limits) -> io::Result<()> {
    let gone = [
        (limits.swappiness.is_some(), "memory swappiness"),
        (limits.oom_kill_disable == Some(true), "disabling the OOM killer"),
        (limits.kernel_memory.is_some(), "a kernel memory limit"),
        (limits.kernel_tcp_memory.is_some(), "a kernel TCP memory limit"),
        (limits.use_hierarchy == Some(false), "memory accounting without hierarchy"),
        (
            limits.cpu_rt_period.is_some() || limits.cpu_rt_runtime.is_some(),
            "a realtime period or runtime",
        ),
        (
            limits.blkio_leaf_weight.is_some()
                || limits.weights.iter().any(|device| device.leaf_weight.is_some()),
            "a leaf weight for block devices",
        ),
        (limits.network_class.is_some(), "a network class (net_cls)"),
        (!limits.network_priorities.is_empty(), "network priorities (net_prio)"),
    ];
    match gone.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => refuse(format!("{what} is not possible on cgroup v2")),
        None => Ok(()),
    }
}

fn memory(writes: &mut Writes<'_>, limits: &Limits) -> io::Result<()> {
    check_usage(writes, limits, "memory.current")?;
    if let Some(swap) = swap(writes, limits)? {
        // Without the file nothing counts swap, so that there is no limit to be lifted.
        if swap != "max" || writes.has("memory", SWAP) {
            writes.set("memory", SWAP, swap);
        }
    }
    writes.maybe("memory", "memory.max", limits.memory.map(unlimited_below_zero));
    writes.maybe("memory", "memory.low", limits.memory_reservation.map(unlimited_below_zero));
    Ok(())
}

/// What is left for swap when `memory_swap` counts both. The memory limit is the present one if no
/// new one is given.
fn swap(writes: &Writes<'_>, limits: &Limits) -> io::Result<Option<String>> {
    let both = match (limits.memory_swap, limits.memory) {
        (None | Some(0), Some(-1)) | (Some(-1), _) => return Ok(Some("max".to_owned())),
        (None | Some(0), _) => return Ok(None),
        (Some(both), _) => both,
    };
    let memory = limits.memory.or_else(|| writes.number("memory", "memory.max"));
    match memory {
        Some(memory) if memory > 0 && both >= memory => Ok(Some((both - memory).to_string())),
        Some(memory) if memory > 0 => {
            refuse(format!("memory+swap limit {both} should be at least the memory limit {memory}"))
        }
        _ => refuse("a memory+swap limit needs a memory limit"),
    }
}

fn cpu(writes: &mut Writes<'_>, limits: &Limits) {
    let weight = limits.cpu_shares.filter(|&shares| shares > 0).map(cpu_weight);
    writes.with_idle(limits, |writes| writes.maybe("cpu", "cpu.weight", weight));
    writes.with_burst(limits, "cpu.max.burst", |writes| {
        let quota = limits.cpu_quota.map(|quota| if quota > 0 { quota } else { -1 });
        let quota = quota.map(unlimited_below_zero);
        let value = match (quota, limits.cpu_period) {
            (Some(quota), Some(period)) => Some(format!("{quota} {period}")),
            // Alone it leaves the period.
            (Some(quota), None) => Some(quota),
            (None, Some(period)) => {
                let now = writes.read("cpu", "cpu.max").unwrap_or_default();
                let quota = now.split(' ').next().filter(|quota| !quota.is_empty());
                Some(format!("{} {period}", quota.unwrap_or("max")))
            }
            (None, None) => None,
        };
        writes.maybe("cpu", "cpu.max", value);
    });
}

fn block_io(writes: &mut Writes<'_>, limits: &Limits) {
    let weighs = limits.blkio_weight.is_some() || !limits.weights.is_empty();
    let bfq = weighs && writes.has("io", "io.bfq.weight");
    let (file, scale): (_, fn(u16) -> u64) = match bfq {
        true => ("io.bfq.weight", u64::from),
        false => ("io.weight", io_weight),
    };
    writes.maybe("io", file, limits.blkio_weight.map(scale));
    for device in &limits.weights {
        let value = |weight| format!("{}:{} {}", device.major, device.minor, scale(weight));
        writes.maybe("io", file, device.weight.map(value));
    }
    for (key, throttles) in [
        ("rbps", &limits.read_bps),
        ("wbps", &limits.write_bps),
        ("riops", &limits.read_iops),
        ("wiops", &limits.write_iops),
    ] {
        for throttle in throttles {
            // 0 means no limit to version 1, and an error to version 2.
            let rate =
                if throttle.rate == 0 { "max".to_owned() } else { throttle.rate.to_string() };
            let value = format!("{}:{} {key}={rate}", throttle.major, throttle.minor);
            writes.set("io", "io.max", value);
        }
    }
}

/// 2..262144 onto 1..10000 by a curve on which 1024, the usual shares, meet 100, the usual weight.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => return 1,
        262_144.. => return 10_000,
        _ => {}
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
    let doublings = (shares as f64).log2();
    let exponent = (doublings * doublings + 125.0 * doublings) / 612.0 - 7.0 / 34.0;
    // A rounding error must not lift a whole number to the next.
    let weight = (10_f64.powf(exponent) - 1e-9).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
    let weight = weight as u64;
    weight
}

/// 10..1000 onto 1..10000.
pub fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight).saturating_sub(10) * 9999 / 990
}

fn unlimited_below_zero(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

pub(super) fn maximum(value: i64) -> String {
    if value <= 0 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::writes::testing::planned;
    use super::super::{DeviceWeight, Hugepages, Throttle};
    use super::*;

    fn plan(limits: &Limits, now: &[(&str, &str)]) -> Vec<String> {
        planned(limits, true, now).expect("a plan")
    }

    #[test]
    fn swap_is_what_memory_leaves_of_both() {
        let limits = |memory, memory_swap| Limits { memory, memory_swap, ..Limits::default() };
        let file = [(SWAP, "max"), ("memory.max", "60")];
        let plan = |memory, swap| plan(&limits(memory, swap), &file);
        assert_eq!(plan(Some(100), Some(150)), ["memory.swap.max=50", "memory.max=100"]);
        assert_eq!(plan(Some(100), Some(100)), ["memory.swap.max=0", "memory.max=100"]);
        assert_eq!(plan(Some(100), Some(-1)), ["memory.swap.max=max", "memory.max=100"]);
        assert_eq!(plan(Some(100), None), ["memory.max=100"]);
        assert_eq!(plan(Some(-1), None), ["memory.swap.max=max", "memory.max=max"]);
        assert_eq!(plan(None, Some(100)), ["memory.swap.max=40"]);
        assert!(planned(&limits(None, Some(50)), true, &file).is_err());
        assert!(planned(&limits(Some(100), Some(99)), true, &file).is_err());
        let error = planned(&limits(None, Some(50)), true, &[("memory.max", "max")]);
        assert_eq!(error.expect_err("refused"), "a memory+swap limit needs a memory limit");
    }

    #[test]
    fn quota_and_period_are_one_file() {
        let limits = |cpu_quota, cpu_period| Limits { cpu_quota, cpu_period, ..Limits::default() };
        let plan = |quota, period| plan(&limits(quota, period), &[("cpu.max", "7000 100000")]);
        assert_eq!(plan(Some(5000), Some(20_000)), ["cpu.max=5000 20000"]);
        assert_eq!(plan(Some(5000), None), ["cpu.max=5000"]);
        assert_eq!(plan(Some(-1), None), ["cpu.max=max"]);
        assert_eq!(plan(None, Some(20_000)), ["cpu.max=7000 20000"]);
    }

    #[test]
    fn everything_of_the_specification_has_its_file() {
        let throttle = |rate| vec![Throttle { major: 8, minor: 0, rate }];
        let limits = Limits {
            memory_reservation: Some(1),
            cpu_shares: Some(1024),
            cpu_idle: Some(0),
            cpu_burst: Some(2),
            oom_kill_disable: Some(false),
            use_hierarchy: Some(true),
            cpuset_cpus: Some("0-1".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            pids: Some(3),
            blkio_weight: Some(1000),
            weights: vec![DeviceWeight { major: 8, minor: 0, weight: Some(10), leaf_weight: None }],
            read_bps: throttle(4),
            write_bps: throttle(5),
            read_iops: throttle(6),
            write_iops: throttle(0),
            hugepages: vec![Hugepages { size: "2MB".to_owned(), limit: 8 }],
            unified: vec![("memory.oom.group".to_owned(), "1".to_owned())],
            ..Limits::default()
        };
        let wanted = [
            "memory.low=1",
            "cpu.idle=0",
            "cpu.weight=100",
            "cpu.max.burst=2",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "pids.max=3",
            "io.weight=10000",
            "io.weight=8:0 1",
            "io.max=8:0 rbps=4",
            "io.max=8:0 wbps=5",
            "io.max=8:0 riops=6",
            "io.max=8:0 wiops=max",
            "hugetlb.2MB.max=8",
            "memory.oom.group=1",
        ];
        assert_eq!(plan(&limits, &[]), wanted);
        let weight = Limits { blkio_weight: Some(500), ..Limits::default() };
        assert_eq!(plan(&weight, &[("io.bfq.weight", "default 100")]), ["io.bfq.weight=500"]);
    }

    #[test]
    fn what_version_2_lacks_is_refused() {
        let none = Limits::default;
        for limits in [
            Limits { swappiness: Some(1), ..none() },
            Limits { oom_kill_disable: Some(true), ..none() },
            Limits { kernel_memory: Some(1), ..none() },
            Limits { kernel_tcp_memory: Some(1), ..none() },
            Limits { use_hierarchy: Some(false), ..none() },
            Limits { cpu_rt_period: Some(1), ..none() },
            Limits { blkio_leaf_weight: Some(10), ..none() },
            Limits { network_class: Some(1), ..none() },
            Limits { network_priorities: vec![("lo".to_owned(), 1)], ..none() },
        ] {
            let error = planned(&limits, true, &[]).expect_err("refused");
            assert!(error.ends_with("is not possible on cgroup v2"), "{error}");
        }
        let unified = vec![("../memory.max".to_owned(), "1".to_owned())];
        assert!(planned(&Limits { unified, ..none() }, true, &[]).is_err());
    }

    #[test]
    fn shares_span_the_whole_range_of_weights() {
        for (shares, weight) in
            [(2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)]
        {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert!((2..262_144).all(|shares| cpu_weight(shares) <= cpu_weight(shares + 1)));
    }
}
