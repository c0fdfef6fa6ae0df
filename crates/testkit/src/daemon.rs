//! A daemon in a sandbox: Davit's, or Docker's as the reference.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::{self, Finished};
use crate::http::{self, Request, Response};
use crate::sandbox::{Sandbox, only_child};
use crate::{paths, wait};

/// Whose daemon it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The one under test.
    Davit,
    /// The reference: `dockerd` of the package docker.io.
    Docker,
}

impl Engine {
    /// The engine that the tests are to run against: `DAVIT_TEST_ENGINE`, else Davit.
    pub fn from_environment() -> Self {
        match std::env::var("DAVIT_TEST_ENGINE").as_deref() {
            Ok("docker") => Self::Docker,
            _ => Self::Davit,
        }
    }
}

/// How a daemon is started.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// Whose.
    pub engine: Engine,
    /// Below the sandbox's directory unless set.
    pub data_root: Option<PathBuf>,
    /// Further command-line arguments.
    pub arguments: Vec<String>,
    /// Further variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl Default for DaemonOptions {
    fn default() -> Self {
        Self {
            engine: Engine::from_environment(),
            data_root: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A daemon and the sandbox it lives in.
pub struct Daemon {
    // Dropped first, while the sandbox still exists.
    process: Option<Child>,
    options: DaemonOptions,
    sandbox: Sandbox,
}

impl Daemon {
    /// Starts the daemon under test in a new sandbox.
    pub fn start() -> Result<Self> {
        Self::start_with(Sandbox::new()?, DaemonOptions::default())
    }

    /// Starts a daemon in `sandbox`.
    pub fn start_with(sandbox: Sandbox, options: DaemonOptions) -> Result<Self> {
        fs::create_dir_all(sandbox.dir().join("client"))?;
        let mut daemon = Self { process: None, options, sandbox };
        daemon.start_again()?;
        Ok(daemon)
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Whose daemon this is.
    pub fn engine(&self) -> Engine {
        self.options.engine
    }

    /// The data root.
    pub fn data_root(&self) -> PathBuf {
        self.options.data_root.clone().unwrap_or_else(|| self.sandbox.dir().join("data"))
    }

    /// The exec root.
    pub fn exec_root(&self) -> PathBuf {
        self.sandbox.dir().join("exec")
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.sandbox.dir().join("d.sock")
    }

    /// `DOCKER_HOST` for clients.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts the daemon (again) and waits until it answers.
    pub fn start_again(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        // A stale file of a killed daemon would be taken for the new one's.
        drop(fs::remove_file(self.sandbox.dir().join("pid")));
        let mut command = self.daemon_command();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = command.spawn().context("start the daemon")?;
        let ready = wait::until_true(Duration::from_secs(30), "the daemon's answer", || {
            if let Some(status) = process.try_wait()? {
                bail!("the daemon ended: {status}");
            }
            Ok(self.request("GET", "/_ping").is_ok_and(|answer| answer.status == 200))
        });
        self.process = Some(process);
        ready.with_context(|| format!("daemon log:\n{}", self.log_tail()))
    }

    /// Sends `signal` to the daemon and waits until it has ended.
    pub fn end(&mut self, signal: Signal) -> Result<()> {
        let pid = self.pid()?;
        let mut process = self.process.take().context("no daemon runs")?;
        kill_process(pid, signal).context("signal the daemon")?;
        command::wait_for(&mut process, Duration::from_secs(30)).context("the daemon's end")?;
        Ok(())
    }

    /// The daemon's pid as seen from outside.
    pub fn pid(&self) -> Result<Pid> {
        let process = self.process.as_ref().context("no daemon runs")?;
        Pid::from_raw(only_child(process.id())?).context("pid 0")
    }

    /// One request without a body to the API.
    pub fn request(&self, method: &str, path: &str) -> Result<Response> {
        http::over_unix(&self.socket(), Request { method, path, headers: &[], body: b"" })
    }

    /// One request with a JSON body to the API.
    pub fn post(&self, path: &str, body: &Value) -> Result<Response> {
        let headers = [("Content-Type", "application/json")];
        let body = body.to_string();
        let request = Request { method: "POST", path, headers: &headers, body: body.as_bytes() };
        http::over_unix(&self.socket(), request)
    }

    /// `GET /containers/<name>/json`.
    pub fn inspect(&self, container: &str) -> Result<Value> {
        self.request("GET", &format!("/containers/{container}/json"))?.expect(200)?.json()
    }

    /// Davit's command line (Docker's, against Docker's daemon), to be run.
    pub fn davit_command<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Command {
        match self.options.engine {
            Engine::Davit => self.client(paths::davit().as_os_str(), arguments),
            Engine::Docker => self.docker_command(arguments),
        }
    }

    /// The unmodified Docker command line, to be run.
    pub fn docker_command<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Command {
        self.client(paths::program_or_name("docker").as_os_str(), arguments)
    }

    /// Runs Davit's command line.
    pub fn davit<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Result<Finished> {
        command::run(self.davit_command(arguments), b"", Duration::from_secs(60))
    }

    /// Runs Docker's command line.
    pub fn docker<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Result<Finished> {
        command::run(self.docker_command(arguments), b"", Duration::from_secs(60))
    }

    /// `davit pull` from the sandbox's registry, then the short name: afterwards `NAME` is there.
    pub fn pull(&self, registry: &crate::Registry, name: &str) -> Result<()> {
        let reference = registry.reference(name);
        self.davit(&["pull", "--quiet", &reference])?.ok()?;
        self.davit(&["tag", &reference, name])?.ok()?;
        Ok(())
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.sandbox.dir().join("daemon.log")
    }

    fn client<I: AsRef<OsStr>>(&self, program: &OsStr, arguments: &[I]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("DOCKER_HOST", self.docker_host())
            .env("DOCKER_CONFIG", self.sandbox.dir().join("client"))
            .env("DOCKER_CLI_HINTS", "false")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_API_VERSION");
        command
    }

    fn daemon_command(&self) -> Command {
        let mut command = match self.options.engine {
            Engine::Davit => {
                let mut command = self.sandbox.command(paths::davit());
                command.arg("daemon").env("DAVIT_SHIM", paths::shim());
                command
            }
            Engine::Docker => {
                let mut command = self.sandbox.command("dockerd");
                // Its own containerd and iptables are found in the administrator's directories.
                let path = std::env::var("PATH").unwrap_or_default();
                command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
                command.args(["--live-restore", "--log-level", "warn"]);
                command
            }
        };
        command
            .args([OsStr::new("--data-root"), self.data_root().as_os_str()])
            .args([OsStr::new("--exec-root"), self.exec_root().as_os_str()])
            .args([OsStr::new("--pidfile"), self.sandbox.dir().join("pid").as_os_str()])
            .args(["-H", &self.docker_host(), "--cgroup-parent", self.sandbox.cgroup_parent()])
            .args(&self.options.arguments)
            .envs(self.options.environment.iter().cloned())
            .current_dir("/");
        command
    }
}

impl Drop for Daemon {
    #[allow(clippy::print_stderr, reason = "a failed test shows the daemon's side")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- daemon log\n{}\n---", self.log_tail());
        }
        if let Some(mut process) = self.process.take() {
            // The sandbox's end kills the daemon itself; this is `nsenter`.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// The path of `path` inside the sandbox's mount namespace, as seen from outside.
pub fn inside(daemon: &Daemon, path: &Path) -> PathBuf {
    let relative = path.strip_prefix("/").unwrap_or(path);
    daemon.sandbox.root().join(relative)
}
