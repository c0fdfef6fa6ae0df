//! The answer of `GET /containers/{id}/json` in its newest form.
//!
//! Older versions get more keys; the daemon adds them.

use serde::{Deserialize, Serialize};

use super::{Config, HostConfig, MountPoint, NetworkSettings};
use crate::image::Descriptor;
use crate::lenient::null_as_default as null;
use crate::time::Time;

/// A container, in full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectResponse {
    /// The full id.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// When it was created.
    #[serde(deserialize_with = "null")]
    pub created: Time,
    /// The program.
    #[serde(deserialize_with = "null")]
    pub path: String,
    /// Its arguments.
    #[serde(deserialize_with = "null")]
    pub args: Vec<String>,
    /// What it is doing.
    #[serde(deserialize_with = "null")]
    pub state: ContainerState,
    /// Id of its image.
    #[serde(deserialize_with = "null")]
    pub image: String,
    /// File mounted as /etc/resolv.conf.
    #[serde(deserialize_with = "null")]
    pub resolv_conf_path: String,
    /// File mounted as /etc/hostname.
    #[serde(deserialize_with = "null")]
    pub hostname_path: String,
    /// File mounted as /etc/hosts.
    #[serde(deserialize_with = "null")]
    pub hosts_path: String,
    /// The json-file log.
    #[serde(deserialize_with = "null")]
    pub log_path: String,
    /// The name, with a slash in front.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Restarts by the restart policy.
    #[serde(deserialize_with = "null")]
    pub restart_count: i64,
    /// Storage driver.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// `linux`.
    #[serde(deserialize_with = "null")]
    pub platform: String,
    /// SELinux label of the mounts.
    #[serde(deserialize_with = "null")]
    pub mount_label: String,
    /// SELinux label of the process.
    #[serde(deserialize_with = "null")]
    pub process_label: String,
    /// AppArmor profile.
    #[serde(deserialize_with = "null")]
    pub app_armor_profile: String,
    /// Running exec instances; `null` when there is none.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// What the host gives it.
    #[serde(deserialize_with = "null")]
    pub host_config: HostConfig,
    /// Where its root comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Bytes in the writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of the whole root, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Its mounts.
    #[serde(deserialize_with = "null")]
    pub mounts: Vec<MountPoint>,
    /// What it runs.
    #[serde(deserialize_with = "null")]
    pub config: Config,
    /// Its networks.
    #[serde(deserialize_with = "null")]
    pub network_settings: NetworkSettings,
    /// Manifest of its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<Descriptor>,
}

/// What a container is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    #[serde(deserialize_with = "null")]
    pub status: String,
    /// Its process is there; also while paused.
    #[serde(deserialize_with = "null")]
    pub running: bool,
    /// It is frozen.
    #[serde(deserialize_with = "null")]
    pub paused: bool,
    /// It waits for the restart policy.
    #[serde(deserialize_with = "null")]
    pub restarting: bool,
    /// The kernel killed it for lack of memory.
    #[serde(rename = "OOMKilled", deserialize_with = "null")]
    pub oom_killed: bool,
    /// It could not be removed completely.
    #[serde(deserialize_with = "null")]
    pub dead: bool,
    /// Process id on the host, 0 when stopped.
    #[serde(deserialize_with = "null")]
    pub pid: i64,
    /// How it ended the last time.
    #[serde(deserialize_with = "null")]
    pub exit_code: i64,
    /// Why it could not be started.
    #[serde(deserialize_with = "null")]
    pub error: String,
    /// Last start, year 1 if never.
    #[serde(deserialize_with = "null")]
    pub started_at: Time,
    /// Last end, year 1 if never.
    #[serde(deserialize_with = "null")]
    pub finished_at: Time,
    /// Result of the health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Result of the health checks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    #[serde(deserialize_with = "null")]
    pub status: String,
    /// Consecutive failures.
    #[serde(deserialize_with = "null")]
    pub failing_streak: i64,
    /// The last five results.
    pub log: Option<Vec<HealthcheckResult>>,
}

/// One health check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthcheckResult {
    /// When it began.
    #[serde(deserialize_with = "null")]
    pub start: Time,
    /// When it ended.
    #[serde(deserialize_with = "null")]
    pub end: Time,
    /// How it ended.
    #[serde(deserialize_with = "null")]
    pub exit_code: i64,
    /// What it printed.
    #[serde(deserialize_with = "null")]
    pub output: String,
}

/// Where a container's root comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Storage {
    /// The root.
    #[serde(rename = "RootFS", deserialize_with = "null")]
    pub root_fs: RootFs,
}

/// A container's root.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct RootFs {
    /// Its snapshot.
    #[serde(deserialize_with = "null")]
    pub snapshot: Snapshot,
}

/// A snapshot of the storage driver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Snapshot {
    /// Name of the storage driver.
    #[serde(deserialize_with = "null")]
    pub name: String,
}
