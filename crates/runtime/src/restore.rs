//! A container whose process is made by another program, from a checkpoint.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use davit_types::oci::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::Failure;
use crate::failure::{Step, text};
use crate::lock::Lock;
use crate::parent::{first_record, probe};
use crate::plan::Plan;
use crate::request::{CreateRequest, Launch, Stdio};
use crate::state::{self, State};

/// A container to be restored.
#[derive(Debug)]
pub struct RestoreRequest<'a> {
    /// Its id.
    pub id: &'a str,
    /// The bundle's directory.
    pub bundle: &'a Path,
    /// The runtime's state directory (`--root`).
    pub root: &'a Path,
    /// The configuration.
    pub spec: Spec,
}

/// Claims the id, hangs the container's root up where `make` finds it as a mount of its own, and records
/// the process that `make` has made there, by its pid.
///
/// # Errors
/// The id is taken, the configuration is wrong, or what `make` says. Nothing is left behind then.
pub fn restore(
    request: RestoreRequest<'_>,
    make: impl FnOnce(&Path) -> Result<i32, Failure>,
) -> Result<State, Failure> {
    let plan = Plan::new(request.id, request.bundle, &request.spec, &probe(false)?)?;
    if !plan.net_devices.is_empty() || plan.rdt.is_some() {
        let message = "a container with linux.netDevices or linux.intelRdt can't be restored";
        return Err(text("restore", request.id, message));
    }
    let lock = Lock::claim(request.root, request.id)?;
    let directory = lock.directory().to_owned();
    let mut undo = Undo(Some(lock));
    let request = CreateRequest {
        id: request.id,
        bundle: request.bundle,
        root: request.root,
        spec: request.spec,
        stdio: Stdio::Inherit,
        seccomp_cache: None,
        launch: Launch::default(),
    };
    let first = first_record(&request, &plan);
    first.save(&directory)?;
    undo.0.as_mut().map_or(Ok(()), Lock::mark_recorded)?;
    let root = Root::hang_up(&plan.rootfs, &directory.join("root"))?;
    let pid = make(&root.0)?;
    let (_, start_time) = state::process_start(pid).step("read", "container process")?;
    let state = State { pid, start_time, unfinished: false, ..first };
    if !state.is_alive() {
        return Err(text("restore", request.id, "the restored process has ended"));
    }
    state.save(&directory)?;
    undo.0 = None;
    State::load(request.root, request.id)
}

/// Removes a directory that was claimed for nothing.
struct Undo(Option<Lock>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(lock) = self.0.take() {
            // The failure that is on its way matters more.
            let _ = lock.remove();
        }
    }
}

/// The container's root as a mount that hides when it is dropped; the container has its own by then.
struct Root(PathBuf);

impl Root {
    fn hang_up(rootfs: &Path, place: &Path) -> Result<Self, Failure> {
        let shown = place.to_string_lossy();
        fs::create_dir(place).step("create", &shown)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let source = rustix::fs::open(rootfs, flags, Mode::empty())
            .step("open", rootfs.to_string_lossy())?;
        let path = format!("/proc/self/fd/{}", source.as_raw_fd());
        rustix::mount::mount_bind_recursive(path, place).step("mount", &shown)?;
        let root = Self(place.to_owned());
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change(place, private).step("set propagation", &shown)?;
        Ok(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Nobody uses it any more; if it stays, removing the state says so.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}
