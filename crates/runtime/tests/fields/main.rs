//! The fields of `config.json` with containers for real, one file for each topic. Needs root.

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "what one binary does not use another one does")]
mod support;

mod hooks;
mod mounts;
mod namespaces;
mod net_devices;
mod process;
mod rdt;
mod rootless;
mod seccomp;
