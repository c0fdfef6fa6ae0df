//! Execs: further processes in running containers, each with a monitor of its own. One that was started
//! is found again by the next daemon; one that was only created is forgotten with this one, as Docker
//! does.

mod create;
mod inspect;
mod recover;
mod start;

pub(crate) use recover::adopt;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use davit_api::exec::ExecCreateRequest;
use davit_types::Result;
use tokio::sync::watch;

use crate::error;
use crate::monitor::Monitor;

/// An ended exec can be inspected for at least this long.
const KEPT: Duration = Duration::from_secs(300);

/// All execs.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    by_id: RwLock<HashMap<String, Arc<Exec>>>,
}

/// An exec.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) container: String,
    pub(crate) request: ExecCreateRequest,
    /// The keys that detach, as bytes.
    pub(crate) detach_keys: Vec<u8>,
    status: Mutex<Status>,
    running: watch::Sender<bool>,
}

/// Where in its life an exec is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// Somebody starts it or did.
    pub(crate) claimed: bool,
    pub(crate) pid: i32,
    pub(crate) exit_code: Option<i32>,
    pub(crate) monitor: Option<Monitor>,
    ended: Option<Instant>,
}

impl Execs {
    /// Adds an exec, and forgets those that have ended long ago.
    pub(crate) fn insert(&self, exec: Arc<Exec>) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.retain(|_, exec| exec.status().ended.is_none_or(|ended| ended.elapsed() < KEPT));
        by_id.insert(exec.id.clone(), exec);
    }

    /// The exec of that id.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.get(id).cloned().ok_or_else(|| error::no_such_exec(id))
    }

    /// Forgets the execs of a container that is gone.
    pub(crate) fn forget_container(&self, container: &str) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.retain(|_, exec| exec.container != container);
    }
}

impl Exec {
    fn new(id: String, container: String, request: ExecCreateRequest, keys: Vec<u8>) -> Self {
        Self {
            id,
            container,
            request,
            detach_keys: keys,
            status: Mutex::default(),
            running: watch::Sender::new(false),
        }
    }

    /// Where in its life it is; held for a moment only.
    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command as events name it.
    pub(crate) fn command(&self) -> String {
        self.request.cmd.as_deref().unwrap_or_default().join(" ")
    }

    fn set_running(&self, pid: i32, monitor: Monitor) {
        let mut status = self.status();
        (status.pid, status.monitor) = (pid, Some(monitor));
        drop(status);
        self.running.send_replace(true);
    }

    fn set_ended(&self, exit_code: i32) {
        let mut status = self.status();
        status.exit_code = Some(exit_code);
        status.monitor = None;
        status.ended = Some(Instant::now());
        drop(status);
        self.running.send_replace(false);
    }
}
