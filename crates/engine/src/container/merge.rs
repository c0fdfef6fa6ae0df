//! What a container's settings become: the image's filled in, then the daemon's defaults. Pure.

use std::collections::BTreeMap;

use davit_api::container::{Config, HealthConfig, HostConfig};
use davit_api::lenient::Empty;
use davit_image::RunConfig;
use davit_types::{Error, Result};

/// Paths that are hidden from a container unless its creator says otherwise.
const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that can't be written to unless the container's creator says otherwise.
const READONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Fills in what the image says and the user did not.
pub(crate) fn merge_image(config: &mut Config, image: &RunConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    for port in image.exposed_ports.iter().flatten().map(|(port, _)| port) {
        config.exposed_ports.entry(port.clone()).or_insert(Empty);
    }
    merge_env(&mut config.env, image.env.as_deref());
    let labels = config.labels.get_or_insert_default();
    for (key, value) in image.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    merge_command(config, image);
    merge_healthcheck(config, image);
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if let Some(volumes) = image.volumes.as_ref().filter(|volumes| !volumes.is_empty()) {
        let merged = config.volumes.get_or_insert_default();
        merged.extend(volumes.keys().map(|path| (path.clone(), Empty)));
    }
}

/// The image's variables follow the user's, unless the user sets them.
fn merge_env(env: &mut Option<Vec<String>>, image: Option<&[String]>) {
    if env.as_ref().is_none_or(Vec::is_empty) {
        *env = image.map(<[String]>::to_vec);
        return;
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let env = env.get_or_insert_default();
    for variable in image.into_iter().flatten() {
        if !env.iter().any(|present| name(present) == name(variable)) {
            env.push(variable.clone());
        }
    }
}

/// The image's command counts only if the user gives neither; an entry point of `[""]` clears it.
fn merge_command(config: &mut Config, image: &RunConfig) {
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if config.entrypoint.as_deref().is_some_and(|words| matches!(words, [word] if word.is_empty()))
    {
        config.entrypoint = None;
    }
}

fn merge_healthcheck(config: &mut Config, image: &RunConfig) {
    let Some(from) = &image.healthcheck else { return };
    let to = config.healthcheck.get_or_insert_with(HealthConfig::default);
    if to.test.is_empty() {
        to.test = from.test.clone().unwrap_or_default();
    }
    for (to, from) in [
        (&mut to.interval, from.interval),
        (&mut to.timeout, from.timeout),
        (&mut to.start_period, from.start_period),
        (&mut to.start_interval, from.start_interval),
        (&mut to.retries, from.retries),
    ] {
        if *to == 0 {
            *to = from;
        }
    }
}

/// Program and arguments: the entry point followed by the command.
///
/// # Errors
/// There is neither.
pub(crate) fn command(config: &Config) -> Result<(String, Vec<String>)> {
    let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
    let mut words = words.cloned();
    let path = words.next().ok_or_else(|| Error::invalid("no command specified"))?;
    Ok((path, words.collect()))
}

/// The daemon's defaults.
#[derive(Debug, Clone)]
pub(crate) struct Defaults<'a> {
    pub(crate) config: &'a crate::Config,
    /// The unified hierarchy is in use.
    pub(crate) cgroup_v2: bool,
}

/// Fills in the daemon's defaults.
pub(crate) fn fill_defaults(host_config: &mut HostConfig, defaults: &Defaults<'_>) {
    let set = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    set(&mut host_config.restart_policy.name, "no");
    set(&mut host_config.ipc_mode, "private");
    set(&mut host_config.runtime, &defaults.config.default_runtime);
    let cgroupns = match defaults.config.cgroupns_mode.as_str() {
        "" if defaults.cgroup_v2 && !host_config.privileged => "private",
        "" => "host",
        configured => configured,
    };
    set(&mut host_config.cgroupns_mode, cgroupns);
    if matches!(host_config.network_mode.as_str(), "" | "default") {
        "bridge".clone_into(&mut host_config.network_mode);
    }
    if host_config.log_config.kind.is_empty() {
        host_config.log_config.kind.clone_from(&defaults.config.log.kind);
        if host_config.log_config.config.is_empty() {
            host_config.log_config.config.clone_from(&defaults.config.log.config);
        }
    }
    if host_config.shm_size == 0 {
        host_config.shm_size = defaults.config.shm_size;
    }
    if host_config.resources.memory > 0 && host_config.resources.memory_swap == 0 {
        host_config.resources.memory_swap = host_config.resources.memory * 2;
    }
    host_config.resources.oom_kill_disable.get_or_insert(false);
    host_config.port_bindings.get_or_insert_with(BTreeMap::new);
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    if !host_config.privileged {
        host_config.masked_paths.get_or_insert_with(|| owned(MASKED_PATHS));
        host_config.readonly_paths.get_or_insert_with(|| owned(READONLY_PATHS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn command_and_entry_point_follow_dockers_rules() {
        let image =
            RunConfig { entrypoint: list(&["/e"]), cmd: list(&["a"]), ..RunConfig::default() };
        for (entrypoint, cmd, result) in [
            (None, None, Some(vec!["/e", "a"])),
            (None, list(&["b"]), Some(vec!["/e", "b"])),
            (list(&["/x"]), None, Some(vec!["/x"])),
            (list(&["/x"]), list(&["y"]), Some(vec!["/x", "y"])),
            (list(&[""]), list(&["y"]), Some(vec!["y"])),
            (list(&[]), list(&["y"]), Some(vec!["y"])),
            (list(&[""]), None, None),
        ] {
            let mut config = Config { entrypoint, cmd, ..Config::default() };
            merge_image(&mut config, &image);
            let words = command(&config)
                .ok()
                .map(|(path, args)| std::iter::once(path).chain(args).collect::<Vec<_>>());
            assert_eq!(words, result.map(|words| words.iter().map(ToString::to_string).collect()));
        }
    }

    #[test]
    fn variables_and_labels_of_the_user_win() {
        let image = RunConfig {
            env: list(&["PATH=/bin", "A=image"]),
            labels: Some([("k".to_owned(), "image".to_owned())].into()),
            ..RunConfig::default()
        };
        let mut config = Config { env: list(&["A=b"]), ..Config::default() };
        config.labels = Some([("k".to_owned(), "user".to_owned())].into());
        merge_image(&mut config, &image);
        assert_eq!(config.env, list(&["A=b", "PATH=/bin"]));
        assert_eq!(config.labels.expect("labels")["k"], "user");

        let mut config = Config::default();
        merge_image(&mut config, &RunConfig::default());
        assert_eq!((config.env, config.labels), (None, Some(BTreeMap::new())));
    }

    #[test]
    fn defaults_are_dockers() {
        let config = crate::Config::default();
        let mut host_config = HostConfig::default();
        host_config.resources.memory = 8 << 20;
        fill_defaults(&mut host_config, &Defaults { config: &config, cgroup_v2: false });
        assert_eq!(host_config.resources.memory_swap, 16 << 20);
        assert_eq!(host_config.network_mode, "bridge");
        assert_eq!(host_config.cgroupns_mode, "host");
        assert_eq!(host_config.runtime, "runc");
        assert_eq!(host_config.log_config.kind, "json-file");
        assert_eq!(host_config.restart_policy.name, "no");
        assert_eq!(host_config.shm_size, 64 << 20);
        assert_eq!(host_config.masked_paths.expect("paths").len(), 12);
    }
}
