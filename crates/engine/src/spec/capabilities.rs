//! Capability names, Docker's default set, and what `--cap-add`, `--cap-drop` and `--privileged` make of it.

use davit_api::container::HostConfig;
use davit_types::{Error, Result};

/// Names in the order of the kernel's numbers (`capabilities(7)`).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The capabilities this process could pass on, by name; empty when `/proc` can't be read.
pub fn bounding_set() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |number: usize| mask & (1 << number) != 0;
    (0..NAMES.len()).filter(|&number| has(number)).map(|number| NAMES[number].to_owned()).collect()
}

/// Checks the names of `CapAdd` and `CapDrop`.
///
/// # Errors
/// Docker's text for the first unknown name.
pub fn validate(host_config: &HostConfig) -> Result<()> {
    for (field, list) in [("CapAdd", &host_config.cap_add), ("CapDrop", &host_config.cap_drop)] {
        normalise(field, list.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// The set for bounding, permitted and effective. `available` is what the host can give.
///
/// # Errors
/// An unknown name.
pub fn effective(host_config: &HostConfig, available: &[String]) -> Result<Vec<String>> {
    if host_config.privileged {
        return Ok(available.to_vec());
    }
    let add = normalise("CapAdd", host_config.cap_add.as_deref().unwrap_or_default())?;
    let drop = normalise("CapDrop", host_config.cap_drop.as_deref().unwrap_or_default())?;
    let all = |list: &[String]| list.iter().any(|name| name == "ALL");

    let mut set: Vec<String> = match (all(&add), all(&drop)) {
        (true, _) => available.to_vec(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT.map(str::to_owned).to_vec(),
    };
    set.retain(|name| !drop.contains(name));
    for name in add.iter().filter(|name| *name != "ALL") {
        if !set.contains(name) {
            set.push(name.clone());
        }
    }
    Ok(set)
}

/// Upper case, `CAP_` in front, `ALL` kept, each name known.
fn normalise(field: &str, names: &[String]) -> Result<Vec<String>> {
    names
        .iter()
        .map(|name| {
            let upper = name.to_ascii_uppercase();
            if upper == "ALL" || upper == "CAP_ALL" {
                return Ok("ALL".to_owned());
            }
            let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            if NAMES.contains(&full.as_str()) {
                return Ok(full);
            }
            Err(Error::invalid(format!("invalid {field}: unknown capability: {full:?}")))
        })
        .collect()
}
