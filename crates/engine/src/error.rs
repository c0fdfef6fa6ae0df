//! The error texts that Docker's clients and scripts match on, each made in one place.
//!
//! A text that is only ours is written where it happens; whatever is here is copied from what the
//! real engine answers and must not be "improved".

use davit_types::{Error, Kind};

/// The container is not known by this name, id or prefix.
pub(crate) fn no_such_container(name: &str) -> Error {
    Error::not_found(format!("No such container: {name}"))
}

/// Several containers' ids begin with `prefix`.
pub(crate) fn ambiguous_prefix(prefix: &str) -> Error {
    Error::invalid(format!("multiple IDs found with provided prefix: {prefix}"))
}

/// The path segment that names the container is empty.
pub(crate) fn empty_container_name() -> Error {
    Error::invalid("invalid container name or ID: value is empty")
}

/// The name does not follow the rules for names.
pub(crate) fn invalid_name(name: &str) -> Error {
    Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    ))
}

/// The name belongs to the container `holder`.
pub(crate) fn name_in_use(name: &str, holder: &str) -> Error {
    Error::conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    ))
}

/// The operation needs a running container.
pub(crate) fn not_running(id: &str) -> Error {
    Error::conflict(format!("container {id} is not running"))
}

/// The operation needs a container that is not about to start again.
pub(crate) fn restarting(id: &str) -> Error {
    Error::conflict(format!("Container {id} is restarting, wait until the container is running"))
}

/// The container already is in the wanted state; the edge answers 304 without a body.
pub(crate) fn not_modified(what: &str) -> Error {
    Error::new(Kind::NotModified, what)
}

/// Somebody else removes the container already.
pub(crate) fn removal_in_progress(id: &str) -> Error {
    Error::conflict(format!("removal of container {id} is already in progress"))
}

/// The path does not exist inside the container.
pub(crate) fn no_such_file(path: &str, container: &str) -> Error {
    Error::not_found(format!("Could not find the file {path} in container {container}"))
}

/// The exec is not known.
pub(crate) fn no_such_exec(id: &str) -> Error {
    Error::not_found(format!("No such exec instance: {id}"))
}

/// Another prune of the same kind of object runs.
pub(crate) fn prune_running() -> Error {
    Error::conflict("a prune operation is already running")
}

/// The whole chain as one text, for places that store or show a failure.
pub(crate) fn chain(error: &Error) -> String {
    format!("{error:#}")
}
