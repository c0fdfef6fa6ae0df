//! Pausing a container's processes and letting them go on.

use std::path::Path;

use davit_sys::cgroup::Cgroup;

use crate::Failure;
use crate::failure::{Step, text};
use crate::state::{State, Status};

/// Stops all processes of container `id`. One that waits to be started can be paused, too.
///
/// # Errors
/// `container not running`, or what freezing says.
pub fn pause(root: &Path, id: &str) -> Result<(), Failure> {
    let state = State::load(root, id)?;
    if !matches!(state.status(), Status::Running | Status::Created) {
        return Err(text("pause", id, "container not running"));
    }
    let (cgroup, path) = cgroup(&state)?;
    cgroup.freeze().step("freeze", path)
}

/// Lets them go on.
///
/// # Errors
/// `container not paused`, or what thawing says.
pub fn resume(root: &Path, id: &str) -> Result<(), Failure> {
    let state = State::load(root, id)?;
    if state.status() != Status::Paused {
        return Err(text("resume", id, "container not paused"));
    }
    let (cgroup, path) = cgroup(&state)?;
    cgroup.thaw().step("thaw", path)
}

fn cgroup(state: &State) -> Result<(Cgroup, &str), Failure> {
    let without = || text("freeze", &state.id, "the container has no cgroup of its own to freeze");
    let path = state.cgroup.as_deref().ok_or_else(without)?;
    let cgroup = state.open_cgroup().step("open cgroup", path)?;
    Ok((cgroup.ok_or_else(without)?, path))
}
