//! `events`

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use davit_runtime::state::State;
use davit_sys::cgroup::{BlkioEntry, MemoryAmount, Stats};
use davit_types::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Host, failed, print};

/// Flags of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show the counters once
    #[arg(long)]
    pub(crate) stats: bool,
    /// Time between two looks at the counters, as 5s or 1m30s
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) interval: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let interval = duration(&args.interval)
        .ok_or_else(|| Error::invalid(format!("invalid interval {:?}", args.interval)))?;
    if interval.is_zero() {
        return Err(Error::invalid("duration interval must be greater than 0"));
    }
    let state = State::load(&host.root, &args.id).map_err(failed)?;
    if args.stats {
        return show(host, &state);
    }
    let mut watch = davit_runtime::watch_oom(&host.root, &args.id).map_err(failed)?;
    let mut next = Instant::now() + interval;
    loop {
        let wait = next.saturating_duration_since(Instant::now());
        // The end of the container is seen within a second, though nothing tells of it.
        let kills = watch.wait(wait.min(Duration::from_secs(1))).unwrap_or(0);
        for _ in 0..kills {
            print(&(json!({"type": "oom", "id": args.id}).to_string() + "\n"))?;
        }
        if !state.is_alive() {
            return Ok(());
        }
        if Instant::now() >= next {
            show(host, &state)?;
            next = Instant::now() + interval;
        }
    }
}

fn show(host: &Host<'_>, state: &State) -> Result<()> {
    let stats = davit_runtime::stats(&host.root, &state.id).map_err(failed)?;
    let mut data = data(&stats);
    data["network_interfaces"] = interfaces(state.pid);
    if let Some(rdt) = rdt(state) {
        data["intel_rdt"] = rdt;
    }
    print(&(json!({"type": "stats", "id": state.id, "data": data}).to_string() + "\n"))
}

/// The counters in runc's words, what is 0 left out where runc does so.
fn data(stats: &Stats) -> Value {
    let cpu = &stats.cpu;
    json!({
        "cpu": {
            "usage": {
                "total": cpu.usage, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user,
            },
            "throttling": without_zeros(json!({
                "periods": cpu.periods, "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_time, "burstsPeriods": cpu.bursts,
                "burstsTime": cpu.burst_time,
            })),
        },
        "cpuset": {},
        "memory": memory(stats),
        "pids": without_zeros(json!({
            "current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0),
        })),
        "blkio": blkio(stats),
        "hugetlb": stats.hugepages.iter().map(|(size, pages)| {
            let pages = json!({"usage": pages.usage, "max": pages.max_usage, "failcnt": pages.failcnt});
            (size.clone(), pages)
        }).collect::<Map<_, _>>(),
        "intel_rdt": {},
    })
}

fn memory(stats: &Stats) -> Value {
    let memory = &stats.memory;
    let entry = |usage, max, limit, failcnt| {
        let mut entry = without_zeros(json!({"usage": usage, "max": max}));
        entry["limit"] = json!(limit);
        entry["failcnt"] = json!(failcnt);
        entry
    };
    let amount = |of: &MemoryAmount| entry(of.usage, of.max_usage, of.limit, of.failcnt);
    let mut value = json!({
        "usage": entry(memory.usage, memory.max_usage, memory.limit, memory.failcnt),
        "swap": amount(&memory.swap),
        "kernel": amount(&memory.kernel),
        "kernelTCP": amount(&memory.kernel_tcp),
        "raw": memory.stat,
    });
    // Version 1 and 2 name it differently.
    let cache = memory.stat.get("cache").or_else(|| memory.stat.get("file")).filter(|&&c| c > 0);
    if let Some(cache) = cache {
        value["cache"] = json!(cache);
    }
    value
}

fn blkio(stats: &Stats) -> Value {
    let entries = |list: &[BlkioEntry]| -> Vec<Value> {
        let entry = |entry: &BlkioEntry| {
            let mut value = without_zeros(json!({
                "major": entry.major, "minor": entry.minor, "value": entry.value,
            }));
            value["op"] = json!(entry.operation);
            value
        };
        list.iter().map(entry).collect()
    };
    let lists = [
        ("ioServiceBytesRecursive", entries(&stats.blkio_bytes)),
        ("ioServicedRecursive", entries(&stats.blkio_operations)),
    ];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    Value::Object(lists.map(|(name, list)| (name.to_owned(), json!(list))).collect())
}

fn without_zeros(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, number| number != 0);
    }
    value
}

/// The interfaces of the container's network, if it has one of its own.
fn interfaces(pid: i32) -> Value {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    if namespace("self") == namespace(&pid.to_string()) {
        return Value::Null;
    }
    match fs::read_to_string(format!("/proc/{pid}/net/dev")) {
        Ok(table) => table.lines().skip(2).filter_map(interface).collect(),
        // It has ended.
        Err(_) => Value::Null,
    }
}

/// `eth0: bytes packets errors dropped fifo frame compressed multicast`, and what was sent.
fn interface(line: &str) -> Option<Value> {
    let (name, numbers) = line.trim().split_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let at = |index: usize| numbers.get(index).copied();
    Some(json!({
        "Name": name,
        "RxBytes": at(0)?, "RxPackets": at(1)?, "RxErrors": at(2)?, "RxDropped": at(3)?,
        "TxBytes": at(8)?, "TxPackets": at(9)?, "TxErrors": at(10)?, "TxDropped": at(11)?,
    }))
}

/// The container's group of Intel's Resource Director Technology.
fn rdt(state: &State) -> Option<Value> {
    let schemata = state.rdt.as_ref()?.schemata().ok()?;
    let lines: BTreeMap<&str, &str> =
        schemata.lines().filter_map(|line| line.trim().split_once(':')).collect();
    let named = [("L3", "l3_cache_schema"), ("MB", "mem_bw_schema")];
    let given = named.iter().filter_map(|(key, name)| {
        lines.get(key).map(|schema| ((*name).to_owned(), json!(format!("{key}:{schema}"))))
    });
    Some(Value::Object(given.collect()))
}

/// `5s`, `1m30s`, `500ms`, as Go reads durations.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 6] =
        [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        seconds += number * factor;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("5s", Some(5000)),
            ("1m30s", Some(90_000)),
            ("250ms", Some(250)),
            ("1.5s", Some(1500)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-1s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn an_interface_has_its_counters() {
        let line = "  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0";
        let value = interface(line).expect("a line of the table");
        assert_eq!(
            (&value["Name"], &value["RxDropped"], &value["TxBytes"]),
            (&json!("eth0"), &json!(4), &json!(5))
        );
        assert_eq!(interface("nonsense"), None);
    }
}
