//! Containers: one verb of the API per file.
//!
//! A [`Container`] is shared by everybody who works on it. Its facts are an immutable snapshot that
//! is replaced as a whole, so readers never wait. A verb that changes what it does (start, stop,
//! remove...) holds the transition lock for as long as it takes; what its monitor tells is taken in
//! by one task, which does not need that lock.

mod archive;
mod attach;
mod bind;
mod changes;
mod create;
mod human;
mod inspect;
mod list;
mod logging;
mod merge;
mod mounts;
mod pause;
mod record;
mod registry;
mod remove;
mod rename;
mod resize;
mod restart_policy;
mod root;
mod start;
mod state;
mod stats;
mod stop;
pub(crate) mod streams;
mod supervise;
mod top;
mod update;
mod user;
mod validate;
mod wait;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use davit_monitor::protocol::Attach;
use davit_types::{ContainerId, Error, Result};
use rustix::event::{PollFd, PollFlags};
use tokio::sync::watch;

pub(crate) use attach::{detach_keys, encode};
pub(crate) use list::until;
pub(crate) use logging::parse_size;
pub(crate) use record::{EndpointRecord, MountRecord, Record, Snapshot};
pub(crate) use registry::Registry;
pub(crate) use restart_policy::starts_with_daemon;
pub(crate) use start::{exit_code, start as start_container};
pub(crate) use state::{Effect, Event, State};
pub(crate) use supervise::{auto_remove, follow, lost, publish_network, release, remove_bundle};

use crate::monitor::Monitor;
use crate::store::{self, Durability};

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its id.
    pub(crate) id: ContainerId,
    /// `containers/<id>` of the data root.
    pub(crate) directory: PathBuf,
    /// `containers/<id>` of the exec root: the bundle.
    pub(crate) bundle: PathBuf,
    /// Held by start, stop, restart, remove, pause, update.
    pub(crate) transition: Arc<tokio::sync::Mutex<()>>,
    snapshot: RwLock<Arc<Snapshot>>,
    saving: Mutex<()>,
    live: Mutex<Live>,
    progress: watch::Sender<Progress>,
    ended: watch::Sender<bool>,
    kept: AtomicUsize,
}

/// While it lives, `--rm` does not apply.
#[derive(Debug)]
pub(crate) struct Keep<'a>(&'a AtomicUsize);

impl Drop for Keep<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is there only while it runs, or waits to.
#[derive(Debug, Default)]
struct Live {
    monitor: Option<Monitor>,
    /// Clients that attached before the start.
    clients: Vec<(Attach, OwnedFd)>,
    execs: BTreeSet<String>,
}

/// What those who wait for a container look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// A process exists.
    pub(crate) running: bool,
    /// How many runs have ended since the daemon knows it.
    pub(crate) exits: u64,
    /// Exit status of the last one.
    pub(crate) exit_code: i32,
    /// It is gone; or could not be removed, and why.
    pub(crate) removed: Option<Result<(), String>>,
}

impl Container {
    /// A container with these records.
    pub(crate) fn new(snapshot: Snapshot, data_root: &Path, exec_root: &Path) -> Self {
        let id = snapshot.record.id.clone();
        let progress = Progress {
            exit_code: snapshot.record.state.exit_code,
            running: snapshot.record.state.has_process(),
            ..Progress::default()
        };
        Self {
            directory: data_root.join("containers").join(id.as_str()),
            bundle: exec_root.join("containers").join(id.as_str()),
            id,
            transition: Arc::default(),
            ended: watch::Sender::new(!snapshot.record.state.running),
            snapshot: RwLock::new(Arc::new(snapshot)),
            saving: Mutex::default(),
            live: Mutex::default(),
            kept: AtomicUsize::new(0),
            progress: watch::Sender::new(progress),
        }
    }

    /// Its facts as they are now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes its facts, in memory.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Snapshot)) -> Arc<Snapshot> {
        let mut slot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&slot);
        change(&mut next);
        *slot = Arc::new(next);
        Arc::clone(&slot)
    }

    /// Moves its state on, in memory; the effects are the caller's to carry out.
    pub(crate) fn apply(&self, event: &Event) -> (Arc<Snapshot>, Vec<Effect>) {
        let mut effects = Vec::new();
        let snapshot = self.change(|snapshot| {
            (snapshot.record.state, effects) = snapshot.record.state.apply(event);
        });
        self.ended.send_replace(!snapshot.record.state.running);
        (snapshot, effects)
    }

    /// Writes `config.v2.json`. Blocks.
    pub(crate) fn save(&self, durability: Durability) -> Result<()> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot();
        if matches!(self.progress.borrow().removed, Some(Ok(()))) {
            return Ok(());
        }
        store::write_json(&self.directory.join("config.v2.json"), &snapshot.record, durability)
    }

    /// Writes `hostconfig.json`. Blocks.
    pub(crate) fn save_host_config(&self, durability: Durability) -> Result<()> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot();
        store::write_json(
            &self.directory.join("hostconfig.json"),
            &snapshot.host_config,
            durability,
        )
    }

    /// The connection to its monitor.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn monitor(&self) -> Result<Monitor> {
        self.live().monitor.clone().ok_or_else(|| crate::error::not_running(self.id.as_str()))
    }

    /// Sets or forgets the connection to its monitor; the clients that attached before are the
    /// caller's to hand over.
    pub(crate) fn set_monitor(&self, monitor: Option<Monitor>) -> Vec<(Attach, OwnedFd)> {
        let mut live = self.live();
        let clients =
            if monitor.is_some() { std::mem::take(&mut live.clients) } else { Vec::new() };
        live.monitor = monitor;
        clients
    }

    /// The monitor for a client to be attached to; the client is kept for the start when there is
    /// none yet.
    pub(crate) fn monitor_or_wait(
        &self,
        attach: Attach,
        client: OwnedFd,
    ) -> Option<(Monitor, Attach, OwnedFd)> {
        let mut live = self.live();
        if let Some(monitor) = live.monitor.clone() {
            return Some((monitor, attach, client));
        }
        // Those who have given up waiting meanwhile.
        live.clients.retain(|(_, waiting)| is_connected(waiting));
        live.clients.push((attach, client));
        None
    }

    /// Its json-file log.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.join(format!("{}-json.log", self.id))
    }

    /// The clients that attached before the start.
    pub(crate) fn take_clients(&self) -> Vec<(Attach, OwnedFd)> {
        std::mem::take(&mut self.live().clients)
    }

    /// Notes a running exec.
    pub(crate) fn add_exec(&self, id: &str) {
        self.live().execs.insert(id.to_owned());
    }

    /// Forgets an exec that has ended.
    pub(crate) fn remove_exec(&self, id: &str) {
        self.live().execs.remove(id);
    }

    /// Ids of the running execs.
    pub(crate) fn execs(&self) -> Vec<String> {
        self.live().execs.iter().cloned().collect()
    }

    /// What those who wait look at, now and later.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Tells those who wait.
    pub(crate) fn advance(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }

    /// Turns true when neither a process exists nor the restart policy will make one.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// The first process on the host.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn pid(&self) -> Result<i32> {
        match self.snapshot().record.state.pid {
            0 => Err(crate::error::not_running(self.id.as_str())),
            pid => Ok(pid),
        }
    }

    /// The file system is gone when the container has been removed meanwhile.
    pub(crate) fn check_present(&self) -> Result<()> {
        if matches!(self.progress.borrow().removed, Some(Ok(()))) {
            return Err(crate::error::no_such_container(self.id.as_str()));
        }
        Ok(())
    }

    /// Keeps a container made with `--rm` over the end of a run.
    pub(crate) fn keep(&self) -> Keep<'_> {
        self.kept.fetch_add(1, Ordering::AcqRel);
        Keep(&self.kept)
    }

    /// Somebody keeps it.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire) > 0
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is anybody at the other end? One who only sends nothing more still counts.
fn is_connected(client: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(client, PollFlags::empty())];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok()
        && !polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Runs blocking work that ends even if the request that asked for it goes away.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(Error::internal("a worker thread has died").with_source(panic)))
}

/// Runs a transition to its end even if the request that asked for it goes away.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|panic| Err(Error::internal("a task has died").with_source(panic)))
}
