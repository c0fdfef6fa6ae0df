//! `davit container ...`

pub(crate) mod attach;
pub(crate) mod commit;
mod conversation;
mod copy_path;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod rename;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;
mod waiting;

use crate::client::escape_path;

/// The path of a container's operation; `name` may be anything the user typed.
fn path(name: &str, operation: &str) -> String {
    format!("/containers/{}{operation}", escape_path(name))
}
