//! Limits and annotations as properties of a scope. systemd writes those it knows itself, again and
//! again; so it has to know them, or it would take them away at its next reload.

use std::collections::BTreeMap;

use davit_sys::cgroup::{Limits, cpu_weight, io_weight};

use super::{Property, Value, text};
use crate::Failure;
use crate::plan::config;

const ANNOTATION: &str = "org.systemd.property.";

/// What every scope of a container has.
pub(crate) fn of_container(id: &str) -> Vec<Property> {
    let on = ["Delegate", "MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"];
    let mut properties: Vec<Property> =
        on.iter().map(|name| ((*name).to_owned(), Value::Bool(true))).collect();
    let text = |name: &str, value: String| (name.to_owned(), Value::Text(value));
    properties.push(("DefaultDependencies".to_owned(), Value::Bool(false)));
    properties.push(text("Description", format!("container {id}")));
    properties.push(text("CollectMode", "inactive-or-failed".to_owned()));
    properties
}

/// The limits that systemd has properties for.
pub(crate) fn of_limits(limits: &Limits, v2: bool) -> Vec<Property> {
    let mut list = Vec::new();
    let mut add = |name: &str, value: Option<u64>| {
        list.extend(value.map(|value| (name.to_owned(), Value::Uint64(value))));
    };
    if v2 {
        add("MemoryMax", limits.memory.map(unlimited));
        add("MemoryLow", limits.memory_reservation.map(unlimited));
        let swap = match (limits.memory, limits.memory_swap) {
            (_, Some(-1)) => Some(u64::MAX),
            (Some(memory), Some(both)) if memory > 0 => u64::try_from(both - memory).ok(),
            _ => None,
        };
        add("MemorySwapMax", swap);
        add("CPUWeight", limits.cpu_shares.map(cpu_weight));
        add("IOWeight", limits.blkio_weight.map(io_weight));
        for (file, value) in &limits.unified {
            add(unified(file), amount(value).filter(|_| !unified(file).is_empty()));
        }
    } else {
        add("MemoryLimit", limits.memory.map(unlimited));
        add("CPUShares", limits.cpu_shares);
        add("BlockIOWeight", limits.blkio_weight.map(u64::from));
    }
    add("TasksMax", limits.pids.map(|pids| if pids > 0 { pids.unsigned_abs() } else { u64::MAX }));
    add("CPUQuotaPeriodUSec", limits.cpu_period);
    add("CPUQuotaPerSecUSec", limits.cpu_quota.map(|quota| per_second(quota, limits.cpu_period)));
    for (name, set) in
        [("AllowedCPUs", &limits.cpuset_cpus), ("AllowedMemoryNodes", &limits.cpuset_mems)]
    {
        // What is wrong with a list the kernel says when it is written.
        let bits = set.as_deref().filter(|_| v2).and_then(bits);
        list.extend(bits.map(|bits| (name.to_owned(), Value::Bytes(bits))));
    }
    list
}

/// `org.systemd.property.TimeoutStopUSec: uint64 5000000`, or `...Sec` in seconds.
pub(crate) fn annotated(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Failure> {
    let mut properties = Vec::new();
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let bad = |why: &str| config(key, format!("annotation {key}={value}: {why}"));
        if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(bad("no name of a property"));
        }
        let parsed = text::parse(value).ok_or_else(|| bad("not a value systemd could take"))?;
        let seconds = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U'));
        properties.push(match seconds {
            Some(stem) => {
                let value = microseconds(&parsed).ok_or_else(|| bad("not a number of seconds"))?;
                (format!("{stem}USec"), Value::Uint64(value))
            }
            None => (name.to_owned(), parsed),
        });
    }
    Ok(properties)
}

fn microseconds(value: &Value) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    match *value {
        Value::Int32(value) => u64::try_from(value).ok()?.checked_mul(SECOND),
        Value::Uint32(value) => u64::from(value).checked_mul(SECOND),
        Value::Int64(value) => u64::try_from(value).ok()?.checked_mul(SECOND),
        Value::Uint64(value) => value.checked_mul(SECOND),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        Value::Double(value) if (0.0..1e12).contains(&value) => Some((value * 1e6) as u64),
        _ => None,
    }
}

fn unlimited(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// systemd rounds to 10 ms per second, which may not make the quota smaller than asked for.
fn per_second(quota: i64, period: Option<u64>) -> u64 {
    const SECOND: u64 = 1_000_000;
    const STEP: u64 = 10_000;
    let Some(quota) = u64::try_from(quota).ok().filter(|&quota| quota > 0) else { return u64::MAX };
    let share = quota.saturating_mul(SECOND) / period.filter(|&p| p > 0).unwrap_or(100_000);
    share.div_ceil(STEP) * STEP
}

/// `0-2,7` as a bit map, the first processors in the first byte.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<usize>().ok()?, to.parse::<usize>().ok()?);
        const MOST: usize = 8192;
        if from > to || to >= MOST {
            return None;
        }
        for number in from..=to {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

fn unified(file: &str) -> &'static str {
    match file {
        "memory.min" => "MemoryMin",
        "memory.low" => "MemoryLow",
        "memory.high" => "MemoryHigh",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        _ => "",
    }
}

fn amount(value: &str) -> Option<u64> {
    if value.trim() == "max" { Some(u64::MAX) } else { value.trim().parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_properties() {
        let limits = Limits {
            memory: Some(100),
            memory_swap: Some(150),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_500),
            cpu_period: Some(100_000),
            cpuset_cpus: Some("0-1,9".to_owned()),
            pids: Some(-1),
            unified: vec![("memory.high".to_owned(), "90".to_owned())],
            ..Limits::default()
        };
        let number = |name: &str, value| (name.to_owned(), Value::Uint64(value));
        let wanted = [
            number("MemoryMax", 100),
            number("MemorySwapMax", 50),
            number("CPUWeight", 100),
            number("MemoryHigh", 90),
            number("TasksMax", u64::MAX),
            number("CPUQuotaPeriodUSec", 100_000),
            number("CPUQuotaPerSecUSec", 510_000),
            ("AllowedCPUs".to_owned(), Value::Bytes(vec![3, 2])),
        ];
        assert_eq!(of_limits(&limits, true), wanted);
        assert_eq!(of_limits(&limits, false)[0], number("MemoryLimit", 100));
        assert!(of_limits(&Limits::default(), true).is_empty());
    }

    #[test]
    fn annotations_become_properties() {
        let one = |name: &str, value: &str| {
            let key = format!("org.systemd.property.{name}");
            annotated(&BTreeMap::from([(key, value.to_owned())]))
        };
        let wanted = ("TimeoutStopUSec".to_owned(), Value::Uint64(5_000_000));
        assert_eq!(one("TimeoutStopSec", "5").expect("valid"), std::slice::from_ref(&wanted));
        assert_eq!(one("TimeoutStopUSec", "uint64 5000000").expect("valid"), [wanted]);
        assert!(one("TimeoutStopSec", "'soon'").is_err());
        assert!(one("Slice.x", "1").is_err() && one("Description", "word").is_err());
        let other = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert!(annotated(&other).expect("valid").is_empty());
    }
}
