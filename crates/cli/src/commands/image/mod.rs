//! `davit image ...`

pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod save;
pub(crate) mod tag;

use crate::client::escape_path;

/// The path of an image's operation.
fn path(name: &str, operation: &str) -> String {
    format!("/images/{}{operation}", escape_path(name))
}
