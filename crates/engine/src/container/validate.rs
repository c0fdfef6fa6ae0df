//! Which settings are refused at create and update, in Docker's words. Pure.

use std::net::IpAddr;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

use davit_api::container::{Config, HealthConfig, HostConfig, Resources, RestartPolicy};
use davit_types::{Error, Result};

const MIB: i64 = 1 << 20;
const MILLISECOND: i64 = 1_000_000;

/// Checks everything that needs neither the image nor the host's files. Returns warnings.
pub(crate) fn check(config: &Config, host_config: &HostConfig, cpus: i64) -> Result<Vec<String>> {
    check_config(config)?;
    check_modes(config, host_config)?;
    check_restart_policy(&host_config.restart_policy)?;
    if host_config.auto_remove && !matches!(host_config.restart_policy.name.as_str(), "" | "no") {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    if host_config.shm_size < 0 {
        return invalid("SHM size can not be less than 0");
    }
    if !(-1000..=1000).contains(&host_config.oom_score_adj) {
        return invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host_config.oom_score_adj
        ));
    }
    for host in host_config.extra_hosts.iter().flatten() {
        if host.split_once([':', '=']).is_none_or(|(name, _)| name.is_empty()) {
            return invalid(format!("bad format for add-host: {host:?}"));
        }
    }
    check_ports(config, host_config)?;
    host_config.dns.iter().flatten().try_for_each(|address| check_address(address))?;
    for target in host_config.tmpfs.keys() {
        super::bind::check_target(target).map_err(Error::invalid)?;
    }
    check_resources(&host_config.resources, cpus)?;
    check_log(host_config)?;
    crate::spec::capabilities::validate(host_config)?;
    check_security_options(host_config)?;
    Ok(warnings(host_config))
}

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::invalid(message))
}

fn check_config(config: &Config) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        ));
    }
    if config.hostname.len() > 64 {
        return invalid(format!("invalid hostname: {:?} is longer than 64 bytes", config.hostname));
    }
    if let Some(variable) = config.env.iter().flatten().find(|text| text.starts_with('=')) {
        return invalid(format!("invalid environment variable: {variable}"));
    }
    if !config.stop_signal.is_empty() {
        crate::signal::parse(&config.stop_signal)?;
    }
    config.healthcheck.as_ref().map_or(Ok(()), check_health)
}

fn check_health(health: &HealthConfig) -> Result<()> {
    for (name, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value != 0 && value < MILLISECOND {
            return invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    if health.retries < 0 {
        return invalid("Retries in Healthcheck cannot be negative");
    }
    Ok(())
}

fn check_modes(config: &Config, host_config: &HostConfig) -> Result<()> {
    let donor = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let mode = host_config.pid_mode.as_str();
    if !(matches!(mode, "" | "host" | "private") || donor(mode)) {
        return invalid(format!("invalid PID mode: {mode}"));
    }
    let mode = host_config.ipc_mode.as_str();
    if !(matches!(mode, "" | "none" | "private" | "shareable" | "host") || donor(mode)) {
        return invalid(format!("invalid IPC mode: {mode}"));
    }
    if !matches!(host_config.uts_mode.as_str(), "" | "host") {
        return invalid(format!("invalid UTS mode: {}", host_config.uts_mode));
    }
    if !matches!(host_config.cgroupns_mode.as_str(), "" | "host" | "private") {
        return invalid(format!("invalid cgroup namespace mode: {}", host_config.cgroupns_mode));
    }
    if !matches!(host_config.userns_mode.as_str(), "" | "host") {
        return invalid(format!("invalid user namespace mode: {}", host_config.userns_mode));
    }
    if host_config.uts_mode == "host" && !config.hostname.is_empty() {
        return invalid("conflicting options: hostname and the UTS mode");
    }
    let network = host_config.network_mode.as_str();
    if network.starts_with("container:") {
        return check_shared_network(config, host_config);
    }
    if network == "host" && host_config.links.as_ref().is_some_and(|links| !links.is_empty()) {
        return invalid(
            "conflicting options: host type networking can't be used with links. This would result \
             in undefined behavior",
        );
    }
    Ok(())
}

/// What belongs to the network namespace can't be set for another container's.
fn check_shared_network(config: &Config, host_config: &HostConfig) -> Result<()> {
    let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let conflicts = [
        (host_config.network_mode == "container:", "invalid container format container:<name|id>"),
        (!config.hostname.is_empty(), "conflicting options: hostname and the network mode"),
        (
            filled(&host_config.links),
            "conflicting options: container type network can't be used with links. This would \
             result in undefined behavior",
        ),
        (filled(&host_config.dns), "conflicting options: dns and the network mode"),
        (
            filled(&host_config.extra_hosts),
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (!config.mac_address.is_empty(), "conflicting options: mac-address and the network mode"),
        (
            host_config.publish_all_ports
                || host_config.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()),
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            !config.exposed_ports.is_empty(),
            "conflicting options: port exposing and the container type network mode",
        ),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, message)) => invalid(*message),
        None => Ok(()),
    }
}

/// Docker takes any protocol at create, and fails at start when it knows none of that name.
fn check_ports(config: &Config, host_config: &HostConfig) -> Result<()> {
    let bindings = || host_config.port_bindings.iter().flatten();
    for port in config.exposed_ports.keys().chain(bindings().map(|(port, _)| port)) {
        let number = port.split_once('/').map_or(port.as_str(), |(number, _)| number);
        if let Err(error) = number.parse::<u16>() {
            let reason = match error.kind() {
                IntErrorKind::Empty => "value is empty",
                IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            return invalid(format!("invalid JSON: invalid port '{number}': {reason}"));
        }
    }
    for binding in bindings().filter_map(|(_, list)| list.as_ref()).flatten() {
        check_address(binding.host_ip.trim_matches(['[', ']']))?;
        let range = binding.host_port.as_str();
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let valid = from.parse::<u16>().is_ok_and(|from| to.parse().is_ok_and(|to| from <= to));
        if !range.is_empty() && !valid {
            return invalid(format!("invalid port specification: {range:?}"));
        }
    }
    Ok(())
}

/// An address, perhaps with a zone, or nothing.
fn check_address(text: &str) -> Result<()> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    if text.is_empty() || address.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let is_number = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit());
    let reason = if text.contains('.') && text.split('.').all(is_number) {
        let too_large = |field: &str| field.len() > 2 && field.parse::<u8>().is_err();
        if text.split('.').any(too_large) {
            "IPv4 field has value >255"
        } else {
            "IPv4 address not in dotted decimal form"
        }
    } else {
        "unable to parse IP"
    };
    invalid(format!("invalid JSON: ParseAddr({text:?}): {reason}"))
}

/// Checks the processors and memory nodes asked for against the host's, both in the kernel's list
/// format. An unknown (empty) list of the host allows any.
///
/// # Errors
/// A list that is none, or that has what the host hasn't.
pub(crate) fn check_cpusets(resources: &Resources, cpus: &str, nodes: &str) -> Result<()> {
    for (wanted, available, field, things) in [
        (&resources.cpuset_cpus, cpus, "cpus", "CPUs"),
        (&resources.cpuset_mems, nodes, "mems", "memory nodes"),
    ] {
        let Some(ranges) = parse_list(wanted) else {
            return invalid(format!(
                "Invalid value {wanted} for cpuset {field}: invalid format: {wanted}"
            ));
        };
        let host = parse_list(available).unwrap_or_default();
        let missing = |number: u32| !host.iter().any(|range| range.contains(&number));
        if !host.is_empty() && ranges.into_iter().flatten().any(missing) {
            return invalid(format!(
                "Requested {things} are not available - requested {wanted}, available: {available}"
            ));
        }
    }
    Ok(())
}

/// `0-2,5`.
fn parse_list(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from <= to).then_some(from..=to)
    };
    text.split(',').filter(|_| !text.is_empty()).map(range).collect()
}

/// Checks a restart policy.
///
/// # Errors
/// An unknown name, or a retry count that does not belong there.
pub(crate) fn check_restart_policy(policy: &RestartPolicy) -> Result<()> {
    match (policy.name.as_str(), policy.maximum_retry_count) {
        ("always" | "unless-stopped" | "no", 0) | ("", 0) | ("on-failure", 0..) => Ok(()),
        ("on-failure", _) => {
            invalid("invalid restart policy: maximum retry count cannot be negative")
        }
        ("always" | "unless-stopped" | "no", count) => invalid(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'{}",
            if count < 0 { " and cannot be negative" } else { "" }
        )),
        ("", _) => invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (name, _) => invalid(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', \
             'on-failure', or 'unless-stopped'"
        )),
    }
}

/// Checks limits, at create and at update.
///
/// # Errors
/// The first that is out of range or contradicts another.
pub(crate) fn check_resources(resources: &Resources, cpus: i64) -> Result<()> {
    check_memory(resources)?;
    check_cpu(resources, cpus)?;
    if resources.blkio_weight != 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return invalid("range of blkio weight is from 10 to 1000");
    }
    Ok(())
}

fn check_memory(resources: &Resources) -> Result<()> {
    let Resources { memory, memory_swap: swap, memory_reservation: reservation, .. } = *resources;
    if memory != 0 && memory < 6 * MIB {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && swap > 0 && swap < memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 {
        return invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if let Some(value) = resources.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
        return invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100"));
    }
    if reservation > 0 && reservation < 6 * MIB {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && reservation > 0 && memory < reservation {
        return invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    Ok(())
}

fn check_cpu(resources: &Resources, cpus: i64) -> Result<()> {
    let Resources { nano_cpus, cpu_period: period, cpu_quota: quota, .. } = *resources;
    if nano_cpus > 0 && period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if nano_cpus > 0 && quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if nano_cpus < 0 || nano_cpus > cpus * 1_000_000_000 {
        return invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if resources.cpu_shares < 0 {
        return invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            resources.cpu_shares
        ));
    }
    if period != 0 && !(1_000..=1_000_000).contains(&period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if quota > 0 && quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    Ok(())
}

fn check_log(host_config: &HostConfig) -> Result<()> {
    const OPTIONS: &[&str] = &[
        "max-file",
        "max-size",
        "compress",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "tag",
        "mode",
        "max-buffer-size",
    ];
    let kind = host_config.log_config.kind.as_str();
    match kind {
        "none" | "" => return Ok(()),
        "json-file" => {}
        _ => return invalid(format!("logger: no log driver named '{kind}' is registered")),
    }
    let unknown = |key: &&String| !OPTIONS.contains(&key.as_str());
    match host_config.log_config.config.keys().find(unknown) {
        Some(key) => invalid(format!("unknown log opt '{key}' for {kind} log driver")),
        None => Ok(()),
    }
}

/// As Docker: errors without a kind of their own (500).
fn check_security_options(host_config: &HostConfig) -> Result<()> {
    for option in host_config.security_opt.iter().flatten() {
        if option == "no-new-privileges" || option == "writable-cgroups" {
            continue;
        }
        let Some((key, _)) = option.split_once(['=', ':']) else {
            return Err(Error::internal(format!("invalid --security-opt 1: {option:?}")));
        };
        let known = ["label", "apparmor", "seccomp", "no-new-privileges", "writable-cgroups"]
            .contains(&key);
        if !known {
            return Err(Error::internal(format!("invalid --security-opt 2: {option:?}")));
        }
    }
    Ok(())
}

/// Limits that version 2 of cgroups doesn't have are no limits there, and Docker says so.
pub(crate) fn discard_unknown_limits(
    v2: bool,
    host_config: &mut HostConfig,
    warnings: &mut Vec<String>,
) {
    let resources = &mut host_config.resources;
    if !v2 {
        return;
    }
    if resources.memory_swappiness.is_some_and(|value| value != -1) {
        warnings.push(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not \
             mounted. Memory swappiness discarded."
                .to_owned(),
        );
        resources.memory_swappiness = None;
    }
    if resources.oom_kill_disable == Some(true) {
        warnings.push(
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned(),
        );
        resources.oom_kill_disable = None;
    }
}

fn warnings(host_config: &HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let publishes = host_config.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    if host_config.network_mode == "host" && (publishes || host_config.publish_all_ports) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if host_config.resources.oom_kill_disable == Some(true) && host_config.resources.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result \
             in the system running out of resources."
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    #[test]
    fn limits_of_version_1_are_discarded_on_version_2() {
        let mut host_config = HostConfig::default();
        host_config.resources.memory_swappiness = Some(10);
        host_config.resources.oom_kill_disable = Some(true);
        let mut warnings = Vec::new();
        discard_unknown_limits(false, &mut host_config, &mut warnings);
        assert!(warnings.is_empty() && host_config.resources.memory_swappiness.is_some());
        discard_unknown_limits(true, &mut host_config, &mut warnings);
        assert_eq!((warnings.len(), host_config.resources.memory_swappiness), (2, None));
        assert_eq!(host_config.resources.oom_kill_disable, None);
    }

    use davit_api::container::PortBinding;

    use super::*;

    fn refused(change: impl FnOnce(&mut Config, &mut HostConfig)) -> String {
        let (mut config, mut host_config) = (Config::default(), HostConfig::default());
        change(&mut config, &mut host_config);
        check(&config, &host_config, 2).expect_err("must be refused").to_string()
    }

    #[test]
    fn limits_are_refused_in_dockers_words() {
        type Change = fn(&mut Resources);
        let table: [(Change, &str); 8] = [
            (|r| r.memory = 1000, "Minimum memory limit allowed is 6MB"),
            (
                |r| (r.memory, r.memory_swap) = (8 * MIB, 7 * MIB),
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            (
                |r| r.memory_swap = 8 * MIB,
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ),
            (
                |r| r.memory_swappiness = Some(101),
                "Invalid value: 101, valid memory swappiness range is 0-100",
            ),
            (
                |r| r.nano_cpus = 3_000_000_000,
                "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            ),
            (
                |r| (r.nano_cpus, r.cpu_quota) = (1, 1),
                "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
            ),
            (|r| r.cpu_quota = 1, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
            (|r| r.blkio_weight = 5, "range of blkio weight is from 10 to 1000"),
        ];
        for (change, message) in table {
            assert_eq!(refused(|_, host_config| change(&mut host_config.resources)), message);
        }
    }

    #[test]
    fn policies_options_and_names_are_refused_in_dockers_words() {
        assert_eq!(
            refused(|_, h| h.restart_policy.name = "sometimes".into()),
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', \
             'on-failure', or 'unless-stopped'"
        );
        assert_eq!(
            refused(|_, h| (h.auto_remove, h.restart_policy.name) = (true, "always".into())),
            "can't create 'AutoRemove' container with restart policy"
        );
        assert_eq!(
            refused(|_, h| h.cap_add = Some(vec!["NOSUCH".into()])),
            "invalid CapAdd: unknown capability: \"CAP_NOSUCH\""
        );
        assert_eq!(
            refused(|_, h| h.security_opt = Some(vec!["nosuch".into()])),
            "invalid --security-opt 1: \"nosuch\""
        );
        assert_eq!(
            refused(|_, h| {
                h.log_config.kind = "json-file".into();
                h.log_config.config.insert("nosuch".into(), "1".into());
            }),
            "unknown log opt 'nosuch' for json-file log driver"
        );
        assert_eq!(
            refused(|c, _| c.working_dir = "tmp".into()),
            "the working directory 'tmp' is invalid, it needs to be an absolute path"
        );
    }

    #[test]
    fn ports_addresses_and_paths_are_refused_in_dockers_words() {
        type Change = fn(&mut HostConfig);
        fn publish(host_config: &mut HostConfig, port: &str, host_ip: &str, host_port: &str) {
            let binding = PortBinding { host_ip: host_ip.into(), host_port: host_port.into() };
            host_config.port_bindings = Some([(port.to_owned(), Some(vec![binding]))].into());
        }
        let table: [(Change, &str); 9] = [
            (
                |h| publish(h, "99999", "", ""),
                "invalid JSON: invalid port '99999': value out of range",
            ),
            (|h| publish(h, "abc/tcp", "", ""), "invalid JSON: invalid port 'abc': invalid syntax"),
            (|h| publish(h, "/tcp", "", ""), "invalid JSON: invalid port '': value is empty"),
            (
                |h| publish(h, "80", "999.1.1.1", ""),
                "invalid JSON: ParseAddr(\"999.1.1.1\"): IPv4 field has value >255",
            ),
            (|h| publish(h, "80", "", "9-8"), "invalid port specification: \"9-8\""),
            (|h| publish(h, "80", "", "70000"), "invalid port specification: \"70000\""),
            (
                |h| h.dns = Some(vec!["bogus".into()]),
                "invalid JSON: ParseAddr(\"bogus\"): unable to parse IP",
            ),
            (|h| h.userns_mode = "bogus".into(), "invalid user namespace mode: bogus"),
            (
                |h| drop(h.tmpfs.insert("rel".into(), String::new())),
                "invalid mount path: 'rel' mount path must be absolute",
            ),
        ];
        for (change, message) in table {
            assert_eq!(refused(|_, host_config| change(host_config)), message);
        }
        let mut accepted =
            HostConfig { dns: Some(vec!["fe80::1%eth0".into()]), ..HostConfig::default() };
        publish(&mut accepted, "80/zzz", "[::1]", "8000-8010");
        check(&Config::default(), &accepted, 2).expect("Docker takes any protocol at create");
    }

    #[test]
    fn cpusets_are_compared_with_the_hosts() {
        let check = |cpus: &str, mems: &str| {
            let resources = Resources {
                cpuset_cpus: cpus.into(),
                cpuset_mems: mems.into(),
                ..Resources::default()
            };
            check_cpusets(&resources, "0-1,4", "0").map_err(|error| error.to_string())
        };
        for (cpus, mems) in [("", ""), ("0", "0"), ("0-1,4", ""), ("4", "0-0")] {
            assert_eq!(check(cpus, mems), Ok(()), "{cpus} {mems}");
        }
        for (cpus, mems, message) in [
            ("99", "", "Requested CPUs are not available - requested 99, available: 0-1,4"),
            (
                "0-4294967295",
                "",
                "Requested CPUs are not available - requested 0-4294967295, available: 0-1,4",
            ),
            ("0,", "", "Invalid value 0, for cpuset cpus: invalid format: 0,"),
            ("1-0", "", "Invalid value 1-0 for cpuset cpus: invalid format: 1-0"),
            ("", "1", "Requested memory nodes are not available - requested 1, available: 0"),
            ("", "x", "Invalid value x for cpuset mems: invalid format: x"),
        ] {
            assert_eq!(check(cpus, mems).expect_err(message), message);
        }
    }

    #[test]
    fn what_docker_accepts_is_accepted() {
        let host_config = HostConfig {
            cap_add: Some(vec!["all".into(), "net_admin".into(), "CAP_SYS_TIME".into()]),
            restart_policy: RestartPolicy { name: "on-failure".into(), maximum_retry_count: 3 },
            security_opt: Some(vec!["seccomp=unconfined".into()]),
            ..HostConfig::default()
        };
        assert!(check(&Config::default(), &host_config, 2).expect("valid").is_empty());
    }
}
