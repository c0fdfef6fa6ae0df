//! `davit network ...`

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod rm;

use crate::client::escape_path;

/// The path of a network's operation.
fn path(name: &str, operation: &str) -> String {
    format!("/networks/{}{operation}", escape_path(name))
}
