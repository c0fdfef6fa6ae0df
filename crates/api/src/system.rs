//! The engine itself: version, info, disk usage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::Summary;
use crate::image::ImageSummary;
use crate::lenient::null_as_default as null;
use crate::volume::Volume;

/// Answer to `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VersionResponse {
    /// Name of the distribution.
    #[serde(deserialize_with = "null")]
    pub platform: VersionPlatform,
    /// Version of the engine.
    #[serde(deserialize_with = "null")]
    pub version: String,
    /// Newest API version.
    #[serde(deserialize_with = "null")]
    pub api_version: String,
    /// Oldest API version.
    #[serde(rename = "MinAPIVersion", deserialize_with = "null")]
    pub min_api_version: String,
    /// `linux`.
    #[serde(deserialize_with = "null")]
    pub os: String,
    /// CPU architecture in Go's words.
    #[serde(deserialize_with = "null")]
    pub arch: String,
    /// Parts and their versions.
    #[serde(deserialize_with = "null")]
    pub components: Vec<ComponentVersion>,
    /// Commit it was built from.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    /// Compiler; kept under Docker's key.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub go_version: String,
    /// The kernel's version.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub kernel_version: String,
    /// Experimental features are on.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub experimental: bool,
    /// When it was built.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub build_time: String,
}

/// Name of the distribution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VersionPlatform {
    /// The name.
    #[serde(deserialize_with = "null")]
    pub name: String,
}

/// Version of a part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ComponentVersion {
    /// The part.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Its version.
    #[serde(deserialize_with = "null")]
    pub version: String,
    /// More about it.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Answer to `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Info {
    /// Id of this engine.
    #[serde(rename = "ID", deserialize_with = "null")]
    pub id: String,
    /// All containers.
    #[serde(deserialize_with = "null")]
    pub containers: i64,
    /// Those that run.
    #[serde(deserialize_with = "null")]
    pub containers_running: i64,
    /// Those that are paused.
    #[serde(deserialize_with = "null")]
    pub containers_paused: i64,
    /// The others.
    #[serde(deserialize_with = "null")]
    pub containers_stopped: i64,
    /// All images.
    #[serde(deserialize_with = "null")]
    pub images: i64,
    /// Storage driver.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// Facts about it.
    #[serde(deserialize_with = "null")]
    pub driver_status: Vec<[String; 2]>,
    /// Drivers there are.
    #[serde(deserialize_with = "null")]
    pub plugins: PluginsInfo,
    /// Memory can be limited.
    #[serde(deserialize_with = "null")]
    pub memory_limit: bool,
    /// Swap can be limited.
    #[serde(deserialize_with = "null")]
    pub swap_limit: bool,
    /// The CFS period can be set.
    #[serde(deserialize_with = "null")]
    pub cpu_cfs_period: bool,
    /// The CFS quota can be set.
    #[serde(deserialize_with = "null")]
    pub cpu_cfs_quota: bool,
    /// CPU weights can be set.
    #[serde(rename = "CPUShares", deserialize_with = "null")]
    pub cpu_shares: bool,
    /// CPUs can be chosen.
    #[serde(rename = "CPUSet", deserialize_with = "null")]
    pub cpu_set: bool,
    /// Processes can be limited.
    #[serde(deserialize_with = "null")]
    pub pids_limit: bool,
    /// The kernel forwards IPv4.
    #[serde(rename = "IPv4Forwarding", deserialize_with = "null")]
    pub ipv4_forwarding: bool,
    /// Debug output is on.
    #[serde(deserialize_with = "null")]
    pub debug: bool,
    /// Open file descriptors.
    #[serde(deserialize_with = "null")]
    pub n_fd: i64,
    /// The OOM killer can be kept away.
    #[serde(deserialize_with = "null")]
    pub oom_kill_disable: bool,
    /// Tasks; kept under Docker's key.
    #[serde(deserialize_with = "null")]
    pub n_goroutines: i64,
    /// Now.
    #[serde(deserialize_with = "null")]
    pub system_time: String,
    /// Default logging driver.
    #[serde(deserialize_with = "null")]
    pub logging_driver: String,
    /// `cgroupfs` or `systemd`.
    #[serde(deserialize_with = "null")]
    pub cgroup_driver: String,
    /// `1` or `2`.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub cgroup_version: String,
    /// Clients that read events.
    #[serde(deserialize_with = "null")]
    pub n_events_listener: i64,
    /// The kernel's version.
    #[serde(deserialize_with = "null")]
    pub kernel_version: String,
    /// Name of the distribution.
    #[serde(deserialize_with = "null")]
    pub operating_system: String,
    /// Its version.
    #[serde(rename = "OSVersion", deserialize_with = "null")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType", deserialize_with = "null")]
    pub os_type: String,
    /// CPU architecture as `uname` has it.
    #[serde(deserialize_with = "null")]
    pub architecture: String,
    /// Address of the default registry.
    #[serde(deserialize_with = "null")]
    pub index_server_address: String,
    /// Registries.
    pub registry_config: Option<RegistryConfig>,
    /// CPUs.
    #[serde(rename = "NCPU", deserialize_with = "null")]
    pub ncpu: i64,
    /// Memory in bytes.
    #[serde(deserialize_with = "null")]
    pub mem_total: i64,
    /// Swarm only.
    pub generic_resources: Option<Vec<String>>,
    /// The data root.
    #[serde(deserialize_with = "null")]
    pub docker_root_dir: String,
    /// Proxy for HTTP.
    #[serde(deserialize_with = "null")]
    pub http_proxy: String,
    /// Proxy for HTTPS.
    #[serde(deserialize_with = "null")]
    pub https_proxy: String,
    /// Hosts without proxy.
    #[serde(deserialize_with = "null")]
    pub no_proxy: String,
    /// Host name.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Labels of the engine.
    #[serde(deserialize_with = "null")]
    pub labels: Vec<String>,
    /// Experimental features are on.
    #[serde(deserialize_with = "null")]
    pub experimental_build: bool,
    /// Version of the engine.
    #[serde(deserialize_with = "null")]
    pub server_version: String,
    /// Runtimes.
    #[serde(deserialize_with = "null")]
    pub runtimes: BTreeMap<String, RuntimeInfo>,
    /// The default one.
    #[serde(deserialize_with = "null")]
    pub default_runtime: String,
    /// Swarm state.
    #[serde(deserialize_with = "null")]
    pub swarm: SwarmInfo,
    /// Containers outlive the daemon.
    #[serde(deserialize_with = "null")]
    pub live_restore_enabled: bool,
    /// Windows only.
    #[serde(deserialize_with = "null")]
    pub isolation: String,
    /// Program for `--init`.
    #[serde(deserialize_with = "null")]
    pub init_binary: String,
    /// Not used.
    #[serde(deserialize_with = "null")]
    pub containerd_commit: Commit,
    /// Version of the runtime.
    #[serde(deserialize_with = "null")]
    pub runc_commit: Commit,
    /// Version of the init program.
    #[serde(deserialize_with = "null")]
    pub init_commit: Commit,
    /// Security features.
    #[serde(deserialize_with = "null")]
    pub security_options: Vec<String>,
    /// How ports are published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall_backend: Option<FirewallInfo>,
    /// Directories of CDI devices.
    #[serde(rename = "CDISpecDirs")]
    pub cdi_spec_dirs: Option<Vec<String>>,
    /// What is amiss.
    pub warnings: Option<Vec<String>>,
}

/// Drivers by kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct PluginsInfo {
    /// For volumes.
    #[serde(deserialize_with = "null")]
    pub volume: Vec<String>,
    /// For networks.
    #[serde(deserialize_with = "null")]
    pub network: Vec<String>,
    /// For authorization.
    pub authorization: Option<Vec<String>>,
    /// For logs.
    #[serde(deserialize_with = "null")]
    pub log: Vec<String>,
}

/// Registries as configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct RegistryConfig {
    /// Networks where plain HTTP is allowed.
    #[serde(rename = "InsecureRegistryCIDRs", deserialize_with = "null")]
    pub insecure_registry_cidrs: Vec<String>,
    /// Registries by name.
    #[serde(deserialize_with = "null")]
    pub index_configs: BTreeMap<String, IndexInfo>,
    /// Mirrors of the default registry.
    #[serde(deserialize_with = "null")]
    pub mirrors: Vec<String>,
}

/// A registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexInfo {
    /// Its name.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Its mirrors.
    #[serde(deserialize_with = "null")]
    pub mirrors: Vec<String>,
    /// TLS is a must.
    #[serde(deserialize_with = "null")]
    pub secure: bool,
    /// The default registry.
    #[serde(deserialize_with = "null")]
    pub official: bool,
}

/// A runtime.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct RuntimeInfo {
    /// Its program.
    #[serde(rename = "path", deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Its arguments.
    #[serde(
        rename = "runtimeArgs",
        deserialize_with = "null",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub runtime_args: Vec<String>,
    /// What it says about itself.
    #[serde(
        rename = "status",
        deserialize_with = "null",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub status: BTreeMap<String, String>,
}

/// Swarm state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmInfo {
    /// Always empty.
    #[serde(rename = "NodeID", deserialize_with = "null")]
    pub node_id: String,
    /// Always empty.
    #[serde(deserialize_with = "null")]
    pub node_addr: String,
    /// `inactive`.
    #[serde(deserialize_with = "null")]
    pub local_node_state: String,
    /// Always false.
    #[serde(deserialize_with = "null")]
    pub control_available: bool,
    /// Always empty.
    #[serde(deserialize_with = "null")]
    pub error: String,
    /// Always `null`.
    pub remote_managers: Option<Vec<String>>,
}

/// A version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Commit {
    /// The version.
    #[serde(rename = "ID", deserialize_with = "null")]
    pub id: String,
}

/// How ports are published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct FirewallInfo {
    /// `nftables`.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// Facts about it.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub info: Vec<[String; 2]>,
}

/// Answer to `GET /system/df` in all its shapes; the daemon leaves out what a version lacks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all layers.
    #[serde(deserialize_with = "null")]
    pub layers_size: i64,
    /// Images.
    #[serde(deserialize_with = "null")]
    pub images: Vec<ImageSummary>,
    /// Containers.
    #[serde(deserialize_with = "null")]
    pub containers: Vec<Summary>,
    /// Volumes.
    #[serde(deserialize_with = "null")]
    pub volumes: Vec<Volume>,
}
