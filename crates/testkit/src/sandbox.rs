//! A place where a privileged test can do no harm: own mount, network and PID namespaces, an own
//! cgroup parent and an own directory.
//!
//! The sandbox's first process reads from a pipe that the test holds: when the test ends, however
//! it ends, that process ends, and the kernel kills everything in the PID namespace with it.
//! Process ids that a daemon in here reports are those of the sandbox; [`Sandbox::proc_dir`] is the
//! `/proc` that knows them. Directories and unix sockets are seen under the same path on both sides.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{self, Finished};
use crate::{cgroup, paths};

/// A tmpfs on /run keeps the machine's own sockets and locks out of reach.
const SETUP: &str = "set -e
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
echo ready
exec 3<&0
cat <&3 >/dev/null &
wait";

/// Address of the sandbox towards its outside, see [`Sandbox::add_outside`].
pub const HOST_ADDRESS: &str = "192.0.2.1";

const PREFIX: &str = "davit-test-";
const LOCK: &str = "in-use";

/// Namespaces, cgroup parent and directory of one test.
pub struct Sandbox {
    directory: PathBuf,
    cgroup: String,
    unshare: Child,
    /// Held for its closing.
    lifeline: Option<ChildStdin>,
    init: i32,
    /// Tells [`sweep`] that the directory is in use.
    _lock: File,
}

impl Sandbox {
    /// Makes one.
    pub fn new() -> Result<Self> {
        sweep(&paths::sandbox_base());
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(6)
            .tempdir_in(paths::sandbox_base())
            .context("create the sandbox's directory")?
            .keep();
        let lock = File::create(directory.join(LOCK))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let name = directory.file_name().context("the directory has a name")?;
        let cgroup = format!("/{}", name.to_string_lossy());
        let mut unshare = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", SETUP])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run unshare")?;
        let lifeline = unshare.stdin.take();
        let stdout = unshare.stdout.take().context("stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "ready\n", "the sandbox's first process did not get ready");
        let init = only_child(unshare.id())?;
        Ok(Self { directory, cgroup, unshare, lifeline, init, _lock: lock })
    }

    /// The test's own directory, deleted at the end (unless `DAVIT_TEST_KEEP` is set).
    pub fn dir(&self) -> &Path {
        &self.directory
    }

    /// The parent for the daemon's cgroups.
    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup
    }

    /// The first process, as seen from outside.
    pub fn init(&self) -> i32 {
        self.init
    }

    /// `/proc` of the sandbox.
    pub fn proc_dir(&self) -> PathBuf {
        self.root().join("proc")
    }

    /// The sandbox's root directory as seen from outside.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init))
    }

    /// `program`, to be run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-m", "-n", "-p", "--"]).arg(program);
        command
    }

    /// Runs a shell script inside and waits for it.
    pub fn sh(&self, script: &str) -> Result<Finished> {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        command::run(command, b"", Duration::from_secs(120))
    }

    /// The answer's body and code for `url`, fetched inside (code 0: no answer).
    pub fn curl(&self, url: &str) -> Result<(u32, String)> {
        self.curl_in(&[], url)
    }

    /// Gives the sandbox a neighbour: the network namespace `outside`, 192.0.2.2, which reaches the
    /// sandbox at [`HOST_ADDRESS`].
    pub fn add_outside(&self) -> Result<()> {
        self.sh("set -e
            ip netns add outside
            ip link add uplink type veth peer name eth0 netns outside
            ip addr add 192.0.2.1/24 dev uplink
            ip link set uplink up
            ip route add default via 192.0.2.2
            ip -n outside link set lo up
            ip -n outside addr add 192.0.2.2/24 dev eth0
            ip -n outside link set eth0 up")?
            .ok()?;
        Ok(())
    }

    /// [`Sandbox::curl`] from the neighbour.
    pub fn curl_from_outside(&self, url: &str) -> Result<(u32, String)> {
        self.curl_in(&["ip", "netns", "exec", "outside"], url)
    }

    /// A TCP connection made inside. A throw-away thread enters the namespace, so that no other
    /// thread of the test is ever in it.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.init))?;
        let connecting = thread::spawn(move || -> Result<TcpStream> {
            use std::os::fd::AsFd;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(TcpStream::connect_timeout(&address, Duration::from_secs(5))?)
        });
        match connecting.join() {
            Ok(stream) => stream.with_context(|| format!("connect to {address} in the sandbox")),
            Err(_) => bail!("the connecting thread panicked"),
        }
    }

    /// The pids inside, with their command names.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let entries = fs::read_dir(self.proc_dir()).into_iter().flatten().flatten();
        let mut found: Vec<(i32, String)> = entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_string_lossy().parse().ok()?;
                let name = fs::read_to_string(entry.path().join("comm")).ok()?;
                Some((pid, name.trim().to_owned()))
            })
            .collect();
        found.sort();
        found
    }

    fn curl_in(&self, wrapper: &[&str], url: &str) -> Result<(u32, String)> {
        let words = wrapper.iter().copied().chain(["curl"]).collect::<Vec<_>>();
        let mut command = self.command(words[0]);
        command.args(&words[1..]);
        command.args(["--silent", "--max-time", "5", "--write-out", "\n%{http_code}", url]);
        let finished = command::run(command, b"", Duration::from_secs(10))?;
        let (body, code) = finished.stdout.rsplit_once('\n').unwrap_or(("", "0"));
        Ok((code.parse().unwrap_or(0), body.to_owned()))
    }
}

impl Drop for Sandbox {
    #[allow(clippy::print_stderr, reason = "a destructor has no other way to report")]
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // Killing `unshare` kills the first process, and that everything in the namespace.
        drop(self.unshare.kill());
        drop(self.unshare.wait());
        let gone = crate::wait::until_true(Duration::from_secs(10), "the sandbox's end", || {
            Ok(!Path::new(&format!("/proc/{}", self.init)).exists())
        });
        let removed = gone.and_then(|()| cgroup::remove(&self.cgroup));
        if let Err(error) = removed {
            eprintln!("clean up {}: {error:#}", self.cgroup);
        }
        if std::env::var_os("DAVIT_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.directory.display());
        } else if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("remove {}: {error}", self.directory.display());
        }
    }
}

/// Removes what a test left that was killed before it could: directories that nobody holds, and
/// their cgroups. The processes ended with the test.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        let age = lock.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        let old = age.is_some_and(|age| age > Duration::from_secs(60));
        if !name.starts_with(PREFIX) || !old || std::env::var_os("DAVIT_TEST_KEEP").is_some() {
            continue;
        }
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // What can't be removed now is tried again by the next test.
            drop(cgroup::remove(&format!("/{name}")));
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// The pid of the one child of process `parent`.
pub fn only_child(parent: u32) -> Result<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    crate::wait::until(Duration::from_secs(5), "the child process", || {
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        Ok(text.split_whitespace().next().and_then(|pid| pid.parse().ok()))
    })
}
