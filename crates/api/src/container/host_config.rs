//! What a container is given by this host: Docker's `HostConfig`, in the order Docker writes it.
//!
//! It is stored verbatim as `hostconfig.json`. Enum-like strings stay strings: a value this version
//! does not know must survive being read and written back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mount::Mount;
use super::resources::Resources;
use crate::lenient::null_as_default as null;
use crate::lenient::string_or_list;

/// The host-dependent part of a container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// `source:target[:options]` mounts.
    pub binds: Option<Vec<String>>,
    /// File the client writes the id to; only stored.
    #[serde(rename = "ContainerIDFile", deserialize_with = "null")]
    pub container_id_file: String,
    /// Where the output goes.
    #[serde(deserialize_with = "null")]
    pub log_config: LogConfig,
    /// `bridge`, `host`, `none`, `container:<id>` or a network's name.
    #[serde(deserialize_with = "null")]
    pub network_mode: String,
    /// Published ports by `port/protocol`.
    pub port_bindings: Option<PortMap>,
    /// What to do when the container ends.
    #[serde(deserialize_with = "null")]
    pub restart_policy: RestartPolicy,
    /// Remove the container when it ends.
    #[serde(deserialize_with = "null")]
    pub auto_remove: bool,
    /// Driver of volumes named in `Binds`.
    #[serde(deserialize_with = "null")]
    pub volume_driver: String,
    /// Containers whose volumes are mounted too, `name[:ro|rw]`.
    pub volumes_from: Option<Vec<String>>,
    /// First size of the terminal: height, width.
    #[serde(deserialize_with = "null")]
    pub console_size: [u32; 2],
    /// Annotations handed to the runtime.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Capabilities added to the default set.
    #[serde(deserialize_with = "string_or_list")]
    pub cap_add: Option<Vec<String>>,
    /// Capabilities dropped from the default set.
    #[serde(deserialize_with = "string_or_list")]
    pub cap_drop: Option<Vec<String>>,
    /// `private` or `host`.
    #[serde(deserialize_with = "null")]
    pub cgroupns_mode: String,
    /// DNS servers.
    pub dns: Option<Vec<String>>,
    /// Options of the resolver.
    pub dns_options: Option<Vec<String>>,
    /// Search domains.
    pub dns_search: Option<Vec<String>>,
    /// `name:address` lines for /etc/hosts.
    pub extra_hosts: Option<Vec<String>>,
    /// Supplementary groups.
    pub group_add: Option<Vec<String>>,
    /// `private`, `shareable`, `host`, `none` or `container:<id>`.
    #[serde(deserialize_with = "null")]
    pub ipc_mode: String,
    /// Cgroup to use, `container:<id>`; unused.
    #[serde(deserialize_with = "null")]
    pub cgroup: String,
    /// Legacy links, `container:alias`.
    pub links: Option<Vec<String>>,
    /// Added to the score of the kernel's OOM killer.
    #[serde(deserialize_with = "null")]
    pub oom_score_adj: i64,
    /// Empty for private, `host` or `container:<id>`.
    #[serde(deserialize_with = "null")]
    pub pid_mode: String,
    /// All capabilities and devices, nothing masked.
    #[serde(deserialize_with = "null")]
    pub privileged: bool,
    /// Publish every exposed port on a free host port.
    #[serde(deserialize_with = "null")]
    pub publish_all_ports: bool,
    /// Mount the root read-only.
    #[serde(deserialize_with = "null")]
    pub readonly_rootfs: bool,
    /// Options of the security modules.
    pub security_opt: Option<Vec<String>>,
    /// Options of the storage driver.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_opt: BTreeMap<String, String>,
    /// Paths that get a tmpfs, with its options.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Empty for private, or `host`.
    #[serde(rename = "UTSMode", deserialize_with = "null")]
    pub uts_mode: String,
    /// Empty for the daemon's, or `host`.
    #[serde(deserialize_with = "null")]
    pub userns_mode: String,
    /// Size of /dev/shm in bytes.
    #[serde(deserialize_with = "null")]
    pub shm_size: i64,
    /// Namespaced kernel parameters.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Name of the runtime.
    #[serde(deserialize_with = "null")]
    pub runtime: String,
    /// Windows only.
    #[serde(deserialize_with = "null")]
    pub isolation: String,
    /// Limits and devices.
    #[serde(flatten)]
    pub resources: Resources,
    /// Mounts by description.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Paths hidden from the container; absent: Docker's.
    pub masked_paths: Option<Vec<String>>,
    /// Paths made read-only; absent: Docker's.
    pub readonly_paths: Option<Vec<String>>,
    /// Run an init process that reaps children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct LogConfig {
    /// The logging driver, `json-file` by default.
    #[serde(rename = "Type", deserialize_with = "null")]
    pub kind: String,
    /// The driver's options.
    #[serde(deserialize_with = "null")]
    pub config: BTreeMap<String, String>,
}

/// What to do when a container ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `no` (or empty), `always`, `unless-stopped` or `on-failure`.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Restarts allowed with `on-failure`; 0 for any number.
    #[serde(deserialize_with = "null")]
    pub maximum_retry_count: i64,
}

/// A port of the host that leads to a container's port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortBinding {
    /// Address of the host, empty for all.
    #[serde(deserialize_with = "null")]
    pub host_ip: String,
    /// Port of the host, empty for a free one, or a range.
    #[serde(deserialize_with = "null")]
    pub host_port: String,
}

/// Host ports by container port (`80/tcp`); `None` for an exposed port that is not published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;
