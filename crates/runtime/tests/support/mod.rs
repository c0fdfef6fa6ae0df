//! A sandbox for privileged tests and a container to play with in it.
//!
//! Each test runs again as a process of its own in new mount and network namespaces, single-threaded
//! as the shim is, with `/bin/busybox` as the container's only program.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use davit_runtime::{CreateRequest, Created, ExecRequest, Failure, Stdio};
use davit_sys::cgroup::{Cgroup, Layout};
use davit_types::oci::runtime::{Process, Spec};
use rustix::process::{WaitId, WaitIdOptions};
use serde_json::{Value, json};

const INSIDE: &str = "DAVIT_TEST_SANDBOX";
const BUSYBOX: &str = "/bin/busybox";

/// Runs `body` in the sandbox, or says by name why it can't.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn sandboxed(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Some(why) = obstacle() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} can't run: {why}");
        println!("{name} skipped: {why}");
        return;
    }
    let program = std::env::current_exe().expect("our own path");
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private"])
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    if !Path::new(BUSYBOX).exists() {
        return Some(format!("it needs {BUSYBOX} (package busybox-static)"));
    }
    let unshare = Command::new("unshare").args(["--mount", "--net", "true"]).output();
    match unshare {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// A bundle whose root has busybox, and a state directory.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) root: PathBuf,
    parent: String,
    pub(crate) cgroup: String,
}

/// How a process ended and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bundle {
    pub(crate) fn new() -> Self {
        let pid = std::process::id();
        let dir = std::env::temp_dir().join(format!("davit-runtime-{pid}"));
        let rootfs = dir.join("rootfs");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            fs::create_dir_all(rootfs.join(name)).expect("a directory of the root");
        }
        fs::copy(BUSYBOX, rootfs.join("bin/busybox")).expect("busybox");
        let list = Command::new(BUSYBOX).arg("--list").output().expect("busybox");
        for applet in String::from_utf8_lossy(&list.stdout).lines() {
            // busybox itself is in its list.
            let _ = std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet));
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n";
        fs::write(rootfs.join("etc/passwd"), passwd).expect("passwd");
        fs::write(rootfs.join("etc/group"), "root:x:0:\nwww:x:33:\n").expect("group");
        Self::at(dir)
    }

    /// What Docker writes for `docker run busybox <args>`, nearly.
    pub(crate) fn spec(&self, args: &[&str]) -> Value {
        let caps = [
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FSETID",
            "CAP_FOWNER",
            "CAP_MKNOD",
            "CAP_NET_RAW",
            "CAP_SETGID",
            "CAP_SETUID",
            "CAP_SETFCAP",
            "CAP_SETPCAP",
            "CAP_NET_BIND_SERVICE",
            "CAP_SYS_CHROOT",
            "CAP_KILL",
            "CAP_AUDIT_WRITE",
        ];
        let device = |allow: bool, major: Value, minor: Value| {
            json!({"allow": allow, "type": if major.is_null() { "a" } else { "c" },
                   "major": major, "minor": minor, "access": "rwm"})
        };
        json!({
            "ociVersion": "1.3.0",
            "process": {
                "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
                "args": args, "env": ["PATH=/bin"], "cwd": "/",
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
                "oomScoreAdj": 0,
            },
            "root": {"path": "rootfs"},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                 "options": ["ro", "nosuid", "noexec", "nodev"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                 "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]},
            ],
            "linux": {
                "cgroupsPath": self.cgroup,
                "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
                "resources": {"devices": [
                    device(false, Value::Null, Value::Null),
                    device(true, json!(1), json!(3)), device(true, json!(5), json!(0)),
                    device(false, json!(10), json!(229)),
                ]},
                "namespaces": [
                    {"type": "mount"}, {"type": "network"}, {"type": "time"}, {"type": "uts"},
                    {"type": "pid"}, {"type": "ipc"},
                ],
                "maskedPaths": ["/proc/acpi", "/proc/interrupts", "/proc/keys", "/proc/timer_list",
                    "/proc/nosuch", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                    "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
                },
            },
        })
    }

    /// One that somebody else has made and removes.
    pub(crate) fn at(dir: PathBuf) -> Self {
        let parent = format!("/{}", dir.file_name().expect("a name").to_string_lossy());
        Self { root: dir.join("state"), dir, cgroup: format!("{parent}/c1"), parent }
    }

    pub(crate) fn create(&self, spec: Value, stdio: Stdio) -> Result<Created, Failure> {
        self.create_with(spec, stdio, davit_runtime::Launch::default())
    }

    pub(crate) fn create_with(
        &self,
        spec: Value,
        stdio: Stdio,
        launch: davit_runtime::Launch,
    ) -> Result<Created, Failure> {
        let spec: Spec = serde_json::from_value(spec).expect("a configuration");
        davit_runtime::create(&CreateRequest {
            id: "c1",
            bundle: &self.dir,
            root: &self.root,
            spec,
            stdio,
            seccomp_cache: Some(&self.dir.join("seccomp")),
            launch,
        })
        .map_err(|not_created| *not_created.failure)
    }

    pub(crate) fn exec(&self, process: Value, stdio: Stdio) -> Result<Created, Failure> {
        davit_runtime::exec(&self.exec_request(process, stdio))
    }

    pub(crate) fn exec_request(&self, process: Value, stdio: Stdio) -> ExecRequest<'_> {
        let process: Process = serde_json::from_value(process).expect("a process");
        ExecRequest {
            id: "c1",
            root: &self.root,
            process,
            stdio,
            seccomp: None,
            seccomp_cache: None,
            cgroups: &[],
            ignore_paused: false,
            launch: davit_runtime::Launch::default(),
        }
    }

    /// Creates, starts and waits for a container, and deletes it.
    pub(crate) fn run(&self, spec: Value) -> Result<Output, Failure> {
        let streams = Streams::new();
        let created = self.create(spec, streams.stdio)?;
        let started = created.start.start();
        let output = collect(created, streams.stdout, streams.stderr);
        davit_runtime::delete(&self.root, "c1").expect("deleted");
        started.map(|()| output)
    }

    /// The same for an exec in the container.
    pub(crate) fn run_exec(&self, process: Value) -> Result<Output, Failure> {
        let streams = Streams::new();
        let created = self.exec(process, streams.stdio)?;
        let started = created.start.start();
        let output = collect(created, streams.stdout, streams.stderr);
        started.map(|()| output)
    }

    /// What a failed create must not leave: a cgroup, a state directory, a mount, a child.
    pub(crate) fn assert_nothing_left(&self) {
        let layout = Layout::detect().expect("cgroups");
        assert!(!Cgroup::open(&layout, &self.cgroup).expect("a path").exists(), "cgroup left");
        assert!(!self.root.join("c1").exists(), "state left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(self.dir.to_str().expect("a plain path")), "mount left");
        let any = rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED);
        assert_eq!(any.err(), Some(rustix::io::Errno::CHILD), "child left");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let cgroup = Layout::detect().and_then(|layout| Cgroup::open(&layout, &self.parent));
        let removed = cgroup.and_then(|cgroup| {
            cgroup.kill_all()?;
            cgroup.remove()
        });
        // What a test has mounted there; this mount namespace is its own.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        for mount in mounts.iter().rev().filter(|mount| Path::new(mount).starts_with(&self.dir)) {
            let _ = rustix::mount::unmount(*mount, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            removed.expect("the test's cgroups removed");
        }
    }
}

/// Pipes for a process, and the ends to read from.
pub(crate) struct Streams {
    pub(crate) stdio: Stdio,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Streams {
    pub(crate) fn new() -> Self {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let (stdout, stdout_writer) = pipe();
        let (stderr, stderr_writer) = pipe();
        let stdin = File::open("/dev/null").expect("the null device").into();
        let stdio = Stdio::Files { stdin, stdout: stdout_writer, stderr: stderr_writer };
        Self { stdio, stdout, stderr }
    }
}

pub(crate) fn process(args: &[&str]) -> Value {
    json!({"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/"})
}

pub(crate) fn collect(created: Created, stdout: OwnedFd, stderr: OwnedFd) -> Output {
    let text = |fd: OwnedFd| {
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).expect("output");
        text
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    Output { code: wait(&created), stdout, stderr }
}

pub(crate) fn wait(created: &Created) -> i32 {
    let status =
        rustix::process::waitid(WaitId::PidFd(created.pidfd.as_fd()), WaitIdOptions::EXITED);
    let status = status.expect("waitid").expect("a status");
    status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).expect("an end")
}
