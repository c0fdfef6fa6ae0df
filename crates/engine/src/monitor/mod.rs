//! The daemon's end of the monitors: starting one, finding one again, talking to it.

mod client;
mod shim;

pub(crate) use client::{Events, Monitor};
pub(crate) use shim::{Role, Shim};
