//! What the runtime is asked for and what it gives back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use davit_types::oci::runtime::{LinuxSeccomp, Process, Spec};

use crate::Failure;

/// A container to be created.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    /// Its id; names its state directory below `root`.
    pub id: &'a str,
    /// The bundle's directory: a relative `root.path` starts here.
    pub bundle: &'a Path,
    /// The runtime's state directory (`--root`).
    pub root: &'a Path,
    /// The configuration.
    pub spec: Spec,
    /// Standard streams.
    pub stdio: Stdio,
    /// Where compiled seccomp filters are kept; absent: compile each time.
    pub seccomp_cache: Option<&'a Path>,
    /// How it is set up, apart from the configuration.
    pub launch: Launch,
}

/// A further process in a container.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The runtime's state directory (`--root`).
    pub root: &'a Path,
    /// The process.
    pub process: Process,
    /// Standard streams.
    pub stdio: Stdio,
    /// System call filter, the container's own as a rule.
    pub seccomp: Option<&'a LinuxSeccomp>,
    /// Where compiled seccomp filters are kept; absent: compile each time.
    pub seccomp_cache: Option<&'a Path>,
    /// Cgroups below the container's that it goes to, each as `[CONTROLLER[,CONTROLLER]:]PATH`.
    pub cgroups: &'a [String],
    /// Done in a paused container, too, where it waits until that is resumed.
    pub ignore_paused: bool,
    /// How it is set up, apart from the configuration.
    pub launch: Launch,
}

/// What a caller decides about a set-up; the default is a container whose creator starts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Launch {
    /// The container outlives its creator and waits for [`crate::start`].
    pub gated: bool,
    /// The root is moved and not pivoted to, as on an initial ramdisk.
    pub no_pivot: bool,
    /// The caller's session keyring is kept.
    pub keep_keyring: bool,
    /// So many descriptors from 3 on stay open in the program.
    pub preserved_fds: u32,
    /// A cgroup that may not be made is done without when nothing is to be limited.
    pub rootless: bool,
    /// Cgroups are systemd's.
    pub systemd_cgroup: bool,
}

/// Standard streams of a process.
#[derive(Debug)]
pub enum Stdio {
    /// Those of the caller.
    Inherit,
    /// These.
    Files {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A pty made in the container's devpts; its master is in [`Created::console_master`]. Its size
    /// is the process' `consoleSize`.
    Terminal,
}

impl Stdio {
    /// Descriptors that the process is given.
    pub(crate) fn files(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Files { stdin, stdout, stderr } => {
                vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
            }
            Self::Inherit | Self::Terminal => Vec::new(),
        }
    }
}

/// A process that is set up and waits to be released.
#[derive(Debug)]
pub struct Created {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// What releases it.
    pub start: StartHandle,
    /// Master of its terminal, when asked for with [`Stdio::Terminal`].
    pub console_master: Option<OwnedFd>,
}

/// Why there is no container.
#[derive(Debug)]
pub struct NotCreated {
    /// The step that failed.
    pub failure: Box<Failure>,
    /// What its `poststop` hooks got wrong afterwards, which is worth a warning and no more.
    pub warnings: Vec<Failure>,
}

impl From<Failure> for NotCreated {
    fn from(failure: Failure) -> Self {
        Self { failure: failure.into(), warnings: Vec::new() }
    }
}

/// The starter's end of [`davit_sys::startsync`]; dropped unreleased, it ends the process.
///
/// It is close-on-exec: whoever hands it to the next program clears that flag.
#[derive(Debug)]
pub struct StartHandle(pub OwnedFd);

impl StartHandle {
    /// Lets the process execute its program and waits until it does.
    ///
    /// # Errors
    /// The child's failed step, or that of talking to it.
    pub fn start(&self) -> Result<(), Failure> {
        let failed = |error| crate::failure::io("start", "container process", &error);
        davit_sys::startsync::release(self.as_fd()).map_err(failed)?;
        match davit_sys::startsync::outcome(self.as_fd()).map_err(failed)? {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }
}

impl AsFd for StartHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
