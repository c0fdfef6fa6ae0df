//! What one role of the shim leaves to the next across exec: numbers of open descriptors, and what
//! has to be remembered. Written to a memory file, whose number is an argument of the next role.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use davit_sys::fdpass;
use davit_types::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::restart::History;
use crate::task::{Exit, RestartPolicy};

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Listens as `monitor.sock`.
    pub listener: RawFd,
    /// Connections to daemons.
    pub connections: Vec<RawFd>,
    /// The policy in force.
    pub policy: RestartPolicy,
    /// Restarts so far.
    pub history: History,
    /// How the last run ended.
    pub last_exit: Option<Exit>,
    /// When the last run began, nanoseconds since the epoch.
    pub started_at: i64,
    /// The shim's own `oom_score_adj` at its start, which the container's processes inherit.
    pub oom_score_adj: Option<i32>,
    /// The process, from the create or exec role to the monitor; absent the other way.
    pub process: Option<Process>,
}

/// A process that waits to be released, and the shim's ends of its streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: RawFd,
    /// What the starting program uses to release it; the monitor does not look at it.
    pub start: Option<RawFd>,
    /// Write end of its standard input.
    pub stdin: Option<RawFd>,
    /// Read end of its standard output.
    pub stdout: Option<RawFd>,
    /// Read end of its standard error.
    pub stderr: Option<RawFd>,
    /// Master of its terminal, in place of the three.
    pub console: Option<RawFd>,
}

impl Handover {
    /// Writes it to a new memory file that survives exec.
    ///
    /// # Errors
    /// No memory or no descriptor is left.
    pub fn store(&self) -> Result<OwnedFd> {
        let make = || -> std::io::Result<OwnedFd> {
            let fd = rustix::fs::memfd_create("handover", rustix::fs::MemfdFlags::empty())?;
            let mut file = File::from(fd);
            file.write_all(&serde_json::to_vec(self)?)?;
            file.rewind()?;
            Ok(file.into())
        };
        make().context(|| "write the handover to the next role")
    }

    /// Reads the memory file with the number `fd` and closes it.
    ///
    /// # Errors
    /// It is not what [`Handover::store`] wrote.
    pub fn load(fd: RawFd) -> Result<Self> {
        let read = || -> std::io::Result<Self> {
            let mut text = Vec::new();
            File::from(fdpass::take_inherited(fd)?).read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        read().context(|| format!("read the handover from descriptor {fd}"))
    }
}

/// Lets `fd` survive the next exec and returns its number there.
///
/// # Errors
/// Never for an open descriptor.
pub fn leave(fd: impl AsFd) -> Result<RawFd> {
    let fd = fd.as_fd();
    fdpass::make_inheritable(fd).context(|| "keep a descriptor across exec")?;
    Ok(fd.as_raw_fd())
}

/// Takes over a descriptor that [`leave`] was called for before the exec.
///
/// # Errors
/// It is not open or was taken already.
pub fn take(fd: RawFd) -> Result<OwnedFd> {
    fdpass::take_inherited(fd).context(|| format!("take over descriptor {fd}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn what_is_stored_can_be_loaded_once() {
        let handover = Handover {
            listener: 4,
            connections: vec![3, 9],
            policy: RestartPolicy::default(),
            history: History { count: 2, delay: std::time::Duration::from_millis(200) },
            last_exit: Some(Exit { code: 1, oom_killed: false, finished_at: 5 }),
            started_at: 4,
            oom_score_adj: Some(0),
            process: None,
        };
        let fd = handover.store().expect("store").into_raw_fd();
        assert_eq!(Handover::load(fd).expect("load"), handover);
        assert!(Handover::load(fd).is_err());
    }
}
