//! Mounts: how they are asked for (`Mount`), and how they came out (`MountPoint`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;

/// A mount asked for by description (`--mount`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `image` or `cluster`.
    #[serde(rename = "Type", deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Host path or volume name.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Path in the container.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Mount read-only.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub read_only: bool,
    /// Ignored on Linux.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub consistency: String,
    /// Only with `bind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// Only with `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// Only with `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// Only with `tmpfs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct BindOptions {
    /// `rprivate` by default.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Don't bring submounts along.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub non_recursive: bool,
    /// Make the source directory when it is missing.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub create_mountpoint: bool,
    /// Submounts stay writable.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub read_only_non_recursive: bool,
    /// Fail when submounts can't be made read-only.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeOptions {
    /// Don't fill a new volume from the image.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub no_copy: bool,
    /// Labels of a new volume.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Directory inside the volume.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Driver of a new volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<VolumeDriverConfig>,
}

/// Driver of a volume made for a mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeDriverConfig {
    /// The driver.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its options.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Options of an image mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageOptions {
    /// Directory inside the image.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub subpath: String,
}

/// Options of a tmpfs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct TmpfsOptions {
    /// Size in bytes, 0 for the kernel's default.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub size_bytes: i64,
    /// Permission bits.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub mode: u32,
    /// Further options: flags, or key and value.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Vec<String>>,
}

/// A mount of a container, as inspect shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs` or `image`.
    #[serde(rename = "Type", deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Name of the volume.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path on the host.
    #[serde(deserialize_with = "null")]
    pub source: String,
    /// Path in the container.
    #[serde(deserialize_with = "null")]
    pub destination: String,
    /// Driver of the volume.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// The options as given with `-v`.
    #[serde(deserialize_with = "null")]
    pub mode: String,
    /// Whether it is writable.
    #[serde(rename = "RW", deserialize_with = "null")]
    pub rw: bool,
    /// Mount propagation.
    #[serde(deserialize_with = "null")]
    pub propagation: String,
}
