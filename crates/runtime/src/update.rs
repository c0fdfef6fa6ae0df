//! New limits for a container, and what it has used.

use std::path::Path;

use davit_sys::cgroup::{Cgroup, Limits, OomWatch, Stats};

use crate::Failure;
use crate::failure::{Step, text};
use crate::rdt;
use crate::state::{State, Status};
use crate::systemd;

/// Sets the limits that are given; the others stay.
///
/// # Errors
/// `container not running`, or what the kernel says to a value.
pub fn update(root: &Path, id: &str, limits: &Limits) -> Result<(), Failure> {
    let state = running(root, id)?;
    let cgroup = cgroup(&state)?;
    cgroup.apply(limits).step("update cgroup of", id)?;
    match &state.unit {
        Some(unit) => systemd::set(unit, systemd::of_limits(limits, cgroup.is_v2())),
        None => Ok(()),
    }
}

/// Sets other shares of the level 3 cache and of memory bandwidth, those that are given.
///
/// # Errors
/// `container not running`, that there are no such shares here or the container has none, or what the
/// kernel says to a value.
pub fn update_rdt(
    root: &Path,
    id: &str,
    cache: Option<&str>,
    bandwidth: Option<&str>,
) -> Result<(), Failure> {
    let state = running(root, id)?;
    rdt::change(rdt::root()?.as_deref(), state.rdt.as_ref(), cache, bandwidth)
}

/// The counters of container `id`.
///
/// # Errors
/// `container not running`, or what reading says.
pub fn stats(root: &Path, id: &str) -> Result<Stats, Failure> {
    cgroup(&running(root, id)?)?.stats().step("read cgroup of", id)
}

/// Is told when processes of container `id` are killed for want of memory.
///
/// # Errors
/// `container not running`, or what watching says.
pub fn watch_oom(root: &Path, id: &str) -> Result<OomWatch, Failure> {
    OomWatch::new(&cgroup(&running(root, id)?)?).step("watch cgroup of", id)
}

fn running(root: &Path, id: &str) -> Result<State, Failure> {
    let state = State::load(root, id)?;
    if state.status() == Status::Stopped {
        return Err(text("update", id, "container not running"));
    }
    Ok(state)
}

fn cgroup(state: &State) -> Result<Cgroup, Failure> {
    let without = || text("cgroup", &state.id, "the container has no cgroup of its own");
    let path = state.cgroup.as_deref().ok_or_else(without)?;
    state.open_cgroup().step("open cgroup", path)?.ok_or_else(without)
}
