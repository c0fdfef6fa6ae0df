//! The monitor: what stays beside a container's first process (or an exec) while it lives.
//!
//! It owns whatever must survive the daemon: the standard streams or the terminal, the log file, the
//! exit status and the restart timer. The daemon talks to it over a Unix socket with the messages of
//! [`protocol`]; the files it shares with the daemon are described in [`task`].

pub mod protocol;
pub mod task;
