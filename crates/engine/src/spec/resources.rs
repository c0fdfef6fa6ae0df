//! Limits: HostConfig's resources in the words of the runtime specification.

use davit_api::container::{Resources, ThrottleDevice, WeightDevice};
use davit_types::{Context, Error, Result};
use serde_json::{Map, Value, json};

use super::SpecInput;

/// Period that `--cpus` is expressed in, microseconds.
const CPU_PERIOD: i64 = 100_000;

/// `linux.resources`.
pub(super) fn resources(input: &SpecInput<'_>) -> Result<Value> {
    let mut resources = limits(&input.host_config.resources)?;
    resources["devices"] = json!(device_rules(input)?);
    Ok(resources)
}

/// `linux.resources` without the devices: what `update` can change while the container runs.
///
/// # Errors
/// A block device that does not exist.
pub(crate) fn limits(wanted: &Resources) -> Result<Value> {
    let mut resources = json!({
        "memory": memory(wanted), "cpu": cpu(wanted), "blockIO": block_io(wanted)?,
    });
    if let Some(limit) = wanted.pids_limit.filter(|limit| *limit != 0) {
        resources["pids"] = json!({ "limit": limit.max(-1) });
    }
    Ok(resources)
}

fn memory(wanted: &Resources) -> Map<String, Value> {
    let mut memory = Map::new();
    let mut set = |key: &str, value: i64| {
        if value != 0 {
            memory.insert(key.to_owned(), json!(value));
        }
    };
    set("limit", wanted.memory);
    set("reservation", wanted.memory_reservation);
    set("swap", wanted.memory_swap);
    if let Some(swappiness) = wanted.memory_swappiness.filter(|value| *value >= 0) {
        memory.insert("swappiness".to_owned(), json!(swappiness));
    }
    memory.insert("disableOOMKiller".to_owned(), json!(wanted.oom_kill_disable == Some(true)));
    memory
}

fn cpu(wanted: &Resources) -> Map<String, Value> {
    let mut cpu = Map::new();
    let mut set = |key: &str, value: i64| {
        if value != 0 {
            cpu.insert(key.to_owned(), json!(value));
        }
    };
    set("shares", wanted.cpu_shares);
    if wanted.nano_cpus > 0 {
        set("period", CPU_PERIOD);
        set("quota", wanted.nano_cpus / (1_000_000_000 / CPU_PERIOD));
    } else {
        set("period", wanted.cpu_period);
        set("quota", wanted.cpu_quota);
    }
    set("realtimePeriod", wanted.cpu_realtime_period);
    set("realtimeRuntime", wanted.cpu_realtime_runtime);
    for (key, value) in [("cpus", &wanted.cpuset_cpus), ("mems", &wanted.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.to_owned(), json!(value));
        }
    }
    cpu
}

fn block_io(wanted: &Resources) -> Result<Map<String, Value>> {
    let mut block_io = Map::new();
    if wanted.blkio_weight != 0 {
        block_io.insert("weight".to_owned(), json!(wanted.blkio_weight));
    }
    let weights = wanted.blkio_weight_device.iter().flatten().map(weight_device);
    insert_list(&mut block_io, "weightDevice", weights)?;
    for (key, list) in [
        ("throttleReadBpsDevice", &wanted.blkio_device_read_bps),
        ("throttleWriteBpsDevice", &wanted.blkio_device_write_bps),
        ("throttleReadIOPSDevice", &wanted.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", &wanted.blkio_device_write_iops),
    ] {
        insert_list(&mut block_io, key, list.iter().flatten().map(throttle_device))?;
    }
    Ok(block_io)
}

fn insert_list(
    block_io: &mut Map<String, Value>,
    key: &str,
    entries: impl Iterator<Item = Result<Value>>,
) -> Result<()> {
    let list = entries.collect::<Result<Vec<_>>>()?;
    if !list.is_empty() {
        block_io.insert(key.to_owned(), json!(list));
    }
    Ok(())
}

fn weight_device(device: &WeightDevice) -> Result<Value> {
    let (major, minor) = device_numbers(&device.path)?;
    Ok(json!({ "major": major, "minor": minor, "weight": device.weight }))
}

fn throttle_device(device: &ThrottleDevice) -> Result<Value> {
    let (major, minor) = device_numbers(&device.path)?;
    Ok(json!({ "major": major, "minor": minor, "rate": device.rate }))
}

fn device_numbers(path: &str) -> Result<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).context(|| format!("read block device {path}"))?;
    Ok((rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev())))
}

/// Nothing but the usual nodes; privileged: everything.
fn device_rules(input: &SpecInput<'_>) -> Result<Vec<Value>> {
    if input.host_config.privileged {
        return Ok(vec![json!({ "allow": true, "access": "rwm" })]);
    }
    let allowed = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)];
    let rule = |allow: bool, major: u32, minor: u32| json!({ "allow": allow, "type": "c", "major": major, "minor": minor, "access": "rwm" });
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend(allowed.map(|(major, minor)| rule(true, major, minor)));
    rules.push(rule(false, 10, 229)); // fuse
    rules.extend(input.devices.iter().map(super::devices::HostDevice::rule));
    for text in input.host_config.resources.device_cgroup_rules.iter().flatten() {
        rules.push(cgroup_rule(text)?);
    }
    Ok(rules)
}

/// `--device-cgroup-rule`: `c 1:3 mr`, `a *:* rwm`.
fn cgroup_rule(text: &str) -> Result<Value> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let fields: Vec<&str> = text.split(' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = fields[..] else { return Err(invalid()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    if access.is_empty() || access.len() > 3 || access.bytes().any(|byte| !b"rwm".contains(&byte)) {
        return Err(invalid());
    }
    let mut rule = json!({ "allow": true, "type": kind, "access": access });
    for (key, number) in [("major", major), ("minor", minor)] {
        if number != "*" {
            rule[key] = json!(number.parse::<i64>().map_err(|_| invalid())?);
        }
    }
    Ok(rule)
}
