//! Namespaces, privileges, security options and devices.

use clap::Args;
use davit_api::container::{Config, DeviceMapping, DeviceRequest, HostConfig};

use crate::failure::{Failure, go_io_error};
use crate::flags::text::{comma_separated, key_value};
use crate::flags::values;

#[derive(Debug, Args)]
pub(super) struct NamespaceFlags {
    /// Capability to add
    #[arg(long)]
    cap_add: Vec<String>,
    /// Capability to drop
    #[arg(long)]
    cap_drop: Vec<String>,
    /// Cgroup namespace: host or private
    #[arg(long)]
    cgroupns: Option<String>,
    /// Device of the host, path[:path in the container][:rwm]
    #[arg(long)]
    device: Vec<String>,
    /// Additional rule for device access, such as 'c 1:3 rwm'
    #[arg(long, value_parser = values::device_cgroup_rule)]
    device_cgroup_rule: Vec<String>,
    /// GPUs to add, 'all' for every one
    #[arg(long, value_name = "gpu-request", value_parser = gpus)]
    gpus: Vec<DeviceRequest>,
    /// IPC namespace: none, private, shareable, host or container:NAME
    #[arg(long)]
    ipc: Option<String>,
    /// Isolation technology
    #[arg(long)]
    isolation: Option<String>,
    /// PID namespace: host or container:NAME
    #[arg(long)]
    pid: Option<String>,
    /// Give the container all privileges of the host's root
    #[arg(long)]
    privileged: bool,
    /// Security option, such as no-new-privileges or seccomp=FILE
    #[arg(long)]
    security_opt: Vec<String>,
    /// Kernel parameter, name=value
    #[arg(long, value_name = "map", value_parser = values::sysctl)]
    sysctl: Vec<String>,
    /// User namespace: host
    #[arg(long)]
    userns: Option<String>,
    /// UTS namespace: host
    #[arg(long)]
    uts: Option<String>,
}

impl NamespaceFlags {
    pub(super) fn apply(
        &self,
        _config: &mut Config,
        host_config: &mut HostConfig,
    ) -> Result<(), Failure> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        host_config.privileged = self.privileged;
        host_config.cap_add = capabilities(&self.cap_add);
        host_config.cap_drop = capabilities(&self.cap_drop);
        host_config.isolation = text(&self.isolation);
        host_config.ipc_mode = text(&self.ipc);
        host_config.pid_mode = mode(&self.pid, "pid", "PID", |m| m == "host" || has_container(m))?;
        host_config.uts_mode = mode(&self.uts, "uts", "UTS", |m| m == "host")?;
        host_config.userns_mode = mode(&self.userns, "userns", "USER", |m| m == "host")?;
        host_config.cgroupns_mode =
            mode(&self.cgroupns, "cgroupns", "CGROUP", |m| m == "host" || m == "private")?;
        host_config.sysctls = self.sysctl.iter().map(|text| key_value(text)).collect();
        self.apply_security(host_config)?;
        self.apply_devices(host_config)
    }

    fn apply_security(&self, host_config: &mut HostConfig) -> Result<(), Failure> {
        let mut options = Vec::new();
        for option in &self.security_opt {
            match option.as_str() {
                "systempaths=unconfined" => {
                    host_config.masked_paths = Some(Vec::new());
                    host_config.readonly_paths = Some(Vec::new());
                }
                _ => options.push(security_option(option)?),
            }
        }
        host_config.security_opt = (!self.security_opt.is_empty()).then_some(options);
        Ok(())
    }

    fn apply_devices(&self, host_config: &mut HostConfig) -> Result<(), Failure> {
        let mut requests = self.gpus.clone();
        let (cdi, paths): (Vec<_>, Vec<_>) = self.device.iter().partition(|text| is_cdi(text));
        if !cdi.is_empty() {
            requests.push(DeviceRequest {
                driver: "cdi".to_owned(),
                device_ids: Some(cdi.into_iter().cloned().collect()),
                ..DeviceRequest::default()
            });
        }
        let devices: Result<Vec<_>, _> = paths.into_iter().map(|text| device(text)).collect();
        host_config.resources.devices = Some(devices?);
        host_config.resources.device_requests = (!requests.is_empty()).then_some(requests);
        host_config.resources.device_cgroup_rules =
            (!self.device_cgroup_rule.is_empty()).then(|| self.device_cgroup_rule.clone());
        Ok(())
    }
}

fn mode(
    value: &Option<String>,
    flag: &str,
    kind: &str,
    is_known: impl Fn(&str) -> bool,
) -> Result<String, Failure> {
    match value.as_deref() {
        None | Some("") => Ok(String::new()),
        Some(mode) if is_known(mode) => Ok(mode.to_owned()),
        Some(_) => Err(Failure::new(format!("--{flag}: invalid {kind} mode"))),
    }
}

fn has_container(mode: &str) -> bool {
    mode.strip_prefix("container:").is_some_and(|name| !name.is_empty())
}

/// Capabilities with the kernel's full names; `None` when none are named.
fn capabilities(names: &[String]) -> Option<Vec<String>> {
    let normal = |name: &String| {
        let name = name.trim().to_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    let mut names: Vec<String> = names.iter().map(normal).collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then_some(names)
}

fn security_option(option: &str) -> Result<String, Failure> {
    let Some((name, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
        if option == "no-new-privileges" {
            return Ok(option.to_owned());
        }
        return Err(Failure::new(format!("Invalid --security-opt: {option:?}")));
    };
    if name != "seccomp" || value == "unconfined" || value == "builtin" {
        return Ok(option.to_owned());
    }
    let profile = std::fs::read(value).map_err(|error| {
        let reason = go_io_error(&error);
        Failure::new(format!("opening seccomp profile ({value}) failed: open {value}: {reason}"))
    })?;
    let profile = crate::output::json::compact(&profile).map_err(|reason| {
        Failure::new(format!("compacting json for seccomp profile ({value}) failed: {reason}"))
    })?;
    Ok(format!("seccomp={profile}"))
}

/// `vendor.com/class=name`, a device of the Container Device Interface.
fn is_cdi(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    kind.split_once('/').is_some_and(|(vendor, class)| !vendor.is_empty() && !class.is_empty())
        && !name.is_empty()
}

fn device(text: &str) -> Result<DeviceMapping, Failure> {
    let is_mode =
        |mode: &str| !mode.is_empty() && mode.len() <= 3 && mode.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        [_, _, mode] => return Err(Failure::new(format!("bad mode specified: {mode}"))),
        _ => return Err(Failure::new(format!("invalid device specification: {text}"))),
    };
    if !container.starts_with('/') || !host.starts_with('/') {
        let wrong = if host.starts_with('/') { container } else { host };
        return Err(Failure::new(format!("bad format for path: {wrong}")));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// `all`, a count, or `device=...,capabilities=...`.
fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request =
        DeviceRequest { options: Some(Default::default()), ..DeviceRequest::default() };
    let mut capabilities = vec!["gpu".to_owned()];
    let mut has_count = false;
    let count = |value: &str| match value {
        "all" => Ok(-1),
        _ => value.parse().map_err(|_| {
            format!("invalid count ({value}): value must be either \"all\" or an integer")
        }),
    };
    for field in comma_separated(text)? {
        match field.split_once('=') {
            None => {
                request.count = count(&field)?;
                has_count = true;
            }
            Some(("driver", value)) => request.driver = value.to_owned(),
            Some(("count", value)) => {
                request.count = count(value)?;
                has_count = true;
            }
            Some(("device", value)) => {
                request.device_ids = Some(value.split(',').map(str::to_owned).collect())
            }
            Some(("capabilities", value)) => {
                capabilities = value.split(',').chain(["gpu"]).map(str::to_owned).collect();
            }
            Some(("options", value)) => {
                request.options =
                    Some(comma_separated(value)?.iter().map(|text| key_value(text)).collect());
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !has_count && request.device_ids.is_none() {
        request.count = 1;
    }
    request.capabilities = Some(vec![capabilities]);
    Ok(request)
}
