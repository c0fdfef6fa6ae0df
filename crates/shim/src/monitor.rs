//! The monitor role: takes over what the create or exec role left and runs the loop.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;

use davit_monitor::handover::{self, Handover};
use davit_monitor::protocol::Failure;
use davit_monitor::supervisor::{Backend, Ending, Supervisor};
use davit_monitor::task::Task;
use davit_sys::startsync;
use davit_types::{Context, Result};

use crate::rootfs::Unmounted;
use crate::runtime::Runtime;
use crate::{failure, rootfs, surroundings};

/// Runs until the task ends or has to be created again.
pub(crate) fn run(task_dir: PathBuf, handover: RawFd) -> Result<()> {
    let handover = Handover::load(handover)?;
    surroundings::detach();
    surroundings::spare_from_oom_killer();
    let path = task_dir.join("task.json");
    let text = std::fs::read(&path).context(|| format!("read {}", path.display()))?;
    let task: Task = serde_json::from_slice(&text).context(|| "parse task.json")?;
    drop(text);
    let start = handover.process.as_ref().and_then(|process| process.start);
    let container = Container {
        start: start.map(handover::take).transpose()?,
        merged: task.rootfs.as_ref().map(|overlay| overlay.merged.clone()),
        unmounted: None,
        runtime: Runtime::of(&task),
    };
    let mut supervisor = Supervisor::new(task_dir.clone(), task, handover, container)?;
    match supervisor.run()? {
        Ending::Ended => Ok(()),
        // The supervisor is alive still: its descriptors must be, too.
        Ending::Restart(handover) => Err(surroundings::become_role("create", &task_dir, &handover)),
    }
}

/// What the supervisor needs done.
struct Container {
    start: Option<OwnedFd>,
    merged: Option<PathBuf>,
    /// Dropped when the process ends, after the daemon was told.
    unmounted: Option<Unmounted>,
    runtime: Runtime,
}

impl Backend for Container {
    fn start(&mut self) -> Result<(), Failure> {
        let Some(start) = self.start.take() else { return self.runtime.start() };
        let lost = |error| {
            let error = davit_types::Error::internal("release the process").with_source(error);
            failure::from_error("start", &error)
        };
        startsync::release(start.as_fd()).map_err(lost)?;
        match startsync::outcome(start.as_fd()).map_err(lost)? {
            None => {
                self.runtime.started();
                Ok(())
            }
            Some(failure) => Err(failure::from_runtime(failure)),
        }
    }

    fn remove(&mut self) {
        self.runtime.remove();
    }

    fn release_root(&mut self) {
        if let Some(merged) = self.merged.take() {
            self.unmounted = Some(rootfs::unmount_overlay(&merged));
        }
    }
}
