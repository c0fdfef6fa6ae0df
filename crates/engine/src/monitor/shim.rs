//! Starting `davit-shim`, which builds the container and stays as its monitor.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use davit_monitor::protocol::CONTROL_FD;
use davit_types::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions};
use tokio::io::unix::AsyncFd;

use super::client::{Events, Monitor};

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    program: PathBuf,
}

/// What it is started for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// A container's first process.
    Create,
    /// A further process in a running container.
    Exec,
}

impl Role {
    fn argument(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Exec => "exec",
        }
    }
}

impl Shim {
    /// The shim at `program`.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Starts it on a task's directory. Inside the runtime; takes as long as an exec.
    pub(crate) fn launch(&self, role: Role, directory: &Path) -> Result<(Monitor, Events)> {
        let (ours, theirs) = socket_pair()?;
        let argument = directory.to_string_lossy();
        let arguments = [role.argument(), argument.as_ref()];
        let pid = davit_sys::spawn::spawn(&self.program, &arguments, theirs.as_fd(), CONTROL_FD)
            .context(|| format!("start {}", self.program.display()))?;
        reap(pid)?;
        Monitor::new(ours)
    }
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let pair = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    );
    let (ours, theirs) = pair.context(|| "create the control socket")?;
    rustix::io::ioctl_fionbio(&ours, true).context(|| "create the control socket")?;
    Ok((ours, theirs))
}

/// Collects the shim's exit status whenever it ends, so that no zombie stays.
fn reap(pid: Pid) -> Result<()> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)
        .context(|| format!("open a pidfd of shim {pid:?}"))?;
    #[expect(deprecated, reason = "its successor is unsafe; an `OwnedFd` is all it asks for")]
    let pidfd = AsyncFd::new(pidfd).context(|| "register a pidfd")?;
    tokio::spawn(async move {
        // A pidfd becomes readable once, when the process has ended.
        if pidfd.readable().await.is_ok() {
            let _ = rustix::process::waitid(
                WaitId::PidFd(pidfd.get_ref().as_fd()),
                WaitIdOptions::EXITED,
            );
        } else {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    });
    Ok(())
}
