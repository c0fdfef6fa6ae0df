//! Volumes: create, list, inspect, prune.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;
use crate::time::Time;

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Volume {
    /// When it was made, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// `local`.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its directory on the host.
    #[serde(deserialize_with = "null")]
    pub mountpoint: String,
    /// Its name.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// `local`.
    #[serde(deserialize_with = "null")]
    pub scope: String,
    /// Only in `system/df`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsageData>,
}

/// Use of a volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeUsageData {
    /// Containers that use it.
    #[serde(deserialize_with = "null")]
    pub ref_count: i64,
    /// Its size in bytes, -1 if unknown.
    #[serde(deserialize_with = "null")]
    pub size: i64,
}

/// Body of `POST /volumes/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeCreateRequest {
    /// Its name; empty for a random one.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// The driver; empty for `local`.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// Options of the driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// Answer to `GET /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumesListResponse {
    /// The volumes.
    #[serde(deserialize_with = "null")]
    pub volumes: Vec<Volume>,
    /// What went wrong.
    pub warnings: Option<Vec<String>>,
}

/// Answer to `POST /volumes/prune`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumesPruneResponse {
    /// Names of the removed.
    pub volumes_deleted: Option<Vec<String>>,
    /// Bytes freed.
    #[serde(deserialize_with = "null")]
    pub space_reclaimed: u64,
}
