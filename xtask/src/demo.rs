//! `cargo xtask demo`: nginx in a daemon of its own, step by step, and `--down`, its end.
//!
//! The demo's daemon shares nothing with another engine on the machine: directories, bridge, subnet,
//! firewall table, cgroup and socket are its own (see [`place`]).

mod down;
mod nginx;
mod place;
mod show;
mod up;

use anyhow::{Context, Result, bail, ensure};

/// Runs `demo` with its arguments.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the demo starts a container engine, which needs root: `sudo -E cargo xtask demo`"
    );
    match arguments {
        [] => up::run(None),
        ["--port", port] => up::run(Some(port.parse().context("--port takes a number")?)),
        ["--down"] => down::run(),
        _ => bail!("usage: cargo xtask demo [--port N] | cargo xtask demo --down"),
    }
}
