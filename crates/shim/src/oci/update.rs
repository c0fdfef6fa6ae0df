//! `update`

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use davit_runtime::plan;
use davit_types::oci::runtime::LinuxResources;
use davit_types::{Context, Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Host, bundle, failed};

/// Flags of `update`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with resources as in config.json, or - for standard input; the other flags about cgroups
    /// are left aside
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Relative weight of input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<u16>,
    /// Length of the CPU period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,
    /// CPU time in a period, -1 for any
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// CPU time that may be saved up for later
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_burst: Option<u64>,
    /// Relative weight of CPU time
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) cpu_share: Option<u64>,
    /// Length of the realtime period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Realtime CPU time in its period
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// 1: only when nobody else wants the CPU; 0: not so
    #[arg(long, value_name = "0|1")]
    pub(crate) cpu_idle: Option<i64>,
    /// Processors, as 0-2,4
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes, as 0-2,4
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Bytes of memory, or with a unit (b, k, m, g, t, p), -1 for any
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub(crate) memory: Option<i64>,
    /// Bytes of memory that are left to it as long as possible
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub(crate) memory_reservation: Option<i64>,
    /// Bytes of memory and swap together, -1 for any
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<i64>,
    /// Has no effect any more, with a warning
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) kernel_memory: Option<i64>,
    /// Has no effect any more, with a warning
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) kernel_memory_tcp: Option<i64>,
    /// Number of tasks, -1 for any
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Schema of the level 3 cache for Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,
    /// Schema of the memory bandwidth for Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

/// Everything that `--resources` may hold; what isn't in here is refused.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "memory",
        &[
            "limit",
            "reservation",
            "swap",
            "kernel",
            "kernelTCP",
            "swappiness",
            "disableOOMKiller",
            "useHierarchy",
            "checkBeforeUpdate",
        ],
    ),
    (
        "cpu",
        &[
            "shares",
            "quota",
            "burst",
            "period",
            "realtimeRuntime",
            "realtimePeriod",
            "cpus",
            "mems",
            "idle",
        ],
    ),
    ("pids", &["limit"]),
    (
        "blockIO",
        &[
            "weight",
            "leafWeight",
            "weightDevice",
            "throttleReadBpsDevice",
            "throttleWriteBpsDevice",
            "throttleReadIOPSDevice",
            "throttleWriteIOPSDevice",
        ],
    ),
    ("hugepageLimits", &[]),
    ("network", &["classID", "priorities"]),
    ("rdma", &[]),
    ("unified", &[]),
    // Which devices may be used is decided at the creation; engines send the list along.
    ("devices", &[]),
];

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let mut value = match &args.resources {
        Some(path) => read(path)?,
        None => from_flags(args),
    };
    check_names(&value)?;
    if args.kernel_memory.is_some() || args.kernel_memory_tcp.is_some() || has_kernel(&mut value) {
        host.log.warn("Kernel memory settings are ignored and will be removed");
    }
    let what = || "parse the resources";
    let resources = LinuxResources::deserialize(&value).context(what)?;
    bundle::refuse_lists_for_objects(&value, &resources).context(what)?;
    let limits = plan::limits(&resources);
    davit_runtime::update(&host.root, &args.id, &limits).map_err(failed)?;
    let (cache, bandwidth) = (args.l3_cache_schema.as_deref(), args.mem_bw_schema.as_deref());
    davit_runtime::update_rdt(&host.root, &args.id, cache, bandwidth).map_err(failed)
}

fn read(path: &Path) -> Result<Value> {
    let what = || format!("read resources {}", path.display());
    let text = if path == Path::new("-") {
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text).map(|_| text)
    } else {
        fs::read(path)
    };
    serde_json::from_slice(&text.context(what)?).context(what)
}

fn from_flags(args: &Args) -> Value {
    let group = |entries: &[(&str, Value)]| {
        let given = entries.iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>()
    };
    let memory = group(&[
        ("limit", json!(args.memory)),
        ("reservation", json!(args.memory_reservation)),
        ("swap", json!(args.memory_swap)),
    ]);
    let cpu = group(&[
        ("shares", json!(args.cpu_share)),
        ("quota", json!(args.cpu_quota)),
        ("period", json!(args.cpu_period)),
        ("burst", json!(args.cpu_burst)),
        ("idle", json!(args.cpu_idle)),
        ("realtimePeriod", json!(args.cpu_rt_period)),
        ("realtimeRuntime", json!(args.cpu_rt_runtime)),
        ("cpus", json!(args.cpuset_cpus)),
        ("mems", json!(args.cpuset_mems)),
    ]);
    let mut resources = json!({"memory": memory, "cpu": cpu});
    if let Some(limit) = args.pids_limit {
        resources["pids"] = json!({"limit": limit});
    }
    if let Some(weight) = args.blkio_weight {
        resources["blockIO"] = json!({"weight": weight});
    }
    resources
}

/// Bytes; a unit may stand behind the number, as `512m`, `1.5G` or `2 GiB`.
fn size(text: &str) -> std::result::Result<i64, String> {
    const UNITS: &str = "bkmgtp";
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || "use a number of bytes, one with a unit (b, k, m, g, t, p), or -1".to_owned();
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let power = match unit.as_bytes() {
        [] => 0,
        [letter] | [letter, b'b'] | [letter, b'i', b'b'] => {
            let power = UNITS.bytes().position(|known| known == *letter).ok_or_else(wrong)?;
            if power == 0 && unit.len() > 1 {
                return Err(wrong());
            }
            power
        }
        _ => return Err(wrong()),
    };
    let factor = 1_i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor).ok_or_else(|| "it is too large".to_owned());
    }
    // A fraction, exact to the byte: the digits behind the point are a part of the unit.
    let (whole, part) = number.split_once('.').ok_or_else(wrong)?;
    let whole: i128 = whole.parse().map_err(|_| wrong())?;
    let digits = u32::try_from(part.len()).ok().filter(|digits| (1..=18).contains(digits));
    let digits = digits.ok_or_else(wrong)?;
    let part: i128 = part.parse().map_err(|_| wrong())?;
    let part = part * i128::from(factor) / 10_i128.pow(digits);
    let bytes = whole.checked_mul(i128::from(factor)).and_then(|bytes| bytes.checked_add(part));
    bytes.and_then(|bytes| i64::try_from(bytes).ok()).ok_or_else(|| "it is too large".to_owned())
}

fn check_names(value: &Value) -> Result<()> {
    let refuse =
        |name: &str| Err(Error::invalid(format!("unknown field {name:?} in the resources")));
    let object = value.as_object().ok_or_else(|| Error::invalid("the resources are no object"))?;
    for (name, group) in object {
        let Some((_, members)) = KNOWN.iter().find(|(known, _)| known == name) else {
            return refuse(name);
        };
        let keys =
            group.as_object().into_iter().flat_map(Map::keys).filter(|_| !members.is_empty());
        if let Some(unknown) = keys.into_iter().find(|key| !members.contains(&key.as_str())) {
            return refuse(&format!("{name}.{unknown}"));
        }
    }
    Ok(())
}

/// Takes the limits on kernel memory out, which kernels don't know any more.
fn has_kernel(value: &mut Value) -> bool {
    let Some(memory) = value.get_mut("memory").and_then(Value::as_object_mut) else { return false };
    let taken = ["kernel", "kernelTCP"].map(|name| memory.remove(name));
    taken.iter().flatten().any(|limit| limit.as_i64() != Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_resources_are_refused() {
        let good = json!({"memory": {"limit": 1}, "devices": [], "unified": {"memory.high": "1"}});
        check_names(&good).expect("known");
        for (bad, name) in [
            (json!({"memroy": {}}), "memroy"),
            (json!({"memory": {"limt": 1}}), "memory.limt"),
            (json!([]), "no object"),
        ] {
            let error = check_names(&bad).expect_err(name);
            assert!(error.message().contains(name), "{error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let cases = [
            ("-1", -1),
            ("0", 0),
            ("67108864", 67_108_864),
            ("7b", 7),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("2 GiB", 2 << 30),
            ("1.5g", 3 << 29),
            ("1K", 1024),
            ("3t", 3 << 40),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "-2", "64x", "64mm", "1.2.3", "1.", "9999999p", "4bb", "64 m b"] {
            size(text).expect_err(text);
        }
    }

    #[test]
    fn kernel_memory_is_taken_out() {
        let mut value = json!({"memory": {"limit": 1, "kernel": 5}});
        assert!(has_kernel(&mut value));
        assert_eq!(value, json!({"memory": {"limit": 1}}));
        assert!(!has_kernel(&mut json!({"memory": {"kernel": 0}})));
        assert!(!has_kernel(&mut json!({})));
    }
}
