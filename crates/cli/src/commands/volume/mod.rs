//! `davit volume ...`

pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod rm;

use crate::client::escape_path;

/// The path of a volume.
fn path(name: &str) -> String {
    format!("/volumes/{}", escape_path(name))
}
