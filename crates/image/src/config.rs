//! The image config document, as OCI and Docker write it.
//!
//! Own structs rather than `oci-spec`'s: Docker adds fields (health check, shell, ONBUILD), writes
//! `null` where OCI wants an empty list, and no foreign document may fail to load over an unknown
//! value. The raw bytes stay the truth; this is only what Davit reads out of them.

use std::collections::BTreeMap;

use davit_types::{Context as _, Platform, Result};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// An image config: what to run, for which platform, made of which layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    pub created: Option<String>,
    /// Who made it.
    #[serde(deserialize_with = "or_default")]
    pub author: String,
    /// Architecture by Go's name.
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(deserialize_with = "or_default")]
    pub variant: String,
    /// Operating system by Go's name.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// Version of the operating system (Windows only).
    #[serde(rename = "os.version", deserialize_with = "or_default")]
    pub os_version: String,
    /// Free text of the commit.
    #[serde(deserialize_with = "or_default")]
    pub comment: String,
    /// Version of the Docker that made it.
    #[serde(deserialize_with = "or_default")]
    pub docker_version: String,
    /// What to run.
    #[serde(deserialize_with = "or_default")]
    pub config: RunConfig,
    /// Of which layers.
    pub rootfs: RootFs,
    /// The steps that made the layers, oldest first.
    #[serde(deserialize_with = "or_default")]
    pub history: Vec<History>,
}

/// The `config` object: defaults for a container of this image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, by name or number.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// Keys such as `80/tcp`.
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// The fixed start of the command line.
    pub entrypoint: Option<Vec<String>>,
    /// The default rest of the command line.
    #[serde(deserialize_with = "one_or_many")]
    pub cmd: Option<Vec<String>>,
    /// Paths that become anonymous volumes.
    pub volumes: Option<BTreeMap<String, Value>>,
    /// Where the process starts.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Labels a container inherits.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks the process to end.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Seconds to wait after that signal.
    pub stop_timeout: Option<i64>,
    /// Docker's health check.
    pub healthcheck: Option<HealthConfig>,
    /// Shell of the shell form of commands.
    pub shell: Option<Vec<String>>,
    /// Build steps for images made from this one.
    pub on_build: Option<Vec<String>>,
}

/// Docker's health check; times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["CMD", …]`, `["CMD-SHELL", …]` or `["NONE"]`.
    pub test: Option<Vec<String>>,
    /// Time between two probes.
    pub interval: i64,
    /// When a probe counts as failed.
    pub timeout: i64,
    /// How long failures do not count after the start.
    pub start_period: i64,
    /// Time between two probes while starting.
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    pub retries: i64,
}

/// The layers, bottom first, by the digests of their uncompressed tars.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Digests of the uncompressed layer tars.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<String>,
}

/// One step of the image's making.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    pub created: Option<String>,
    /// The command.
    #[serde(deserialize_with = "or_default")]
    pub created_by: String,
    /// Who.
    #[serde(deserialize_with = "or_default")]
    pub author: String,
    /// Free text.
    #[serde(deserialize_with = "or_default")]
    pub comment: String,
    /// The step made no layer.
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Reads the document.
    ///
    /// # Errors
    /// Text that is not such a document.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        serde_json::from_slice(raw).context(|| "parse image config")
    }

    /// The platform the image is for.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Very old images have a plain string as `Cmd`.
fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::deserialize(deserializer)?.map(|words| match words {
        OneOrMany::One(word) => vec![word],
        OneOrMany::Many(words) => words,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_docker_fields_are_read() {
        let raw = br#"{"architecture":"amd64","os":"linux","author":null,"history":null,
            "config":{"Cmd":"sh","Env":null,"Healthcheck":{"Test":["CMD","true"],"Interval":5},
            "Volumes":{"/data":{}},"Unknown":1},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::parse(raw).expect("a config");
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert_eq!(config.config.healthcheck.as_ref().map(|health| health.interval), Some(5));
        assert_eq!(config.platform().to_string(), "linux/amd64");
        assert!(config.config.env.is_none() && config.rootfs.diff_ids.is_empty());
    }

    #[test]
    fn a_null_config_object_is_an_empty_one() {
        let config = ImageConfig::parse(br#"{"config":null}"#).expect("a config");
        assert_eq!(config.config, RunConfig::default());
    }
}
