//! A sandbox, a bundle with busybox, and the runtime under test.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use davit_testkit::{Need, Sandbox, met, paths, wait};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Namespaces,
    Need::Cgroups,
    Need::Program("busybox"),
    Need::Program("nsenter"),
];

/// The lab for `test`, unless this machine can't run it; under CI that is an error.
pub(crate) fn lab(test: &str) -> Result<Option<Lab>> {
    if met(test, NEEDS) { Lab::new().map(Some) } else { Ok(None) }
}

/// Whether another program than ours is under test.
pub(crate) fn is_foreign() -> bool {
    std::env::var_os("DAVIT_TEST_RUNTIME").is_some_and(|name| !name.is_empty())
}

/// A sandbox with a runtime.
pub(crate) struct Lab {
    pub(crate) sandbox: Sandbox,
    pub(crate) runtime: PathBuf,
    next: AtomicU32,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its output, if it did well.
    #[track_caller]
    pub(crate) fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "exit status {}: {}{}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// What it says of its failure.
    #[track_caller]
    pub(crate) fn err(self) -> Result<String> {
        ensure!(self.code != 0, "it did well: {}", self.stdout);
        Ok(self.stderr)
    }
}

impl Lab {
    fn new() -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let runtime = if is_foreign() {
            let name = std::env::var("DAVIT_TEST_RUNTIME")?;
            paths::program(&name).with_context(|| format!("{name} is not there"))?
        } else {
            let link = sandbox.dir().join("davit-runc");
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_davit-shim"), &link)?;
            link
        };
        let root = sandbox.dir().join("rootfs");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            fs::create_dir_all(root.join(name))?;
        }
        let busybox = paths::program("busybox").context("busybox")?;
        fs::copy(&busybox, root.join("bin/busybox"))?;
        let list = Command::new(&busybox).arg("--list").output()?;
        for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        Ok(Self { sandbox, runtime, next: AtomicU32::new(0) })
    }

    /// The directory of the containers' states.
    pub(crate) fn root(&self) -> PathBuf {
        self.sandbox.dir().join("state")
    }

    /// A new bundle that runs `args`, and the id its container's cgroup is named after.
    pub(crate) fn bundle(&self, args: &[&str], change: impl FnOnce(&mut Value)) -> Result<Bundle> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("c{number}");
        let dir = self.sandbox.dir().join("bundles").join(&id);
        fs::create_dir_all(&dir)?;
        let cgroup = format!("{}/{id}", self.sandbox.cgroup_parent());
        let mut spec = spec(args, &self.sandbox.dir().join("rootfs"), &cgroup);
        change(&mut spec);
        fs::write(dir.join("config.json"), spec.to_string())?;
        Ok(Bundle { id, dir })
    }

    /// Creates a container of a new bundle.
    pub(crate) fn create(&self, args: &[&str], change: impl FnOnce(&mut Value)) -> Result<Bundle> {
        let bundle = self.bundle(args, change)?;
        self.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.ok()?;
        Ok(bundle)
    }

    /// Creates and starts.
    pub(crate) fn start(&self, args: &[&str], change: impl FnOnce(&mut Value)) -> Result<Bundle> {
        let bundle = self.create(args, change)?;
        self.verb(&["start", &bundle.id])?.ok()?;
        Ok(bundle)
    }

    /// The runtime with `args` behind `--root`, to be run inside of the sandbox.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(&self.runtime);
        command.arg("--root").arg(self.root()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs the runtime. Its output goes to files: a container that it leaves behind may hold them.
    pub(crate) fn verb(&self, args: &[&str]) -> Result<Ended> {
        self.finish(self.command(args))
    }

    /// Runs `command` to its end.
    pub(crate) fn finish(&self, mut command: Command) -> Result<Ended> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let file = |name: &str| self.sandbox.dir().join(format!("{name}{number}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let what = format!("{command:?}");
        let mut child = command.spawn().with_context(|| what.clone())?;
        let status = wait::until(PATIENCE, &what, || child.try_wait().map_err(Into::into));
        if status.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let (stdout, stderr) = (fs::read_to_string(stdout)?, fs::read_to_string(stderr)?);
        let status = status.with_context(|| format!("{stdout}{stderr}"))?;
        let code = status.code().with_context(|| format!("{what}: {status}"))?;
        Ok(Ended { code, stdout, stderr })
    }

    /// The state of a container.
    pub(crate) fn state(&self, id: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.verb(&["state", id])?.ok()?)?)
    }

    /// Waits until the container has this status.
    pub(crate) fn until(&self, id: &str, status: &str) -> Result<()> {
        wait::until_true(PATIENCE, &format!("{id} to be {status}"), || {
            Ok(self.state(id)?["status"] == status)
        })
    }

    /// Waits until `path` has a line, and returns all of it.
    pub(crate) fn line(&self, path: &Path) -> Result<String> {
        wait::until(PATIENCE, &format!("a line in {}", path.display()), || {
            let text = fs::read_to_string(path).unwrap_or_default();
            Ok(Some(text).filter(|text| text.ends_with('\n')))
        })
    }

    /// What containers could have left: states, mounts, cgroups, processes.
    pub(crate) fn leftovers(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root()).into_iter().flatten() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                found.push(format!("state {name}"));
            }
        }
        found.extend(self.cgroups_left());
        let mounts = fs::read_to_string(self.sandbox.proc_dir().join("1/mountinfo"))?;
        let top = self.sandbox.dir().to_string_lossy().into_owned();
        found.extend(mounts.lines().filter(|line| line.contains(&top)).map(str::to_owned));
        Ok(found)
    }

    /// Cgroups of containers.
    pub(crate) fn cgroups_left(&self) -> Vec<String> {
        let parent = self.sandbox.cgroup_parent();
        let below = format!(":{parent}/");
        let cgroups = davit_testkit::cgroup::directories(parent);
        cgroups.into_iter().filter(|path| path.contains(&below)).collect()
    }
}

/// A bundle, and its container.
pub(crate) struct Bundle {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
}

impl Bundle {
    pub(crate) fn path(&self) -> &str {
        self.dir.to_str().expect("sandboxes have plain names")
    }

    /// A file of the test in the bundle's directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A socket that a descriptor is sent to.
pub(crate) struct Receiver {
    listener: UnixListener,
    pub(crate) path: PathBuf,
}

impl Receiver {
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// The descriptor and the bytes that came with it.
    pub(crate) fn receive(&self) -> Result<(String, OwnedFd)> {
        let (stream, _) = wait::until(PATIENCE, "a connection", || match self.listener.accept() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            other => Ok(Some(other?)),
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let mut buffer = [std::io::IoSliceMut::new(&mut name)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = rustix::net::recvmsg(&stream, &mut buffer, &mut control, flags)?.bytes;
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let Some(fd) = fd else { bail!("no descriptor came") };
        Ok((String::from_utf8_lossy(&name[..length]).into_owned(), fd))
    }
}

/// Reads from a terminal's master until `text` has come.
pub(crate) fn read_until(master: &OwnedFd, text: &str) -> Result<String> {
    let mut file = File::from(master.try_clone()?);
    let mut all = String::new();
    davit_sys::fdpass::set_nonblocking(master.as_fd(), true)?;
    wait::until_true(PATIENCE, &format!("{text:?} on the terminal"), || {
        let mut buffer = [0; 4096];
        match file.read(&mut buffer) {
            Ok(count) => all.push_str(&String::from_utf8_lossy(&buffer[..count])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // The other end is closed: nothing comes any more.
            Err(_) => ensure!(all.contains(text), "the terminal ended with {all:?}"),
        }
        Ok(all.contains(text))
    })?;
    Ok(all)
}

/// What `docker run` makes, nearly.
fn spec(args: &[&str], root: &Path, cgroup: &str) -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]);
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
        },
        "root": {"path": root},
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts",
                  &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {},
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}],
        },
    })
}
