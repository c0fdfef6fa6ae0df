//! What `create`, `run` and `exec` share: descriptors handed on, pid file, and who gets the terminal.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use davit_runtime::{Created, Launch};
use davit_types::{Context, Error, Result};

use super::cli::Verb;
use super::{Host, console};

/// Flags of `create`, `run` and `restore` beside the bundle.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) handles: Handles,
    /// Move the root and don't pivot to it, as on an initial ramdisk
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
}

/// Flags about what goes in and out of a process, of `exec` as well.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Handles {
    /// Unix socket that gets the master of the process' terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// File for the process' pid
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Hand on so many descriptors beside the standard streams and those of LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
}

impl Args {
    pub(crate) fn launch(&self, host: &Host<'_>) -> Launch {
        Launch {
            gated: true,
            no_pivot: self.no_pivot,
            keep_keyring: self.no_new_keyring,
            preserved_fds: self.handles.preserve_fds + listen_fds(),
            rootless: host.rootless,
            systemd_cgroup: host.systemd_cgroup,
        }
    }
}

impl Handles {
    /// The terminal of a process that nobody stays beside has to go somewhere, and only that.
    pub(crate) fn check_terminal(&self, terminal: bool, detached: bool) -> Result<()> {
        match (terminal && detached, self.console_socket.is_some()) {
            (true, false) => Err(Error::invalid(
                "cannot allocate tty if davit-runc will detach without setting console socket",
            )),
            (false, true) => Err(Error::invalid(
                "cannot use console socket if davit-runc will not detach or allocate tty",
            )),
            _ => Ok(()),
        }
    }

    /// Tells whoever wants to know of the process. `kind` is how runc names it beside the pidfd.
    pub(crate) fn announce(&self, created: &Created, kind: &str) -> Result<()> {
        if let (Some(socket), Some(master)) = (&self.console_socket, &created.console_master) {
            console::send(socket, "/dev/ptmx", master.as_fd())?;
        }
        if let Some(socket) = &self.pidfd_socket {
            console::send(socket, kind, created.pidfd.as_fd())?;
        }
        match &self.pid_file {
            Some(path) => write_pid(path, created.pid),
            None => Ok(()),
        }
    }
}

/// Whoever reads it finds it whole.
pub(crate) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Error::invalid(format!("{} is no file", path.display())))?;
    let aside = path.with_file_name(format!(".{name}"));
    let written = fs::write(&aside, pid.to_string()).and_then(|()| fs::rename(&aside, path));
    written.context(|| format!("write pid file {}", path.display()))
}

/// Descriptors that a service manager hands on, if they are meant for this very process.
pub(crate) fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    number("LISTEN_FDS").filter(|_| number("LISTEN_PID") == Some(std::process::id())).unwrap_or(0)
}

/// What the program is told of them.
pub(crate) fn listen_variables() -> Option<[String; 2]> {
    let count = listen_fds();
    (count > 0).then(|| [format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()])
}

/// Descriptors to be handed on must be there.
pub(crate) fn check_preserved(verb: &Verb) -> Result<()> {
    let asked = match verb {
        Verb::Create(args) => args.launch.handles.preserve_fds,
        Verb::Run(args) => args.launch.handles.preserve_fds,
        Verb::Exec(args) => args.handles.preserve_fds,
        _ => return Ok(()),
    };
    for number in 3..3 + asked + listen_fds() {
        let path = format!("/proc/self/fd/{number}");
        fs::symlink_metadata(&path)
            .context(|| format!("unable to stat preserved-fd {} (of {asked})", number - 2))?;
    }
    Ok(())
}
