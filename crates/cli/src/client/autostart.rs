//! Starting a daemon when none answers on Davit's own socket.
//!
//! The CLI spawns itself under [`LAUNCH`]; that process makes itself a session of its own and becomes the daemon
//! by exec, so that neither the terminal's hang-up nor its Ctrl-C reaches it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use crate::failure::{Failure, Outcome};

/// The hidden command that becomes the daemon.
pub(crate) const LAUNCH: &str = "__launch-daemon";

/// Where the daemon's output goes; the first that can be opened.
const LOGS: [&str; 2] = ["/var/log/davit.log", "/run/davit/davit.log"];

/// How long a daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to go on waiting when the process we started is gone: another one may have won the race.
const GRACE: Duration = Duration::from_secs(2);

/// Whether this user may start a daemon.
pub(crate) fn is_allowed() -> bool {
    rustix::process::geteuid().is_root()
}

/// Starts a daemon and connects to its socket once it listens.
pub(crate) async fn start_and_connect(socket: &Path) -> Outcome<UnixStream> {
    let (log, log_path) = open_log()?;
    let mut child = Command::new("/proc/self/exe")
        .arg(LAUNCH)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(|error| Failure::new(format!("start the davit daemon: {error}")))?;
    let mut deadline = Instant::now() + PATIENCE;
    let mut has_ended = false;
    loop {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return Ok(stream);
        }
        if !has_ended && child.try_wait()?.is_some() {
            has_ended = true;
            deadline = deadline.min(Instant::now() + GRACE);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!(
                "Cannot connect to the Docker daemon at unix://{}. Is the docker daemon running?\n\
                 A daemon was started but does not answer; see {log_path}",
                socket.display()
            )));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn open_log() -> Outcome<(File, &'static str)> {
    let open = |path: &'static str| -> io::Result<(File, &'static str)> {
        if let Some(parent) = Path::new(path).parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok((OpenOptions::new().create(true).append(true).open(path)?, path))
    };
    let [first, second] = LOGS;
    Ok(open(first).or_else(|_| open(second))?)
}

/// The launched process: a session of its own, then the daemon.
pub(crate) fn launch() -> ExitCode {
    if let Err(error) = rustix::process::setsid() {
        crate::output::complain(&format!("davit: start a session for the daemon: {error}"));
        return ExitCode::FAILURE;
    }
    let error = Command::new("/proc/self/exe").arg0("davit").arg("daemon").exec();
    crate::output::complain(&format!("davit: become the daemon: {error}"));
    ExitCode::FAILURE
}
