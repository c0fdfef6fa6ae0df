//! Volumes: the store, and the verbs about them.

mod copy_up;
mod mount;
mod options;
mod store;
mod usage;
mod verbs;

use std::collections::BTreeMap;

pub(crate) use copy_up::{fill, is_empty};
pub(crate) use mount::{is_mounted, mount};
pub(crate) use options::{LocalMount, Options};
pub(crate) use store::{Volumes, Wanted, mounting};
pub(crate) use verbs::{api_volume, check_driver, directory_size};

use crate::engine::Inner;

/// Tells that something happened to a volume.
pub(crate) fn publish(
    inner: &Inner,
    action: &str,
    name: &str,
    mut attributes: BTreeMap<String, String>,
) {
    attributes.insert("driver".to_owned(), "local".to_owned());
    inner.events.publish("volume", action, name, attributes);
}
