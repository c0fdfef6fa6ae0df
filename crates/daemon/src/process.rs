//! The daemon as a process: pid file, readiness, signals, log output.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The pid file, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, unless the process in an old one is a daemon that still runs.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let what = || format!("write pid file {}", path.display());
        if let Some(pid) = running_daemon(path) {
            bail!("process {pid} is still running (pid file {})", path.display());
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(what)?;
        }
        std::fs::write(path, std::process::id().to_string()).with_context(what)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that is gone already is what is wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The process named in the file, if it runs this very program: numbers are used again.
fn running_daemon(path: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    if pid == std::process::id() {
        return None;
    }
    let other = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let own = std::env::current_exe().ok()?;
    (other.file_name() == own.file_name()).then_some(pid)
}

/// Tells systemd (`NOTIFY_SOCKET`), if it asked to be told.
pub(crate) fn notify(state: &str) -> Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let socket = UnixDatagram::unbound().context("make a socket to notify systemd")?;
    let sent = address.and_then(|address| socket.send_to_addr(state.as_bytes(), &address));
    match sent {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("notify systemd"),
        _ => Ok(()),
    }
}

/// The signals that end the daemon.
#[derive(Debug)]
pub(crate) struct Termination {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Termination {
    /// Catches them from now on.
    pub(crate) fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("catch signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hang_up: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for one, and names it. SIGHUP reloads dockerd; here nothing can be reloaded yet, and
    /// it must not kill the daemon.
    pub(crate) async fn wait(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => {
                    tracing::warn!("SIGHUP ignored: restart the daemon to reload its configuration");
                }
            }
        }
    }
}

/// Sends messages to standard error; `RUST_LOG` can say more exactly which ones.
pub(crate) fn start_logging(level: &str) {
    let default = || EnvFilter::new(level);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default());
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(rustix::termios::isatty(rustix::stdio::stderr()));
    // A second daemon in one process (tests) keeps the first one's output.
    let _ = subscriber.try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_of_another_program_is_stale() {
        let path = std::env::temp_dir().join(format!("davit-pid-{}", std::process::id()));
        std::fs::write(&path, "1").expect("written");
        let file = PidFile::create(&path).expect("process 1 is not this program");
        let text = std::fs::read_to_string(&path).expect("written");
        assert_eq!(text, std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
    }
}
