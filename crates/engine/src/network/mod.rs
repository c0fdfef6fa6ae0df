//! Networks: what a container asks of them, what it got, and the verbs about them.

mod connect;
mod endpoint;
mod files;
mod link_env;
pub(crate) mod links;
mod manage;
mod ports;
mod resolver;
mod verbs;

pub(crate) use endpoint::{Join, connect, disconnect, join, namespace_path, running_donor};
pub(crate) use files::write_files;
pub(crate) use ports::listed_ports;
pub(crate) use resolver::Resolver;
