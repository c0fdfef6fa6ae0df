//! Tar archives to and from a directory: layers, `docker cp`, `docker export`.
//!
//! Both ways work by file descriptor below one root (see `tree`), so a hostile archive or a
//! container that swaps links meanwhile stays inside it.

mod bounded;
mod entry;
mod pack;
mod stat;
mod unpack;

pub use pack::{pack, pack_layer};
pub use stat::{PathStat, stat};
pub use unpack::{UnpackOptions, Unpacked, Whiteouts, unpack};
