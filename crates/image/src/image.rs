//! The values this crate hands out: images, layers of containers, changes, results of verbs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use davit_types::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::registry::RegistryHosts;

/// Media type, digest and size of a blob, as manifests and indexes name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Number of its bytes.
    pub size: u64,
    /// Where it may be fetched from when the registry does not have it (foreign layers).
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub urls: Vec<String>,
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// A layer: the digest of its uncompressed tar, whatever it was compressed with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerId(Digest);

impl LayerId {
    /// The layer whose uncompressed tar has this digest.
    pub fn new(diff_id: Digest) -> Self {
        Self(diff_id)
    }

    /// The digest of the uncompressed tar.
    pub fn diff_id(&self) -> &Digest {
        &self.0
    }

    /// The name of its directory in `overlay2`.
    pub fn directory(&self) -> &str {
        self.0.hex()
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An image in the store, for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// The image ID: digest of what the tag points to, an index or a manifest.
    pub id: Digest,
    /// Descriptor of what the tag points to.
    pub target: Descriptor,
    /// Descriptor of the platform's manifest; equal to `target` when that is no index.
    pub manifest: Descriptor,
    /// Digest of the config document.
    pub config_digest: Digest,
    /// The config document, read.
    pub config: Arc<ImageConfig>,
    /// The config document's bytes.
    pub raw_config: Arc<[u8]>,
    /// Layers, bottom first.
    pub layers: Vec<LayerId>,
    /// Familiar names with a tag.
    pub repo_tags: Vec<String>,
    /// Familiar names with the image ID as digest.
    pub repo_digests: Vec<String>,
    /// Bytes on disk: documents and unpacked layers.
    pub size: u64,
    /// Bytes on disk of the unpacked layers alone.
    pub unpacked_size: u64,
    /// When the image was made, RFC 3339; empty when unknown.
    pub created: String,
    /// When a tag was last put on it, RFC 3339; `None` for a dangling image.
    pub last_tagged: Option<String>,
    /// What it runs on.
    pub platform: Platform,
}

/// How many layers move between registries and the store at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// Downloads, over all pulls.
    pub downloads: usize,
    /// Uploads, over all pushes.
    pub uploads: usize,
    /// Attempts at a download that makes no progress.
    pub attempts: u32,
}

/// Docker's.
impl Default for TransferLimits {
    fn default() -> Self {
        Self { downloads: 3, uploads: 5, attempts: 5 }
    }
}

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The platform asked for; the host's when absent.
    pub platform: Option<Platform>,
    /// Credentials for the registry.
    pub auth: Option<RegistryAuth>,
    /// How registries are reached.
    pub hosts: Arc<RegistryHosts>,
    /// Pull every tag of the repository.
    pub all_tags: bool,
}

/// How to push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Push this platform's manifest alone.
    pub platform: Option<Platform>,
    /// Credentials for the registry.
    pub auth: Option<RegistryAuth>,
    /// How registries are reached.
    pub hosts: Arc<RegistryHosts>,
    /// Push every tag of the repository.
    pub all_tags: bool,
}

/// Credentials as the `X-Registry-Auth` header carries them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// OAuth2 refresh token, instead of user name and password.
    pub identity_token: String,
    /// The registry they are for.
    pub server_address: String,
}

/// Leaves the secrets out.
impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryAuth({:?} at {:?})", self.username, self.server_address)
    }
}

/// One line of the progress stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is happening, in Docker's words.
    pub status: String,
    /// Short digest of the layer, or the tag on the first line.
    pub id: Option<String>,
    /// Bytes (or `units`) done.
    pub current: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
    /// `s` when `current` counts seconds.
    pub units: Option<String>,
    /// The counts are not to be shown.
    pub hide_counts: bool,
    /// Machine-readable extras.
    pub aux: Option<serde_json::Value>,
    /// The line is about a layer: `progressDetail` is there even when it is empty.
    pub detail: bool,
}

/// What a pull came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Digest the reference resolved to: the image ID.
    pub digest: Digest,
    /// The last line, such as `Status: Downloaded newer image for nginx:latest`.
    pub status_line: String,
}

/// A step of removing an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// This name is gone.
    Untagged(String),
    /// This image is gone.
    Deleted(String),
}

/// A container, as far as removing images has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// Full id of the container.
    pub container_id: String,
    /// What the user typed as image.
    pub image_ref: String,
    /// The image ID it was made from.
    pub image_id: String,
    /// Whether it runs now.
    pub running: bool,
}

/// A line of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image ID on the first line, `<missing>` on the others.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// Names of the image, on the first line only.
    pub tags: Vec<String>,
    /// Bytes on disk of the step's layer.
    pub size: u64,
    /// Free text.
    pub comment: String,
}

/// Where a container's file system lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLayer {
    /// `overlay2` itself, which `lower` is relative to.
    pub layers_dir: PathBuf,
    /// Short links `l/<name>` of the lower layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// The writable directory.
    pub upper: PathBuf,
    /// Overlayfs's own directory.
    pub work: PathBuf,
    /// Where the root is to be seen from the host.
    pub merged: PathBuf,
}

/// A path that differs between a container and its image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute path inside the container.
    pub path: PathBuf,
    /// How it differs.
    pub kind: ChangeKind,
}

/// How a path differs; the numbers are the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is in the image too, with other contents or attributes.
    Modified = 0,
    /// It is not in the image.
    Added = 1,
    /// It is in the image only.
    Deleted = 2,
}
