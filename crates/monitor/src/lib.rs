//! The monitor: what stays beside a container's first process (or an exec) while it lives.
//!
//! It owns whatever must survive the daemon: the standard streams or the terminal, the log file, the
//! exit status and the restart timer. The daemon talks to it over a Unix socket with the messages of
//! [`protocol`]; the files it shares with the daemon are described in [`task`]. The daemon's side of
//! the conversation is [`client`].
//!
//! The monitor's own side is [`supervisor`]: one epoll loop in one thread. What the loop can't know,
//! how a container is started and removed, it asks of the program around it ([`supervisor::Backend`]).
//! There is one monitor per container, so memory counts: buffers are at most 16 KiB and are given back
//! when nothing happens.

mod attached;
pub mod client;
mod clock;
mod connection;
pub mod detach;
pub mod frame;
pub mod handover;
mod input;
mod json_line;
pub mod json_log;
pub mod oom;
pub mod protocol;
pub mod resolver;
pub mod restart;
pub mod rotate;
pub mod status;
pub mod supervisor;
pub mod task;
