//! One line of `GET /containers/json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MountPoint, NetworkSettingsSummary};
use crate::image::Descriptor;
use crate::lenient::null_as_default as null;

/// A container in a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Summary {
    /// The full id.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// Its names, each with a slash in front.
    #[serde(deserialize_with = "null")]
    pub names: Vec<String>,
    /// The image as named at create.
    #[serde(deserialize_with = "null")]
    pub image: String,
    /// Id of the image.
    #[serde(rename = "ImageID", deserialize_with = "null")]
    pub image_id: String,
    /// Manifest of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<Descriptor>,
    /// The command line.
    #[serde(deserialize_with = "null")]
    pub command: String,
    /// Unix time of creation.
    #[serde(deserialize_with = "null")]
    pub created: i64,
    /// Exposed and published ports.
    #[serde(deserialize_with = "null")]
    pub ports: Vec<Port>,
    /// Bytes in the writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of the whole root, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Its labels.
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
    /// As in inspect.
    #[serde(deserialize_with = "null")]
    pub state: String,
    /// The state in words, `Up 3 seconds (healthy)`.
    #[serde(deserialize_with = "null")]
    pub status: String,
    /// A little of the host's part.
    #[serde(deserialize_with = "null")]
    pub host_config: SummaryHostConfig,
    /// Result of the health checks, for a container that has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
    /// Its endpoints.
    #[serde(deserialize_with = "null")]
    pub network_settings: NetworkSettingsSummary,
    /// Its mounts.
    #[serde(deserialize_with = "null")]
    pub mounts: Vec<MountPoint>,
}

/// A port in a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq, PartialOrd, Ord)]
#[serde(default, rename_all = "PascalCase")]
pub struct Port {
    /// Address of the host.
    #[serde(rename = "IP", deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Port of the container.
    #[serde(deserialize_with = "null")]
    pub private_port: u16,
    /// Port of the host, if published.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub public_port: u16,
    /// `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type", deserialize_with = "null")]
    pub kind: String,
}

/// What the list shows of the host's part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// The network mode.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub network_mode: String,
    /// The annotations.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Result of the health checks in a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthSummary {
    /// `none`, `starting`, `healthy` or `unhealthy`.
    #[serde(deserialize_with = "null")]
    pub status: String,
    /// Consecutive failures.
    #[serde(deserialize_with = "null")]
    pub failing_streak: i64,
}
