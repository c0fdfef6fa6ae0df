//! One container driven over the control socket as the daemon does it, in a sandbox.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use davit_monitor::client::Connection;
use davit_monitor::protocol::{Attach, Event, Request};
use davit_monitor::task::Exit;
use davit_sys::fdpass;
use davit_testkit::{Need, Sandbox, met, paths, rootfs, wait};
use rustix::net::sockopt::Timeout;
use serde_json::{Value, json};

/// How long a test waits for an event or output.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What every test here needs.
pub(crate) const NEEDS: &[Need] = &[
    Need::Root,
    Need::Namespaces,
    Need::Overlay,
    Need::Cgroups,
    Need::Program("busybox"),
    Need::Program("nsenter"),
];

/// Whether the test can run; says so, or fails under CI, when not.
pub(crate) fn can_run(test: &str) -> bool {
    met(test, NEEDS)
}

/// A sandbox with a busybox layer.
pub(crate) struct Host {
    pub(crate) sandbox: Sandbox,
    next: AtomicU32,
}

/// What is to be run; the rest are defaults.
pub(crate) struct Container<'a> {
    pub(crate) args: &'a [&'a str],
    pub(crate) terminal: bool,
    pub(crate) stdin: &'a str,
    pub(crate) restart: Value,
    pub(crate) user: &'a str,
    pub(crate) log: Value,
    pub(crate) runtime: Option<&'static str>,
    /// Bytes; 0: no limit.
    pub(crate) memory: u64,
    pub(crate) hooks: Value,
}

impl Default for Container<'_> {
    fn default() -> Self {
        Self {
            args: &["true"],
            terminal: false,
            stdin: "closed",
            restart: json!({"when": "no", "max_retries": 0, "count": 0}),
            user: "",
            log: json!({}),
            runtime: None,
            memory: 0,
            hooks: json!({}),
        }
    }
}

/// A shim at work, and the daemon's end of its control socket.
pub(crate) struct Running {
    id: String,
    runtime: Option<&'static str>,
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    shim: Child,
    pub(crate) control: Option<Connection>,
}

impl Host {
    pub(crate) fn new() -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let layer = sandbox.dir().join("overlay2/base/diff");
        fs::create_dir_all(&layer)?;
        fs::create_dir_all(sandbox.dir().join("overlay2/l"))?;
        std::os::unix::fs::symlink("../base/diff", sandbox.dir().join("overlay2/l/BASE"))?;
        let mut tar = Command::new("tar").arg("-xC").arg(&layer).stdin(Stdio::piped()).spawn()?;
        tar.stdin.take().context("piped")?.write_all(&rootfs::busybox()?)?;
        ensure!(tar.wait()?.success(), "tar failed");
        Ok(Self { sandbox, next: AtomicU32::new(1) })
    }

    /// Starts the create role on a new container.
    pub(crate) fn create(&self, container: &Container<'_>) -> Result<Running> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:064x}");
        let top = self.sandbox.dir();
        let dir = top.join("containers").join(&id);
        let layer = top.join("overlay2").join(&id);
        for dir in [&dir, &layer.join("diff"), &layer.join("work"), &layer.join("merged")] {
            fs::create_dir_all(dir)?;
        }
        let cgroup = format!("{}/{id}", self.sandbox.cgroup_parent());
        let merged = layer.join("merged");
        fs::write(dir.join("config.json"), spec(container, &merged, &cgroup).to_string())?;
        let log = dir.join("log.json");
        let mut settings = json!({
            "path": log, "max_size": null, "max_files": 1, "compress": false, "attrs": {},
        });
        merge(&mut settings, &container.log);
        let task = json!({
            "id": id, "kind": "container", "runtime_root": top.join("runtime"),
            "runtime": container.runtime.map(paths::program_or_name),
            "rootfs": {
                "layers": top.join("overlay2"), "lower": ["l/BASE"], "upper": layer.join("diff"),
                "work": layer.join("work"), "merged": merged,
            },
            "user": container.user, "groups": [], "terminal": container.terminal,
            "stdin": container.stdin, "log": settings, "restart": container.restart,
            "oom_cgroups": [format!("/sys/fs/cgroup/memory{cgroup}"),
                            format!("/sys/fs/cgroup{cgroup}")],
        });
        fs::write(dir.join("task.json"), task.to_string())?;
        fs::create_dir_all(top.join("runtime"))?;
        let (shim, control) = self.launch("create", &dir)?;
        let runtime = container.runtime;
        Ok(Running { id, runtime, dir, log, shim, control: Some(control) })
    }

    /// Starts the exec role: a further process in `running`.
    pub(crate) fn exec(&self, running: &Running, args: &[&str], stdin: &str) -> Result<Running> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = running.dir.join("exec").join(format!("{number:064x}"));
        fs::create_dir_all(&dir)?;
        let container = Container { args, runtime: running.runtime, ..Container::default() };
        fs::write(dir.join("process.json"), process(&container).to_string())?;
        let task = json!({
            "id": running.id, "kind": "exec", "runtime_root": self.sandbox.dir().join("runtime"),
            "runtime": container.runtime.map(paths::program_or_name), "rootfs": null, "user": "user", "groups": ["extra"],
            "terminal": false, "stdin": stdin, "log": null,
        });
        fs::write(dir.join("task.json"), task.to_string())?;
        let (shim, control) = self.launch("exec", &dir)?;
        let (id, log) = (running.id.clone(), dir.join("log.json"));
        let runtime = running.runtime;
        Ok(Running { id, runtime, dir, log, shim, control: Some(control) })
    }

    /// Creates and starts.
    pub(crate) fn run(&self, container: &Container<'_>) -> Result<Running> {
        let mut running = self.create(container)?;
        running.started()?;
        Ok(running)
    }

    fn launch(&self, role: &str, dir: &Path) -> Result<(Child, Connection)> {
        let (ours, theirs) = fdpass::pair()?;
        rustix::net::sockopt::set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE))?;
        let script = "exec 3<&0 </dev/null; exec \"$@\"";
        let shim = self
            .sandbox
            .command("sh")
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_davit-shim"), role])
            .arg(dir)
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()?;
        Ok((shim, Connection::new(ours)))
    }

    /// Waits until the process with this pid of the sandbox's is a zombie.
    pub(crate) fn died(&self, pid: i32) -> Result<()> {
        let stat = self.sandbox.proc_dir().join(pid.to_string()).join("stat");
        wait::until_true(PATIENCE, "the end of a process", || {
            let text = fs::read_to_string(&stat)?;
            Ok(text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
        })
    }

    /// What a container could have left: mounts, cgroups, runtime state.
    pub(crate) fn leftovers(&self) -> Result<Vec<String>> {
        let mounts = fs::read_to_string(self.sandbox.proc_dir().join("1/mountinfo"))?;
        let top = self.sandbox.dir().to_string_lossy().into_owned();
        let mut found: Vec<String> =
            mounts.lines().filter(|line| line.contains(&top)).map(str::to_owned).collect();
        let parent = self.sandbox.cgroup_parent();
        let below = format!(":{parent}/");
        let cgroups = davit_testkit::cgroup::directories(parent);
        found.extend(cgroups.into_iter().filter(|path| path.contains(&below)));
        for entry in fs::read_dir(self.sandbox.dir().join("runtime"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // The cache of compiled filters is meant to stay.
            if name != "seccomp" {
                found.push(format!("runtime/{name}"));
            }
        }
        Ok(found)
    }
}

impl Running {
    pub(crate) fn control(&mut self) -> &mut Connection {
        self.control.as_mut().expect("the daemon is there")
    }

    pub(crate) fn event(&mut self) -> Result<Event> {
        self.control().receive()?.context("the monitor has ended")
    }

    /// Waits for `Created`, sends `Start`, waits for `Started`.
    pub(crate) fn started(&mut self) -> Result<i32> {
        match self.event()? {
            Event::Created { .. } => {}
            other => bail!("not created: {other:?}"),
        }
        self.start()
    }

    pub(crate) fn start(&mut self) -> Result<i32> {
        self.control().send(Request::Start, None)?;
        loop {
            match self.event()? {
                Event::Started { pid, .. } => return Ok(pid),
                Event::Reply { error: None, .. } => {}
                other => bail!("not started: {other:?}"),
            }
        }
    }

    /// Attaches a new client; its end is returned.
    pub(crate) fn attach(&mut self, options: Attach) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let theirs = OwnedFd::from(theirs);
        self.control().request(Request::Attach(options), Some(theirs.as_fd()), |_| {})?;
        Ok(ours)
    }

    /// Reads events up to the last `Exited`, and waits for the monitor's own end.
    pub(crate) fn ended(&mut self) -> Result<Exit> {
        loop {
            match self.event()? {
                Event::Exited { exit, restart_after_ms: None } => {
                    self.gone()?;
                    return Ok(exit);
                }
                Event::Failed(failure) => bail!("failed: {failure:?}"),
                _ => {}
            }
        }
    }

    /// Waits for the monitor's own end.
    pub(crate) fn gone(&mut self) -> Result<()> {
        wait::until_true(Duration::from_secs(15), "the monitor's end", || {
            Ok(self.shim.try_wait()?.is_some())
        })
    }

    pub(crate) fn signal(&mut self, signal: i32, cancel_restart: bool) -> Result<()> {
        let request = Request::Signal { signal, cancel_restart };
        Ok(self.control().request(request, None, |_| {})?)
    }

    /// The texts in the log, by stream.
    pub(crate) fn logged(&self, stream: &str) -> Result<String> {
        let mut text = String::new();
        for line in fs::read_to_string(&self.log)?.lines() {
            let record: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if record["stream"] == stream {
                text.push_str(record["log"].as_str().context("a string")?);
            }
        }
        Ok(text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The sandbox ends what is left inside; this is only the test's own child.
        let _ = self.shim.kill();
        let _ = self.shim.wait();
    }
}

/// Output only, raw.
pub(crate) const OUTPUT: Attach = Attach {
    stdin: false,
    stdout: true,
    stderr: true,
    multiplexed: false,
    detach_keys: Vec::new(),
    early_input: String::new(),
};

fn process(container: &Container<'_>) -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]);
    json!({
        "terminal": container.terminal,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 0, "gid": 0},
        "args": container.args,
        "env": ["PATH=/bin:/usr/bin"],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
    })
}

fn spec(container: &Container<'_>, root: &Path, cgroup: &str) -> Value {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let memory = match container.memory {
        0 => json!({}),
        limit => json!({"limit": limit, "swap": limit}),
    };
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": root},
        "hostname": "box",
        "process": process(container),
        "hooks": container.hooks,
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts",
                  &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"memory": memory},
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"},
            ],
        },
    })
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}
