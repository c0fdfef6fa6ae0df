//! A runtime with runc's command line: `runc`, `crun`, `runsc`, `kata-runtime`.
//!
//! Its container's first process becomes a child of this one, since the runtime's own process ends and
//! this one adopts orphans. An exec runs at once, there being no way to make it wait; its output
//! waits in the pipes.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as CommandStdio};

use davit_monitor::protocol::Failure;
use davit_runtime::{Created, StartHandle, Stdio};
use davit_sys::{fdpass, pidfd};
use davit_types::oci::runtime::{Process, Spec};
use davit_types::{Context, Error, Result};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde::{Deserialize, Serialize};

use crate::build::Built;
use crate::failure::Stage;
use crate::stdio::Ours;

use super::features;

/// What other runtimes are told the configuration's version is: crun 1.8 refuses newer ones, and all
/// take their parts for what they are whatever the version says.
const OLDEST_VERSION: &str = "1.0.2";

/// The program and the container it is to work on.
pub(crate) struct External {
    program: PathBuf,
    root: PathBuf,
    id: String,
    systemd_cgroup: bool,
}

#[derive(Deserialize)]
struct State {
    pid: i32,
}

#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
}

impl External {
    pub(crate) fn new(program: &Path, root: &Path, id: &str, systemd_cgroup: bool) -> Self {
        Self { program: program.into(), root: root.into(), id: id.to_owned(), systemd_cgroup }
    }

    /// `create`: the process waits for [`External::start`].
    pub(crate) fn create(
        &self,
        task_dir: &Path,
        spec: &Spec,
        stdio: Stdio,
        ours: Ours,
    ) -> Result<Built, Failure> {
        // The user is resolved now; the program reads the file.
        let mut spec = spec.clone();
        spec.set_version(OLDEST_VERSION.to_owned());
        features::suit(&mut spec, &self.program);
        write_json(&task_dir.join("config.json"), &spec).stage("write config.json")?;
        let mut command = self.command(task_dir);
        command.arg("create").arg("--bundle").arg(task_dir);
        self.run(command, task_dir, stdio, ours)
    }

    /// `exec`: the process runs at once.
    pub(crate) fn exec(
        &self,
        task_dir: &Path,
        process: &Process,
        stdio: Stdio,
        ours: Ours,
    ) -> Result<Built, Failure> {
        let path = task_dir.join("process.json");
        write_json(&path, process).stage("write process.json")?;
        let mut command = self.command(task_dir);
        command.arg("exec").arg("--detach").arg("--process").arg(path);
        self.run(command, task_dir, stdio, ours)
    }

    /// `start`.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        let directory = self.root.clone();
        let mut command = self.command(&directory);
        command.arg("start").arg(&self.id);
        finish(&mut command, &directory)
    }

    /// `state`: the first process.
    pub(crate) fn init_pid(&self) -> Result<i32, Failure> {
        let mut command = self.command(&self.root);
        command.stdout(CommandStdio::piped());
        let output = command.arg("state").arg(&self.id).output();
        let output = output.context(|| self.what("state")).stage("state")?;
        let state: Result<State> =
            serde_json::from_slice(&output.stdout).context(|| self.what("state"));
        state.map(|state| state.pid).stage("state")
    }

    /// `delete --force`. Fails when there is nothing to delete, which is as well.
    pub(crate) fn remove(&self) {
        let mut command = self.command(&self.root);
        command.args(["delete", "--force"]).arg(&self.id);
        let _ = finish(&mut command, &self.root);
    }

    fn what(&self, verb: &str) -> String {
        format!("{} {verb} {}", self.program.display(), self.id)
    }

    fn command(&self, log_dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command.arg("--log").arg(log_dir.join("runtime.log")).args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.stdin(CommandStdio::null());
        command.stdout(CommandStdio::null()).stderr(CommandStdio::null());
        command
    }

    fn run(
        &self,
        mut command: Command,
        task_dir: &Path,
        stdio: Stdio,
        ours: Ours,
    ) -> Result<Built, Failure> {
        // Before its child can be orphaned.
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
            .map_err(io::Error::from)
            .context(|| "become a subreaper")
            .stage("create")?;
        let pid_file = task_dir.join("runtime.pid");
        command.arg("--pid-file").arg(&pid_file);
        let mut console = None;
        match stdio {
            Stdio::Terminal => {
                let listener = ConsoleSocket::new(task_dir).stage("create")?;
                command.arg("--console-socket").arg(&listener.path_for_others);
                console = Some(listener);
            }
            Stdio::Files { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
            }
            Stdio::Inherit => {}
        }
        finish(command.arg(&self.id), task_dir)?;
        // Its copies of the streams' ends would keep them open.
        drop(command);
        let console_master =
            console.map(|console| console.receive()).transpose().stage("receive terminal")?;
        let (pid, pidfd) = open_process(&pid_file).stage("create")?;
        let start = StartHandle(placeholder().stage("create")?);
        let created = Created { pid, pidfd, start, console_master };
        Ok(Built { created, ours, waits: false })
    }
}

/// Runs the program; its log has the reason of a failure.
fn finish(command: &mut Command, log_dir: &Path) -> Result<(), Failure> {
    let verb = format!("run {}", command.get_program().to_string_lossy());
    let log = log_dir.join("runtime.log");
    let status = command.status().context(|| verb.clone()).stage("runtime")?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    if status.success() {
        return Ok(());
    }
    // The first is the cause, what follows are its consequences.
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
    let error = lines.find(|line| matches!(&*line.level, "error" | "fatal"));
    let message = error.map_or_else(|| format!("{verb}: {status}"), |line| line.msg);
    Err(Failure { stage: "runtime".to_owned(), errno: 0, message })
}

fn open_process(pid_file: &Path) -> Result<(i32, OwnedFd)> {
    let text = fs::read_to_string(pid_file).context(|| "read the runtime's pid file")?;
    let _ = fs::remove_file(pid_file);
    let pid = text.trim().parse().context(|| "parse the runtime's pid file")?;
    Ok((pid, pidfd::open(pid).context(|| format!("open process {pid}"))?))
}

/// The process waits at no start socket of ours.
fn placeholder() -> Result<OwnedFd> {
    let null = fs::File::open("/dev/null").context(|| "open /dev/null")?;
    Ok(null.into())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).context(|| format!("encode {}", path.display()))?;
    fs::write(path, text).context(|| format!("write {}", path.display()))
}

/// Where the runtime sends the terminal's master.
struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
    path_for_others: PathBuf,
    _directory: fs::File,
}

impl ConsoleSocket {
    /// A socket in `directory`, reached through a descriptor: its path may be too long for an address.
    fn new(directory: &Path) -> Result<Self> {
        let make = || -> io::Result<Self> {
            let path = directory.join("console.sock");
            let _ = fs::remove_file(&path);
            let opened = fs::File::open(directory)?;
            let below = format!("fd/{}/console.sock", opened.as_raw_fd());
            Ok(Self {
                listener: UnixListener::bind(format!("/proc/self/{below}"))?,
                path,
                path_for_others: format!("/proc/{}/{below}", std::process::id()).into(),
                _directory: opened,
            })
        };
        make().context(|| "make a console socket")
    }

    fn receive(self) -> Result<OwnedFd> {
        let receive = || -> io::Result<Option<OwnedFd>> {
            self.listener.set_nonblocking(true)?;
            let (stream, _) = self.listener.accept()?;
            fdpass::set_nonblocking(&stream, false)?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut name = [0; 4096];
            let mut buffer = [IoSliceMut::new(&mut name)];
            rustix::net::recvmsg(&stream, &mut buffer, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            Ok(control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            }))
        };
        let received = receive().context(|| "receive the terminal")?;
        let _ = fs::remove_file(&self.path);
        received.ok_or_else(|| Error::internal("the runtime sent no terminal"))
    }
}
