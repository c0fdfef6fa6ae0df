//! The create and exec roles: from a task's files to a process that waits for the word to start.

use std::fs;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use davit_monitor::client::SOCKET;
use davit_monitor::handover::{self, Handover};
use davit_monitor::protocol::{CONTROL_FD, Event, Failure};
use davit_monitor::restart::History;
use davit_monitor::status;
use davit_monitor::task::{Phase, Status, Task};
use davit_runtime::Created;
use davit_sys::fdpass;
use davit_types::oci::runtime::{Process, Spec};
use davit_types::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;

use crate::failure::{self, Stage};
use crate::rootfs::Unmounted;
use crate::runtime::Runtime;
use crate::stdio::Ours;
use crate::{rootfs, stdio, surroundings};

/// A container's first process, for the first time.
pub(crate) fn create(task_dir: PathBuf) -> Result<()> {
    first(task_dir, create_container)
}

/// A further process in a running container.
pub(crate) fn exec(task_dir: PathBuf) -> Result<()> {
    first(task_dir, create_process)
}

/// A container's first process, after the restart policy's wait.
pub(crate) fn create_again(task_dir: PathBuf, handover: RawFd) -> Result<()> {
    let mut handover = Handover::load(handover)?;
    let take = |fds: &[RawFd]| -> Result<Vec<OwnedFd>> {
        fds.iter().map(|&fd| handover::take(fd)).collect()
    };
    let channels = Channels {
        connections: take(&handover.connections)?,
        listener: handover::take(handover.listener)?,
    };
    if let Some(score) = handover.oom_score_adj {
        surroundings::set_oom_score_adj(score);
    }
    let task: Task = read_json(&task_dir.join("task.json"))?;
    let failure = match build_container(&task_dir, &task) {
        Ok(built) => match built.hand_over(&channels, &mut handover) {
            Ok(()) => return Err(surroundings::become_role("monitor", &task_dir, &handover)),
            Err(error) => failure::from_error("hand over to the monitor", &error),
        },
        Err(failure) => failure,
    };
    let _unmounted = undo(&task_dir, &task);
    write_last_status(&task_dir, &handover);
    channels.tell(&Event::Failed(failure));
    Ok(())
}

/// Who listens to this shim.
struct Channels {
    connections: Vec<OwnedFd>,
    listener: OwnedFd,
}

impl Channels {
    /// A daemon that is gone asks again when it is back.
    fn tell(&self, event: &Event) {
        let message = serde_json::to_vec(event).expect("events have string keys only");
        for connection in &self.connections {
            let _ = fdpass::send(connection, &message, &[]);
        }
    }
}

/// A process that waits, and the monitor's ends of its streams.
pub(crate) struct Built {
    pub(crate) created: Created,
    pub(crate) ours: Ours,
    /// Whether the monitor must release it.
    pub(crate) waits: bool,
}

impl Built {
    /// Puts everything into `handover`. The descriptors stay open: only exec ends their owners.
    fn hand_over(&self, channels: &Channels, handover: &mut Handover) -> Result<()> {
        let leave = |fd: &Option<OwnedFd>| fd.as_ref().map(handover::leave).transpose();
        handover.listener = handover::leave(&channels.listener)?;
        handover.connections =
            channels.connections.iter().map(handover::leave).collect::<Result<_>>()?;
        let start = if self.waits { Some(handover::leave(&self.created.start)?) } else { None };
        handover.process = Some(handover::Process {
            pid: self.created.pid,
            pidfd: handover::leave(&self.created.pidfd)?,
            start,
            stdin: leave(&self.ours.stdin)?,
            stdout: leave(&self.ours.stdout)?,
            stderr: leave(&self.ours.stderr)?,
            console: leave(&self.created.console_master)?,
        });
        Ok(())
    }
}

type Build = fn(&Path, &Task) -> Result<Built, Failure>;

fn first(task_dir: PathBuf, build: Build) -> Result<()> {
    let task_dir = std::path::absolute(task_dir).context(|| "find the task's directory")?;
    let control = fdpass::take_inherited(CONTROL_FD).context(|| "take over the control socket")?;
    let oom_score_adj = surroundings::oom_score_adj();
    surroundings::detach();
    match prepare(&task_dir, build, oom_score_adj) {
        Ok((task, built, listener, mut handover)) => {
            let channels = Channels { connections: vec![control], listener };
            channels.tell(&Event::Created { pid: built.created.pid });
            let handed_over = built.hand_over(&channels, &mut handover);
            // Both only return when they failed.
            let error = match handed_over {
                Ok(()) => surroundings::become_role("monitor", &task_dir, &handover),
                Err(error) => error,
            };
            let _unmounted = undo(&task_dir, &task);
            channels.tell(&Event::Failed(failure::from_error("become the monitor", &error)));
        }
        Err(failure) => {
            let message = serde_json::to_vec(&Event::Failed(failure));
            let message = message.expect("events have string keys only");
            fdpass::send(&control, &message, &[]).context(|| "tell of the failure")?;
        }
    }
    Ok(())
}

type Prepared = (Task, Built, OwnedFd, Handover);

fn prepare(task_dir: &Path, build: Build, oom: Option<i32>) -> Result<Prepared, Failure> {
    let task: Task = read_json(&task_dir.join("task.json")).stage("read task")?;
    let listener = fdpass::listen(task_dir, SOCKET)
        .context(|| format!("listen in {}", task_dir.display()))
        .stage("listen")?;
    let built = build(task_dir, &task).inspect_err(|_| drop(undo(task_dir, &task)))?;
    let handover = Handover {
        listener: -1,
        connections: Vec::new(),
        policy: task.restart,
        history: History { count: task.restart.count, ..History::default() },
        last_exit: None,
        started_at: 0,
        oom_score_adj: oom,
        process: None,
    };
    Ok((task, built, listener, handover))
}

fn create_container(task_dir: &Path, task: &Task) -> Result<Built, Failure> {
    if let Some(overlay) = &task.rootfs {
        rootfs::mount_overlay(overlay).stage("mount root")?;
    }
    build_container(task_dir, task)
}

/// The root is mounted: for a restart it still is.
fn build_container(task_dir: &Path, task: &Task) -> Result<Built, Failure> {
    let mut spec: Spec = read_json(&task_dir.join("config.json")).stage("read config.json")?;
    let root = spec.root().as_ref().map(|root| task_dir.join(root.path()));
    if let (Some(process), Some(root)) = (spec.process_mut(), root) {
        resolve_user(process, task, &root)?;
    }
    let (theirs, ours) = streams(task)?;
    Runtime::of(task).create(task_dir, spec, theirs, ours)
}

fn create_process(task_dir: &Path, task: &Task) -> Result<Built, Failure> {
    let mut process: Process =
        read_json(&task_dir.join("process.json")).stage("read process.json")?;
    let runtime = Runtime::of(task);
    let root = PathBuf::from(format!("/proc/{}/root", runtime.init_pid()?));
    resolve_user(&mut process, task, &root)?;
    let (theirs, ours) = streams(task)?;
    runtime.exec(task_dir, process, theirs, ours)
}

/// Names are the container's own: its root has to be there before they mean anything. Without a user
/// the ids of the document stay, but root is in the groups that list it.
fn resolve_user(process: &mut Process, task: &Task, root: &Path) -> Result<(), Failure> {
    let uid = process.user().uid();
    let user = match task.user.as_str() {
        "" if uid != 0 => return Ok(()),
        "" => "0",
        user => user,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())
        .context(|| format!("open root {}", root.display()))
        .stage("resolve user")?;
    let found = davit_runtime::user::resolve(root.as_fd(), user, &task.groups)
        .map_err(failure::from_runtime)?;
    let ids = process.user_mut();
    ids.set_uid(found.uid);
    ids.set_gid(found.gid);
    let others = found.groups.into_iter().filter(|gid| *gid != found.gid);
    ids.set_additional_gids(Some(std::iter::once(found.gid).chain(others).collect()));
    Ok(())
}

fn streams(task: &Task) -> Result<(davit_runtime::Stdio, Ours), Failure> {
    stdio::streams(task).context(|| "make the standard streams").stage("streams")
}

/// After a failure: nothing is left behind. Keep the result until the daemon was told.
fn undo(task_dir: &Path, task: &Task) -> Option<Unmounted> {
    Runtime::of(task).remove();
    let unmounted = task.rootfs.as_ref().map(|root| rootfs::unmount_overlay(&root.merged));
    // Gone already when the daemon has removed the directory.
    let _ = fs::remove_file(task_dir.join(SOCKET));
    unmounted
}

/// A restart that failed is the end; what the daemon knows of the last run stays.
fn write_last_status(task_dir: &Path, handover: &Handover) {
    let status = Status {
        monitor_pid: std::process::id().cast_signed(),
        phase: Phase::Exited,
        pid: 0,
        started_at: handover.started_at,
        last_exit: handover.last_exit,
        restart_count: handover.history.count,
    };
    // As in the monitor: a directory that is gone is no reason to fail.
    let _ = status::write(task_dir, &status);
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::internal(format!("parse {}", path.display())).with_source(error))
}
