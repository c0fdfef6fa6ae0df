//! Exec instances: a further process in a running container.

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;

/// Body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecCreateRequest {
    /// `user[:group]`; empty for the container's.
    #[serde(deserialize_with = "null")]
    pub user: String,
    /// All capabilities.
    #[serde(deserialize_with = "null")]
    pub privileged: bool,
    /// With a terminal.
    #[serde(deserialize_with = "null")]
    pub tty: bool,
    /// First size of the terminal: height, width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
    /// A client will give input.
    #[serde(deserialize_with = "null")]
    pub attach_stdin: bool,
    /// A client wants standard error.
    #[serde(deserialize_with = "null")]
    pub attach_stderr: bool,
    /// A client wants standard output.
    #[serde(deserialize_with = "null")]
    pub attach_stdout: bool,
    /// Keys that detach; empty for the default.
    #[serde(deserialize_with = "null")]
    pub detach_keys: String,
    /// Added to the container's environment.
    pub env: Option<Vec<String>>,
    /// Directory to start in; empty for the container's.
    #[serde(deserialize_with = "null")]
    pub working_dir: String,
    /// Program and arguments.
    pub cmd: Option<Vec<String>>,
}

/// The exec instance made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecCreateResponse {
    /// Its id.
    #[serde(deserialize_with = "null")]
    pub id: String,
}

/// Body of `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecStartRequest {
    /// Don't wait and don't attach.
    #[serde(deserialize_with = "null")]
    pub detach: bool,
    /// As at create.
    #[serde(deserialize_with = "null")]
    pub tty: bool,
    /// Size of the terminal: height, width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
}

/// An exec instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecInspectResponse {
    /// Its id.
    #[serde(rename = "ID", deserialize_with = "null")]
    pub id: String,
    /// Whether it runs.
    #[serde(deserialize_with = "null")]
    pub running: bool,
    /// How it ended; `null` until it did.
    pub exit_code: Option<i64>,
    /// What it runs.
    #[serde(deserialize_with = "null")]
    pub process_config: ExecProcessConfig,
    /// Standard input is attached.
    #[serde(deserialize_with = "null")]
    pub open_stdin: bool,
    /// Standard error is attached.
    #[serde(deserialize_with = "null")]
    pub open_stderr: bool,
    /// Standard output is attached.
    #[serde(deserialize_with = "null")]
    pub open_stdout: bool,
    /// Always false.
    #[serde(deserialize_with = "null")]
    pub can_remove: bool,
    /// Its container.
    #[serde(rename = "ContainerID", deserialize_with = "null")]
    pub container_id: String,
    /// Keys that detach, as base64.
    #[serde(deserialize_with = "null")]
    pub detach_keys: String,
    /// Process id on the host.
    #[serde(deserialize_with = "null")]
    pub pid: i64,
}

/// What an exec instance runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct ExecProcessConfig {
    /// With a terminal.
    #[serde(deserialize_with = "null")]
    pub tty: bool,
    /// The program.
    #[serde(deserialize_with = "null")]
    pub entrypoint: String,
    /// Its arguments.
    #[serde(deserialize_with = "null")]
    pub arguments: Vec<String>,
    /// All capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// The user.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub user: String,
}
