//! Programs that the configuration wants run at points of a container's life.
//!
//! `prestart`, `createRuntime`, `poststart` and `poststop` run where the runtime is, in the bundle's
//! directory; `createContainer` runs in the container's namespaces before its root is entered;
//! `startContainer` runs in the container. A hook reads the container's state on its standard input.
//! What the last two kinds after the start (`poststart`, `poststop`) get wrong is only told.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use davit_types::oci::runtime::{Hook as SpecHook, Spec};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Failure;
use crate::failure::{Step, errno_text, text};
use crate::plan::config;
use crate::state::State;

/// Of each stream, this much of what a hook writes is shown when it fails.
const SHOWN: usize = 4096;

/// All hooks of a container, in the order in which each kind runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// After the namespaces are made (deprecated by the specification).
    pub prestart: Vec<Hook>,
    /// After the namespaces are made, outside of them.
    pub create_runtime: Vec<Hook>,
    /// In the namespaces, before the container's root is entered.
    pub create_container: Vec<Hook>,
    /// In the container, before its program.
    pub start_container: Vec<Hook>,
    /// After the program was started, outside.
    pub poststart: Vec<Hook>,
    /// After the container was deleted, outside.
    pub poststop: Vec<Hook>,
}

/// One program to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, its own name first; empty: the path alone.
    pub args: Vec<String>,
    /// Its whole environment; absent: that of whoever runs it.
    pub env: Option<Vec<String>>,
    /// Seconds after which it is killed and has failed.
    pub timeout: Option<u32>,
}

/// A kind of hook, named as in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// What the specification calls the container's state at that point.
    fn status(self) -> &'static str {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => "creating",
            Self::StartContainer => "created",
            Self::Poststart => "running",
            Self::Poststop => "stopped",
        }
    }
}

/// What hooks are told of a container; the process id differs from one namespace to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) oci_version: &'a str,
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
    pub(crate) annotations: &'a BTreeMap<String, String>,
}

impl Hooks {
    /// The hooks of `spec`.
    pub(crate) fn new(spec: &Spec) -> Result<Self, Failure> {
        let Some(hooks) = spec.hooks() else { return Ok(Self::default()) };
        Ok(Self {
            prestart: planned(Kind::Prestart, hooks.prestart().as_deref())?,
            create_runtime: planned(Kind::CreateRuntime, hooks.create_runtime().as_deref())?,
            create_container: planned(Kind::CreateContainer, hooks.create_container().as_deref())?,
            start_container: planned(Kind::StartContainer, hooks.start_container().as_deref())?,
            poststart: planned(Kind::Poststart, hooks.poststart().as_deref())?,
            poststop: planned(Kind::Poststop, hooks.poststop().as_deref())?,
        })
    }

    /// Whether the container's child has to wait for hooks outside of it.
    pub(crate) fn before_pivot(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }

    /// Only those that run after the container was created.
    pub(crate) fn later(&self) -> Self {
        Self {
            poststart: self.poststart.clone(),
            poststop: self.poststop.clone(),
            ..Self::default()
        }
    }

    fn of(&self, kind: Kind) -> &[Hook] {
        match kind {
            Kind::Prestart => &self.prestart,
            Kind::CreateRuntime => &self.create_runtime,
            Kind::CreateContainer => &self.create_container,
            Kind::StartContainer => &self.start_container,
            Kind::Poststart => &self.poststart,
            Kind::Poststop => &self.poststop,
        }
    }

    /// Runs the hooks of one kind; the first that fails is the last.
    pub(crate) fn run(
        &self,
        kind: Kind,
        subject: &Subject<'_>,
        pid: i32,
        surroundings: &HookSurroundings<'_>,
    ) -> Result<(), Failure> {
        let hooks = self.of(kind);
        if hooks.is_empty() {
            return Ok(());
        }
        let state = subject.state(kind, pid);
        (0..).zip(hooks).try_for_each(|(number, hook)| {
            run(hook, &state, surroundings).map_err(|why| told(kind, number, hook, &why))
        })
    }

    /// Runs all hooks of a kind whose failures don't matter to the container, and returns those.
    fn run_all(&self, kind: Kind, subject: &Subject<'_>, pid: i32) -> Vec<Failure> {
        let state = subject.state(kind, pid);
        let surroundings = HookSurroundings { directory: Some(subject.bundle), env: None };
        let hooks = (0..).zip(self.of(kind));
        let failed = |(number, hook): (usize, &Hook)| {
            run(hook, &state, &surroundings).err().map(|why| told(kind, number, hook, &why))
        };
        hooks.filter_map(failed).collect()
    }
}

/// Where a hook runs and what it inherits when it has no environment of its own.
#[derive(Debug, Default)]
pub(crate) struct HookSurroundings<'a> {
    /// Its working directory; absent: that of the caller.
    pub(crate) directory: Option<&'a Path>,
    /// Its environment; absent: that of the caller.
    pub(crate) env: Option<&'a [(OsString, OsString)]>,
}

impl Subject<'_> {
    fn state(&self, kind: Kind, pid: i32) -> Vec<u8> {
        let pid = (kind != Kind::Poststop).then_some(pid);
        let state = self.document(kind.status(), pid);
        serde_json::to_vec(&state).expect("a value has string keys only")
    }

    /// The specification's state of the container.
    pub(crate) fn document(&self, status: &str, pid: Option<i32>) -> Value {
        let mut state = json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "bundle": self.bundle,
        });
        if let Some(pid) = pid {
            state["pid"] = json!(pid);
        }
        if !self.annotations.is_empty() {
            state["annotations"] = json!(self.annotations);
        }
        state
    }
}

/// Runs the `poststart` hooks of a container whose program was just started. Their failures are worth
/// a warning and no more.
pub fn poststart(state: &State) -> Vec<Failure> {
    state.hooks.run_all(Kind::Poststart, &subject(state), state.pid)
}

/// Runs the `poststop` hooks of a container that was just deleted. Their failures are worth a warning
/// and no more.
pub fn poststop(state: &State) -> Vec<Failure> {
    state.hooks.run_all(Kind::Poststop, &subject(state), 0)
}

/// What is told of a container that was created before.
pub(crate) fn subject(state: &State) -> Subject<'_> {
    Subject {
        oci_version: &state.oci_version,
        id: &state.id,
        bundle: &state.bundle,
        annotations: &state.annotations,
    }
}

fn planned(kind: Kind, hooks: Option<&[SpecHook]>) -> Result<Vec<Hook>, Failure> {
    let object = format!("hooks.{}", kind.name());
    let hook = |hook: &SpecHook| {
        let path = hook.path().clone();
        let shown = path.display();
        if !path.is_absolute() {
            let message = format!("invalid {object} hook {shown}: path is not an absolute path");
            return Err(config(&object, message));
        }
        let timeout = match hook.timeout() {
            None => None,
            Some(seconds) => match u32::try_from(seconds) {
                Ok(seconds) if seconds > 0 => Some(seconds),
                _ => {
                    let message = format!("{object} hook {shown}: timeout must be above zero");
                    return Err(config(&object, message));
                }
            },
        };
        let args = hook.args().clone().unwrap_or_default();
        let env = hook.env().clone();
        let texts = args.iter().chain(env.iter().flatten());
        if texts.map(String::as_str).chain(path.to_str()).any(|text| text.contains('\0')) {
            return Err(config(&object, format!("{object} hook {shown} contains nul byte")));
        }
        Ok(Hook { path, args, env, timeout })
    };
    hooks.unwrap_or_default().iter().map(hook).collect()
}

fn told(kind: Kind, number: usize, hook: &Hook, why: &str) -> Failure {
    let message = format!("error running {} hook #{number}: {why}", kind.name());
    text("hook", &hook.path.to_string_lossy(), message)
}

fn run(hook: &Hook, state: &[u8], surroundings: &HookSurroundings<'_>) -> Result<(), String> {
    let path = hook.path.display();
    let shown = |what: &str, error: io::Error| format!("{what} {path}: {}", errno_text(&error));
    let (mut command, out, err) =
        prepared(hook, state, surroundings).map_err(|error| shown("prepare", error))?;
    let mut child = command.spawn().map_err(|error| shown("fork/exec", error))?;
    // The command's copies of the writing ends would keep the pipes open.
    drop(command);
    let mut written = [Written::new(out), Written::new(err)];
    let limit = hook.timeout.map(|seconds| Duration::from_secs(seconds.into()));
    let ended =
        attend(&mut child, &mut written, limit).map_err(|error| shown("wait for", error))?;
    let [out, err] = written.map(|stream| stream.text());
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            Err(format!("error running hook: {}, stdout: {out}, stderr: {err}", how(status)))
        }
        None => {
            let seconds = hook.timeout.unwrap_or_default();
            Err(format!("hook ran past specified timeout of {seconds}s"))
        }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

fn prepared(
    hook: &Hook,
    state: &[u8],
    surroundings: &HookSurroundings<'_>,
) -> io::Result<(Command, File, File)> {
    // A file and not a pipe: nobody has to write while the hook runs.
    let mut input: File = rustix::fs::memfd_create(c"state", MemfdFlags::CLOEXEC)?.into();
    input.write_all(state)?;
    input.rewind()?;
    let pipe = || {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
        io::Result::Ok((File::from(read), write))
    };
    let (out, out_writer) = pipe()?;
    let (err, err_writer) = pipe()?;
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    if let Some(env) = &hook.env {
        let pairs = env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
        command.env_clear().envs(pairs);
    } else if let Some(env) = surroundings.env {
        command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    }
    if let Some(directory) = surroundings.directory {
        command.current_dir(directory);
    }
    // A group of its own, so that a time limit ends what it has started, too.
    command.process_group(0).stdin(input).stdout(out_writer).stderr(err_writer);
    Ok((command, out, err))
}

/// What a hook writes to one of its streams.
struct Written {
    file: Option<File>,
    bytes: Vec<u8>,
}

impl Written {
    fn new(file: File) -> Self {
        Self { file: Some(file), bytes: Vec::new() }
    }

    /// Takes what is there.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(file) = &mut self.file {
            match file.read(&mut buffer) {
                Ok(0) => self.file = None,
                Ok(count) => {
                    let room = SHOWN.saturating_sub(self.bytes.len()).min(count);
                    self.bytes.extend(&buffer[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.file = None,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Reads what the hook writes until it ends. Nothing: it took too long and was killed.
///
/// A process that it leaves behind may keep the streams: only the hook itself is waited for.
fn attend(
    child: &mut Child,
    written: &mut [Written; 2],
    limit: Option<Duration>,
) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let mut wait = vec![PollFd::new(&pidfd, PollFlags::IN)];
        let streams = written.iter().filter_map(|stream| stream.file.as_ref());
        wait.extend(streams.map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut wait, left.as_ref()))?;
        let ended = !wait[0].revents().is_empty();
        written.iter_mut().for_each(Written::drain);
        if ended {
            return child.wait().map(Some);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // The group first, which needs its leader's number; then the leader in any case.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
}

/// The environment of the container's process, for hooks that run beside it.
pub(crate) fn pairs(env: &[std::ffi::CString]) -> Vec<(OsString, OsString)> {
    use std::os::unix::ffi::OsStrExt;
    let pair = |entry: &std::ffi::CString| {
        let bytes = entry.as_bytes();
        let middle = bytes.iter().position(|&byte| byte == b'=')?;
        let part = |part: &[u8]| OsStr::from_bytes(part).to_owned();
        Some((part(&bytes[..middle]), part(&bytes[middle + 1..])))
    };
    env.iter().filter_map(pair).collect()
}

/// Pid of the caller as its own namespace counts.
pub(crate) fn own_pid() -> Result<i32, Failure> {
    i32::try_from(std::process::id()).map_err(io::Error::other).step("read", "own pid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".into(), args, env: None, timeout: Some(60) }
    }

    fn subject(annotations: &BTreeMap<String, String>) -> Subject<'_> {
        Subject { oci_version: "1.3.0", id: "c1", bundle: Path::new("/"), annotations }
    }

    #[test]
    fn a_hook_reads_the_state_and_runs_in_its_directory() {
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let script = r#"state=$(cat); [ "$PWD" = /proc ] && [ "$0" = sh ] || exit 9
            case $state in *'"annotations":{"a":"b"}'*'"id":"c1"'*'"pid":7'*'"status":"creating"'*) ;;
            *) echo "$state"; exit 8;; esac"#;
        let hooks = Hooks { create_runtime: vec![hook(script)], ..Hooks::default() };
        let surroundings = HookSurroundings { directory: Some(Path::new("/proc")), env: None };
        hooks
            .run(Kind::CreateRuntime, &subject(&annotations), 7, &surroundings)
            .expect("it is fine");
    }

    #[test]
    fn the_first_that_fails_ends_the_row_and_shows_what_it_said() {
        let annotations = BTreeMap::new();
        let failing = hook("echo out; echo err >&2; exit 3");
        let never = Hook { path: "/nonexistent".into(), ..hook("") };
        let hooks = Hooks { prestart: vec![hook("true"), failing, never], ..Hooks::default() };
        let surroundings = HookSurroundings::default();
        let failure = hooks.run(Kind::Prestart, &subject(&annotations), 1, &surroundings);
        let expected = "error running prestart hook #1: error running hook: exit status 3, \
                        stdout: out\n, stderr: err\n";
        assert_eq!(failure.expect_err("it fails").message, expected);
        let all = hooks.run_all(Kind::Prestart, &subject(&annotations), 1);
        let missing =
            "error running prestart hook #2: fork/exec /nonexistent: no such file or directory";
        assert_eq!(all.iter().map(|f| f.message.as_str()).collect::<Vec<_>>(), [expected, missing]);
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed_with_its_children() {
        let annotations = BTreeMap::new();
        let slow = Hook { timeout: Some(1), ..hook("sleep 1000 & wait") };
        let hooks = Hooks { poststop: vec![slow], ..Hooks::default() };
        let failures = hooks.run_all(Kind::Poststop, &subject(&annotations), 0);
        let expected = "error running poststop hook #0: hook ran past specified timeout of 1s";
        assert_eq!(failures[0].message, expected);
    }

    #[test]
    fn an_environment_is_the_whole_environment() {
        let annotations = BTreeMap::new();
        let script = r#"[ "$A" = "1=2" ] && [ -z "$HOME" ] || exit 1"#;
        let own = Hook { env: Some(vec!["A=1=2".to_owned()]), ..hook(script) };
        let hooks = Hooks { poststart: vec![own], ..Hooks::default() };
        assert_eq!(hooks.run_all(Kind::Poststart, &subject(&annotations), 1), []);
    }

    #[test]
    fn a_flood_and_a_process_left_behind_do_not_hold_it_up() {
        let annotations = BTreeMap::new();
        let flood = hook("head -c 300000 /dev/zero; sleep 2 & exit 0");
        let hooks = Hooks { poststart: vec![flood], ..Hooks::default() };
        assert_eq!(hooks.run_all(Kind::Poststart, &subject(&annotations), 1), []);
    }
}
