//! The files of one task, a container's process or an exec, shared by daemon and monitor.
//!
//! ```text
//! <exec-root>/containers/<id>/            written by the daemon before the create role starts
//!     config.json                         OCI runtime bundle's configuration
//!     task.json                           [`Task`]
//!     monitor.sock                        SOCK_SEQPACKET, [`crate::protocol`]
//!     status.json                         [`Status`], replaced (rename) by the monitor at each change
//!     exec/<exec-id>/                     the same for an exec: process.json (OCI process) for config.json
//! <exec-root>/runtime/<id>/               state of the OCI runtime
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the create or exec role and the monitor have to know beside the OCI documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Container id.
    pub id: String,
    /// What is to be run.
    pub kind: Kind,
    /// State directory of the OCI runtime (`--root`).
    pub runtime_root: PathBuf,
    /// An external OCI runtime's program; absent: the built-in one.
    pub runtime: Option<PathBuf>,
    /// `--systemd-cgroup`.
    #[serde(default)]
    pub systemd_cgroup: bool,
    /// Mounted before the container is made and unmounted after it has ended; absent: the bundle's
    /// root is there already.
    pub rootfs: Option<Overlay>,
    /// `user[:group]` by name or number, resolved inside the container's root; empty: what the OCI
    /// document says.
    #[serde(default)]
    pub user: String,
    /// Additional groups by name or number, resolved like `user`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// A pty instead of pipes.
    pub terminal: bool,
    /// Standard input of the process.
    pub stdin: Stdin,
    /// Log file; absent: no log is kept.
    pub log: Option<Log>,
    /// When it ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// The cgroups whose OOM count tells `oom_killed`: directories, of which the first that exists
    /// counts (memory controller on v1, the container's cgroup on v2).
    #[serde(default)]
    pub oom_cgroups: Vec<PathBuf>,
}

/// Container or exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A container's first process.
    Container,
    /// A further process in a running container.
    Exec,
}

/// The overlay that is a container's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The directory that `lower` is relative to (`<data-root>/overlay2`).
    pub layers: PathBuf,
    /// Lower directories, topmost first, relative to `layers` (`l/<short link>`).
    pub lower: Vec<PathBuf>,
    /// `diff` of the container's layer.
    pub upper: PathBuf,
    /// `work` of the container's layer.
    pub work: PathBuf,
    /// Where the root is seen from the host.
    pub merged: PathBuf,
    /// Nothing of it has to survive a crash of the host: unmounting does not write back (`--rm`).
    #[serde(default)]
    pub volatile: bool,
}

/// Standard input of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    Closed,
    /// Stays open whoever attaches and leaves (`OpenStdin`).
    Open,
    /// Closed when the first attached client's input ends (`StdinOnce`; an exec's input).
    Once,
}

/// The json-file log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The file that is appended to; mode 0640.
    pub path: PathBuf,
    /// Rotate when an entry would begin at or after this size, in bytes; absent: never.
    pub max_size: Option<u64>,
    /// How many files are kept, the present one included.
    pub max_files: u32,
    /// gzip the rotated ones.
    pub compress: bool,
    /// `attrs` of every line, in key order.
    #[serde(default)]
    pub attrs: std::collections::BTreeMap<String, String>,
}

/// What happens when the process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// The condition.
    pub when: RestartWhen,
    /// With [`RestartWhen::OnFailure`]: give up after so many restarts, 0 never.
    pub max_retries: u32,
    /// How many restarts came before the monitor's first start.
    pub count: u32,
}

/// Condition of a restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWhen {
    /// Never.
    #[default]
    No,
    /// Whatever the exit status (`always`, `unless-stopped`).
    Always,
    /// After an exit status other than 0.
    OnFailure,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, 128 + n for signal n.
    pub code: i32,
    /// The kernel's OOM killer hit the container while it ran.
    pub oom_killed: bool,
    /// Nanoseconds since the epoch.
    pub finished_at: i64,
}

/// `status.json`: what a daemon that was away has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The monitor's pid.
    pub monitor_pid: i32,
    /// The phase.
    pub phase: Phase,
    /// The process; of the last run when it has ended.
    pub pid: i32,
    /// Nanoseconds since the epoch, 0 before the first start.
    pub started_at: i64,
    /// How the last run ended; absent while there was none.
    pub last_exit: Option<Exit>,
    /// Restarts by the policy.
    pub restart_count: u32,
}

/// Where in its life a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The process waits for [`crate::protocol::Request::Start`].
    Created,
    /// It runs (or is frozen).
    Running,
    /// The restart policy waits.
    Restarting,
    /// It has ended for good.
    Exited,
}
