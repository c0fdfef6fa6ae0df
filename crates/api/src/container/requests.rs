//! Bodies and answers of the small container operations.

use serde::{Deserialize, Serialize};

use super::{Config, HostConfig, NetworkingConfig, Resources, RestartPolicy};
use crate::lenient::null_as_default as null;
use crate::time::Time;

/// Body of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateRequest {
    /// What to run.
    #[serde(flatten)]
    pub config: Config,
    /// What the host gives.
    #[serde(deserialize_with = "null")]
    pub host_config: HostConfig,
    /// The endpoints.
    #[serde(deserialize_with = "null")]
    pub networking_config: NetworkingConfig,
}

/// The container made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateResponse {
    /// Its id.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// What could not be done as asked.
    #[serde(deserialize_with = "null")]
    pub warnings: Vec<String>,
}

/// Body of `POST /containers/{id}/update`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateRequest {
    /// The new limits; zero leaves one as it is.
    #[serde(flatten)]
    pub resources: Resources,
    /// The new policy; an empty name leaves it as it is.
    #[serde(deserialize_with = "null")]
    pub restart_policy: RestartPolicy,
}

/// Answer to an update.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateResponse {
    /// What could not be done as asked.
    pub warnings: Option<Vec<String>>,
}

/// Last line of `POST /containers/{id}/wait`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitResponse {
    /// Exit code.
    #[serde(deserialize_with = "null")]
    pub status_code: i64,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitExitError>,
}

/// Why a wait has no exit code.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitExitError {
    /// In words.
    #[serde(deserialize_with = "null")]
    pub message: String,
}

/// The processes of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct TopResponse {
    /// One row per process.
    #[serde(deserialize_with = "null")]
    pub processes: Vec<Vec<String>>,
    /// Column titles.
    #[serde(deserialize_with = "null")]
    pub titles: Vec<String>,
}

/// A path that differs from the image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Change {
    /// Absolute path in the container.
    #[serde(deserialize_with = "null")]
    pub path: String,
    /// 0 modified, 1 added, 2 deleted.
    #[serde(deserialize_with = "null")]
    pub kind: u8,
}

/// Answer to `POST /containers/prune`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct PruneResponse {
    /// Ids of the removed.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes freed.
    #[serde(deserialize_with = "null")]
    pub space_reclaimed: u64,
}

/// The `X-Docker-Container-Path-Stat` header, before base64.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct PathStat {
    /// Base name.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Size in bytes.
    #[serde(deserialize_with = "null")]
    pub size: i64,
    /// Go's `os.FileMode` bits.
    #[serde(deserialize_with = "null")]
    pub mode: u32,
    /// Last modification.
    #[serde(deserialize_with = "null")]
    pub mtime: Time,
    /// Target of a symbolic link.
    #[serde(deserialize_with = "null")]
    pub link_target: String,
}
