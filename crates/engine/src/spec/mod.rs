//! The OCI runtime configuration of a container: Docker's defaults, the image's and the user's wishes.
//!
//! Pure: everything read from the host comes in with [`SpecInput`] (or is read by
//! [`devices::resolve`] and [`HostFacts::probe`] beforehand), so a spec can be tested without root.
//! The result is the document itself (OCI runtime-spec 1.3.0, `config.md`), because its only use is
//! to be written to `config.json`.

pub mod capabilities;
pub mod devices;
mod input;
mod mounts;
mod process;
mod resources;

pub(crate) use resources::limits;
pub mod seccomp;
#[cfg(test)]
mod tests;

use davit_types::Result;
use serde_json::{Map, Value, json};

pub use input::{HostFacts, Mount, Namespace, SharedMemory, SpecInput};
pub use process::{ExecInput, exec_process};

/// Version of the runtime specification that the documents follow.
pub const OCI_VERSION: &str = "1.3.0";

/// The `config.json` of a container.
///
/// # Errors
/// Unknown capability names, a malformed seccomp profile or device cgroup rule.
pub fn oci_spec(input: &SpecInput<'_>) -> Result<Value> {
    let capabilities = capabilities::effective(input.host_config, &input.host.capabilities)?;
    let mut spec = json!({
        "ociVersion": OCI_VERSION,
        "process": process::container_process(input, &capabilities)?,
        "root": { "path": input.root, "readonly": input.host_config.readonly_rootfs },
        "mounts": mounts::mounts(input),
        "linux": linux(input, &capabilities)?,
    });
    if input.uts != Namespace::Host {
        spec["hostname"] = json!(input.hostname);
        if !input.config.domainname.is_empty() {
            spec["domainname"] = json!(input.config.domainname);
        }
    }
    if !input.host_config.annotations.is_empty() {
        spec["annotations"] = json!(input.host_config.annotations);
    }
    Ok(spec)
}

fn linux(input: &SpecInput<'_>, capabilities: &[String]) -> Result<Value> {
    let host_config = input.host_config;
    let mut linux = json!({
        "cgroupsPath": input.cgroup_path,
        "namespaces": namespaces(input),
        "resources": resources::resources(input)?,
        "sysctl": sysctls(input),
        "maskedPaths": host_config.masked_paths.as_deref().unwrap_or_default(),
        "readonlyPaths": host_config.readonly_paths.as_deref().unwrap_or_default(),
        "devices": input.devices.iter().map(devices::HostDevice::node).collect::<Vec<_>>(),
    });
    if host_config.privileged {
        linux["maskedPaths"] = json!([]);
        linux["readonlyPaths"] = json!([]);
    }
    if let Some(propagation) = mounts::rootfs_propagation(&input.mounts) {
        linux["rootfsPropagation"] = json!(propagation);
    }
    if let Some(profile) = seccomp::profile(input, capabilities)? {
        linux["seccomp"] = profile;
    }
    Ok(linux)
}

/// The namespaces in the order Docker writes them. One that is the host's is left out.
fn namespaces(input: &SpecInput<'_>) -> Vec<Value> {
    let cgroup = match input.host_config.cgroupns_mode.as_str() {
        "private" => Namespace::Private,
        _ => Namespace::Host,
    };
    let time = if input.host.time_namespaces { Namespace::Private } else { Namespace::Host };
    [
        ("mount", &Namespace::Private),
        ("network", &input.network),
        ("time", &time),
        ("uts", &input.uts),
        ("pid", &input.pid),
        ("ipc", &input.ipc),
        ("cgroup", &cgroup),
    ]
    .into_iter()
    .filter_map(|(kind, namespace)| match namespace {
        Namespace::Host => None,
        Namespace::Private => Some(json!({ "type": kind })),
        Namespace::Path(path) => Some(json!({ "type": kind, "path": path })),
    })
    .collect()
}

/// The user's sysctls over Docker's two defaults, which need a network namespace of the container's.
fn sysctls(input: &SpecInput<'_>) -> Map<String, Value> {
    let mut sysctls = Map::new();
    if input.network != Namespace::Host {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), json!("0"));
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), json!("0 2147483647"));
    }
    for (key, value) in &input.host_config.sysctls {
        sysctls.insert(key.clone(), json!(value));
    }
    sysctls
}
