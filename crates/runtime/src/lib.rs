//! The OCI runtime as a library: from a bundle's configuration to a process that waits in its
//! namespaces, cgroup and root for the word to execute its program.
//!
//! Synchronous and single-threaded; it is linked into the static shim. The way of one container:
//! [`plan`] decides (pure, everything validated before a process exists), `parent` makes the cgroup
//! and the child, `init` runs the named steps inside it, [`state`] remembers. A failing step comes
//! back as a [`Failure`] and nothing is left behind.

mod exec;
mod failure;
mod freeze;
mod gate;
pub mod hooks;
mod idmap;
mod init;
mod labels;
mod lock;
mod network;
mod parent;
pub mod plan;
mod process;
mod procfs;
mod rdt;
mod remove;
pub mod request;
mod restore;
mod rootfs;
mod seccomp;
mod stage;
mod start;
pub mod state;
pub mod systemd;
mod update;
pub mod user;

pub use davit_sys::startsync::Failure;
pub use exec::exec;
pub use freeze::{pause, resume};
pub use parent::create;
pub use rdt::Rdt;
pub use remove::{delete, force_delete, kill, kill_all, processes};
pub use request::{CreateRequest, Created, ExecRequest, Launch, NotCreated, StartHandle, Stdio};
pub use restore::{RestoreRequest, restore};
pub use seccomp::check as check_seccomp;
pub use start::start;
pub use update::{stats, update, update_rdt, watch_oom};
