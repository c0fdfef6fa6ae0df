//! Starting a container that waits at its gate.

use std::path::Path;

use crate::failure::{Wrap, text};
use crate::lock::Lock;
use crate::state::{State, Status};
use crate::{Failure, gate, hooks};

/// Lets the process of container `id`, created with [`crate::Launch::gated`], execute its program and
/// waits until it does. Then its `poststart` hooks run; returned is what went wrong with those, which is
/// worth a warning.
///
/// # Errors
/// That it doesn't wait for this, or the child's failed step.
pub fn start(root: &Path, id: &str) -> Result<Vec<Failure>, Failure> {
    let lock = Lock::take(root, id)?;
    let state = State::load(root, id)?;
    let refuse = |message: &str| Err(text("start", id, message));
    match state.status_locked() {
        Status::Created => {}
        Status::Stopped => return refuse("cannot start a container that has stopped"),
        Status::Running => return refuse("cannot start an already running container"),
        status @ (Status::Creating | Status::Paused) => {
            return refuse(&format!("cannot start a container in the {} state", status.as_str()));
        }
    }
    if !state.gated {
        return refuse("the container waits for its creator to start it");
    }
    gate::open(lock.directory()).wrap(|| "unable to start container process".to_owned())?;
    Ok(hooks::poststart(&state))
}
