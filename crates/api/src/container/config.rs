//! What a container runs: Docker's `Config`, the portable half of a container's settings.
//!
//! A collection that is `Option` tells Go's `nil` (`null`) from empty (`[]`), as clients see both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;
use crate::lenient::{Empty, string_or_list};

/// The portable part of a container's configuration, as images carry it too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// Host name of the container.
    #[serde(deserialize_with = "null")]
    pub hostname: String,
    /// NIS domain name of the container.
    #[serde(deserialize_with = "null")]
    pub domainname: String,
    /// `user[:group]`, by name or number.
    #[serde(deserialize_with = "null")]
    pub user: String,
    /// The creating client means to attach to standard input.
    #[serde(deserialize_with = "null")]
    pub attach_stdin: bool,
    /// The creating client means to attach to standard output.
    #[serde(deserialize_with = "null")]
    pub attach_stdout: bool,
    /// The creating client means to attach to standard error.
    #[serde(deserialize_with = "null")]
    pub attach_stderr: bool,
    /// Ports the program listens on, `80/tcp`.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// The process gets a terminal; output is one raw stream.
    #[serde(deserialize_with = "null")]
    pub tty: bool,
    /// Standard input stays open without a client.
    #[serde(deserialize_with = "null")]
    pub open_stdin: bool,
    /// Standard input closes when the first attached client goes.
    #[serde(deserialize_with = "null")]
    pub stdin_once: bool,
    /// `NAME=value` pairs; a bare `NAME` removes the image's variable.
    pub env: Option<Vec<String>>,
    /// The program, or its arguments when there is an entry point.
    #[serde(deserialize_with = "string_or_list")]
    pub cmd: Option<Vec<String>>,
    /// How to find out whether the container is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Windows only; kept as given.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub args_escaped: bool,
    /// The image as the user named it.
    #[serde(deserialize_with = "null")]
    pub image: String,
    /// Paths that get an anonymous volume.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Directory the program starts in.
    #[serde(deserialize_with = "null")]
    pub working_dir: String,
    /// The program when `Cmd` only holds its arguments.
    #[serde(deserialize_with = "string_or_list")]
    pub entrypoint: Option<Vec<String>>,
    /// The container gets no network at all.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub network_disabled: bool,
    /// Address of the first endpoint, from clients before API 1.44.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Build triggers of an image.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// User-defined key-value data.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks the program to end, `SIGTERM` by default.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds from the stop signal to `SIGKILL`, 10 by default, -1 for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell of the image's shell-form commands.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// A health check; durations are nanoseconds, zero means inherit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// Empty: inherit. `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a command.
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub interval: i64,
    /// Time after which a check counts as hung.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub timeout: i64,
    /// Time for the container to come up, in which failures don't count.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub start_period: i64,
    /// Time between checks during the start period.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub start_interval: i64,
    /// Consecutive failures that make a container unhealthy.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub retries: i64,
}
