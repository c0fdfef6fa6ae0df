//! The messages between the daemon and a monitor.
//!
//! The socket is `SOCK_SEQPACKET`: one message per packet, JSON, at most [`MAX_MESSAGE`] bytes, file
//! descriptors in ancillary data. A task is started with one connected socket as fd
//! [`CONTROL_FD`]; later connections come in on `monitor.sock` of the task's directory.
//!
//! On the control socket the create role first sends [`Event::Created`] or [`Event::Failed`]. The
//! daemon then sends any number of [`Request::Attach`], and [`Request::Start`], which is answered by
//! [`Event::Started`] or [`Event::Failed`]. From then on every connection gets all events. A
//! connection that came in over `monitor.sock` is first told the state with [`Event::Hello`].
//!
//! Every request has a number chosen by its sender, returned in the [`Event::Reply`] to it; `Start`
//! is answered by `Started` or `Failed` and has no reply.

use serde::{Deserialize, Serialize};

/// Version of the messages below. A daemon must speak to monitors of every older version.
pub const VERSION: u32 = 1;

/// Largest packet in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The connected socket that the create and exec roles find at start.
pub const CONTROL_FD: i32 = 3;

/// What the daemon sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMessage {
    /// Chosen by the sender, returned in the reply.
    pub number: u32,
    /// What is asked.
    pub request: Request,
}

/// A request to the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Lets the created process execute its program.
    Start,
    /// Connects a client's stream, whose fd comes with the message, to the process.
    Attach(Attach),
    /// Sends a signal to the process (through its pidfd).
    Signal {
        /// Signal number.
        signal: i32,
        /// The user wants it stopped: no restart policy applies to the exit that follows, and a
        /// waiting restart is given up.
        cancel_restart: bool,
    },
    /// Sets the terminal's size.
    Resize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// Replaces the restart policy.
    SetRestartPolicy(crate::task::RestartPolicy),
}

/// A client's stream to be served by the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Copy what the client sends to the process' standard input.
    pub stdin: bool,
    /// Copy standard output to the client.
    pub stdout: bool,
    /// Copy standard error to the client.
    pub stderr: bool,
    /// Frame the output with Docker's 8-byte headers. Never for a terminal.
    pub multiplexed: bool,
    /// Key sequence that detaches, as bytes; empty for none.
    pub detach_keys: Vec<u8>,
    /// What the client sent before the stream was handed over (base64).
    pub early_input: String,
}

/// What the monitor sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// First on a connection made over `monitor.sock`.
    Hello {
        /// The monitor's [`VERSION`].
        version: u32,
        /// The task as it is now.
        status: crate::task::Status,
    },
    /// The process exists, in its namespaces and cgroup, and waits to be started.
    Created {
        /// Its pid in the monitor's pid namespace.
        pid: i32,
    },
    /// Set-up or exec of the program failed; nothing is left behind and the monitor ends.
    Failed(Failure),
    /// The program runs.
    Started {
        /// Its pid.
        pid: i32,
        /// Nanoseconds since the epoch.
        started_at: i64,
        /// How many times the restart policy has restarted it.
        restart_count: u32,
    },
    /// The kernel's OOM killer hit the container.
    Oom,
    /// The process ended. All its output is in the log and all clients' streams are closed.
    Exited {
        /// How.
        exit: crate::task::Exit,
        /// The restart policy starts it again after this many milliseconds; absent: the monitor ends.
        restart_after_ms: Option<u64>,
    },
    /// A client used its detach keys.
    Detached,
    /// The answer to the request of that number.
    Reply {
        /// The request's number.
        number: u32,
        /// Why it failed; absent: done.
        error: Option<String>,
    },
}

/// A step of the set-up that failed, as the runtime reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step, e.g. `mount /proc` or `exec`.
    pub stage: String,
    /// `errno`, 0 when it was not a system call.
    pub errno: i32,
    /// The whole chain as a person should read it, e.g.
    /// `exec: "nosuch": executable file not found in $PATH`.
    pub message: String,
}
