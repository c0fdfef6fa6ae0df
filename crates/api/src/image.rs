//! Images: the list, inspect, history, removal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::HealthConfig;
use crate::lenient::Empty;
use crate::lenient::null_as_default as null;
use crate::time::Time;

/// An OCI content descriptor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    #[serde(deserialize_with = "null")]
    pub media_type: String,
    /// Digest.
    #[serde(deserialize_with = "null")]
    pub digest: String,
    /// Size in bytes.
    #[serde(deserialize_with = "null")]
    pub size: i64,
    /// Where else it may be had.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Platform of an image manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of an artifact.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
}

/// An OCI platform, in the order of the specification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Platform {
    /// CPU architecture, `amd64`.
    #[serde(rename = "architecture", deserialize_with = "null")]
    pub architecture: String,
    /// Operating system.
    #[serde(rename = "os", deserialize_with = "null")]
    pub os: String,
    /// Version of the system.
    #[serde(
        rename = "os.version",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features of the system.
    #[serde(
        rename = "os.features",
        deserialize_with = "null",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the CPU, `v8`.
    #[serde(
        rename = "variant",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
}

/// An image in a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Containers made from it; -1 when not counted.
    #[serde(deserialize_with = "null")]
    pub containers: i64,
    /// Unix time of creation.
    #[serde(deserialize_with = "null")]
    pub created: i64,
    /// Digest of what the name points to.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Always empty.
    #[serde(deserialize_with = "null")]
    pub parent_id: String,
    /// What the name points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// Its manifests, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestSummary>>,
    /// Names with digests.
    #[serde(deserialize_with = "null")]
    pub repo_digests: Vec<String>,
    /// Names with tags.
    #[serde(deserialize_with = "null")]
    pub repo_tags: Vec<String>,
    /// Bytes shared with others; -1 when not computed.
    #[serde(deserialize_with = "null")]
    pub shared_size: i64,
    /// Bytes of content and unpacked layers.
    #[serde(deserialize_with = "null")]
    pub size: i64,
}

/// One manifest of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManifestSummary {
    /// Its digest.
    #[serde(rename = "ID", deserialize_with = "null")]
    pub id: String,
    /// Its descriptor.
    #[serde(deserialize_with = "null")]
    pub descriptor: Descriptor,
    /// Whether all its content is here.
    #[serde(deserialize_with = "null")]
    pub available: bool,
    /// Sizes.
    #[serde(deserialize_with = "null")]
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    #[serde(deserialize_with = "null")]
    pub kind: String,
    /// Only with `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ImageManifestData>,
}

/// Sizes of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManifestSize {
    /// Bytes of content.
    #[serde(deserialize_with = "null")]
    pub content: i64,
    /// Bytes of content and unpacked layers.
    #[serde(deserialize_with = "null")]
    pub total: i64,
}

/// What is particular to an image manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageManifestData {
    /// Its platform.
    #[serde(deserialize_with = "null")]
    pub platform: Platform,
    /// Size of its layers.
    #[serde(deserialize_with = "null")]
    pub size: UnpackedSize,
    /// Containers made from it.
    pub containers: Option<Vec<String>>,
}

/// Size of unpacked layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct UnpackedSize {
    /// In bytes.
    #[serde(deserialize_with = "null")]
    pub unpacked: i64,
}

/// An image in full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageInspect {
    /// Digest of what the name points to.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// Names with tags.
    #[serde(deserialize_with = "null")]
    pub repo_tags: Vec<String>,
    /// Names with digests.
    #[serde(deserialize_with = "null")]
    pub repo_digests: Vec<String>,
    /// Comment of the last step.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// Who made it.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What it runs.
    pub config: Option<ImageConfig>,
    /// CPU architecture.
    #[serde(deserialize_with = "null")]
    pub architecture: String,
    /// Variant of the CPU.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Operating system.
    #[serde(deserialize_with = "null")]
    pub os: String,
    /// Version of the system.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Bytes of content and unpacked layers.
    #[serde(deserialize_with = "null")]
    pub size: i64,
    /// Layers.
    #[serde(rename = "RootFS", deserialize_with = "null")]
    pub root_fs: ImageRootFs,
    /// What this engine knows about it.
    #[serde(deserialize_with = "null")]
    pub metadata: ImageMetadata,
    /// What the name points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// Its manifests, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestSummary>>,
}

/// What an image runs, in the form without zero values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// User.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Environment.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Program.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Paths that get an anonymous volume.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Directory to start in.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal to stop.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows only.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub args_escaped: bool,
    /// Health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Build triggers.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Shell of shell-form commands.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// The layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageRootFs {
    /// `layers`.
    #[serde(rename = "Type", deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Digests of the uncompressed layers, bottom first.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// What this engine knows about an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// When a name was last given to it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_tag_time: Option<Time>,
}

/// A step in the history of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct HistoryItem {
    /// Comment.
    #[serde(deserialize_with = "null")]
    pub comment: String,
    /// Unix time.
    #[serde(deserialize_with = "null")]
    pub created: i64,
    /// The command.
    #[serde(deserialize_with = "null")]
    pub created_by: String,
    /// Id of the image for the last step, else `<missing>`.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// Bytes of the step's layer.
    #[serde(deserialize_with = "null")]
    pub size: i64,
    /// Names of the image, at the last step.
    pub tags: Option<Vec<String>>,
}

/// One thing done by a removal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeleteResponse {
    /// Id of an image that is gone.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub deleted: String,
    /// Name that is gone.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub untagged: String,
}

/// Answer to `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImagesPruneResponse {
    /// What was done.
    pub images_deleted: Option<Vec<DeleteResponse>>,
    /// Bytes freed.
    #[serde(deserialize_with = "null")]
    pub space_reclaimed: u64,
}

/// Credentials for a registry: `X-Registry-Auth`, body of `POST /auth`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct RegistryAuth {
    /// User.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Password.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// Both, as base64; only in stored files.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub auth: String,
    /// The registry.
    #[serde(
        rename = "serveraddress",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub server_address: String,
    /// Refresh token instead of a password.
    #[serde(
        rename = "identitytoken",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub identity_token: String,
    /// Bearer token to send as it is.
    #[serde(
        rename = "registrytoken",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub registry_token: String,
}

/// Answer to `POST /auth`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// `Login Succeeded`.
    #[serde(deserialize_with = "null")]
    pub status: String,
    /// Token to use from now on, or empty.
    #[serde(deserialize_with = "null")]
    pub identity_token: String,
}
