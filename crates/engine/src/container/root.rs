//! A container's root directory as a descriptor: `/proc/<pid>/root` of a running one; for a stopped
//! one its overlay and volumes, mounted on a thread of their own in a private mount namespace.
//!
//! Whoever gets the descriptor must look paths up inside it (`RESOLVE_IN_ROOT`): the tree belongs to
//! the container and may be changed under our hands.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_image::ContainerLayer;
use davit_sys::mount::{MOUNT_ATTR_RDONLY, MountAttr, mount_setattr};
use davit_types::{Context, Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::record::MountRecord;
use super::{Container, blocking};
use crate::engine::Inner;
use crate::volume::{self, LocalMount};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How much of a container's root is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// As the container sees it.
    WithMounts,
    /// The image and what was changed in it, without volumes, binds, `/proc`...
    LayersOnly,
}

/// Runs `work` on the container's root, to its end. A stopped container can't be started meanwhile.
pub(crate) async fn with_root<T: Send + 'static>(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    view: View,
    work: impl FnOnce(BorrowedFd<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    // Not under the lock at first: a container that takes its time to stop has a root, too.
    let mut guard = None;
    if !container.snapshot().record.state.has_process() {
        guard = Some(Arc::clone(&container.transition).lock_owned().await);
    }
    container.check_present()?;
    let snapshot = container.snapshot();
    let layer = inner.images.container_layer(&container.id)?;
    if snapshot.record.state.has_process() {
        drop(guard);
        let path = match view {
            View::WithMounts => PathBuf::from(format!("/proc/{}/root", snapshot.record.state.pid)),
            View::LayersOnly => layer.merged.clone(),
        };
        return blocking(move || work(running_root(&path)?.as_fd())).await;
    }
    let shared = Arc::clone(inner);
    blocking(move || {
        let none = BTreeMap::new();
        let mounts = match view {
            View::WithMounts => &snapshot.record.mount_points,
            View::LayersOnly => &none,
        };
        let overlaid = VolumeMounts::of(&shared, mounts.values());
        let result = with_stopped_root(&layer, mounts, &overlaid, work);
        drop(guard);
        result
    })
    .await
}

fn running_root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, DIRECTORY, Mode::empty())
        .context(|| format!("open the container's root {}", path.display()))
}

/// Volumes whose options ask for a mount, and where.
#[derive(Debug, Default)]
pub(crate) struct VolumeMounts(Vec<(PathBuf, LocalMount)>);

impl VolumeMounts {
    /// Those among `records`.
    pub(crate) fn of<'a>(inner: &Inner, records: impl Iterator<Item = &'a MountRecord>) -> Self {
        let wanted = |record: &MountRecord| {
            let volume = inner.volumes.get(&record.name).ok()?;
            Some((inner.volumes.mountpoint(&volume.name), volume.local_mount()?))
        };
        Self(records.filter(|record| record.is_volume()).filter_map(wanted).collect())
    }

    /// Mounts them in this thread's namespace, unless a container that runs has them mounted.
    fn mount(&self) -> Result<()> {
        self.0.iter().try_for_each(|(target, _)| self.mount_at(target))
    }

    /// Mounts the one that belongs at `path`, if any does and is not mounted.
    pub(crate) fn mount_at(&self, path: &Path) -> Result<()> {
        match self.0.iter().find(|(target, _)| target == path) {
            Some((target, wanted)) if !volume::is_mounted(target) => volume::mount(wanted, target)
                .map_err(|cause| cause.context(volume::mounting(target))),
            _ => Ok(()),
        }
    }
}

/// Mounts a stopped container's root and its volumes for `work` alone. Blocks.
pub(crate) fn with_stopped_root<T: Send>(
    layer: &ContainerLayer,
    mounts: &BTreeMap<String, MountRecord>,
    overlaid: &VolumeMounts,
    work: impl FnOnce(BorrowedFd<'_>) -> Result<T> + Send,
) -> Result<T> {
    // The thread takes the namespace with it when it ends, and the mounts with that.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("container-root".to_owned());
        let handle = thread
            .spawn_scoped(scope, || {
                davit_sys::namespace::unshare(davit_sys::namespace::MOUNT)
                    .context(|| "make a mount namespace")?;
                let root = mount_root(layer)?;
                overlaid.mount()?;
                mount_volumes(root.as_fd(), mounts)?;
                work(root.as_fd())
            })
            .context(|| "start a thread")?;
        handle.join().unwrap_or_else(|_| Err(Error::internal("a worker thread has died")))
    })
}

fn mount_root(layer: &ContainerLayer) -> Result<OwnedFd> {
    let failed = || format!("mount {}", layer.merged.display());
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).context(failed)?;
    // The working directory is this thread's own since `unshare`.
    davit_sys::overlay::mount_overlay(&davit_sys::overlay::Overlay {
        layers: &layer.layers_dir,
        lower: &layer.lower,
        upper: &layer.upper,
        work: &layer.work,
        merged: &layer.merged,
        volatile: false,
    })
    .context(failed)?;
    rustix::fs::open(&layer.merged, DIRECTORY, Mode::empty()).context(failed)
}

/// Binds volumes and host directories where the container has them; one whose source is missing is
/// left out, as it would only be made at start.
fn mount_volumes(root: BorrowedFd<'_>, mounts: &BTreeMap<String, MountRecord>) -> Result<()> {
    let mut records: Vec<&MountRecord> = mounts.values().collect();
    records.sort_by_key(|record| record.destination.matches('/').count());
    for record in records {
        let Ok(path) = super::mounts::source(record) else { continue };
        let Ok(source) = std::fs::metadata(&path) else { continue };
        let failed = || format!("mount {} at {}", path.display(), record.destination);
        let target =
            mount_point(root, Path::new(&record.destination), source.is_dir()).context(failed)?;
        bind(record, &path, &target).context(failed)?;
    }
    Ok(())
}

/// Attaches a copy of the source's mounts, read-only before anybody can see it if it is to be so.
fn bind(record: &MountRecord, source: &Path, target: &OwnedFd) -> io::Result<()> {
    let copy = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, source, copy)?;
    if !record.rw {
        let read_only = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), c"", true, &read_only)?;
    }
    let by_descriptor =
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(&tree, c"", target, c"", by_descriptor)?)
}

/// The place to mount on, made when it is missing.
fn mount_point(root: BorrowedFd<'_>, path: &Path, is_directory: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Err(rustix::io::Errno::NOENT) => {}
        found => return Ok(found?),
    }
    if is_directory {
        return make_directories(root, path, 0o755);
    }
    let parent = make_directories(root, path.parent().unwrap_or(Path::new("/")), 0o755)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, name, create, Mode::from_raw_mode(0o644))?;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Opens a directory inside the root, making what is missing of its path.
pub(crate) fn make_directories(
    root: BorrowedFd<'_>,
    path: &Path,
    mode: u32,
) -> io::Result<OwnedFd> {
    let open = |path: &Path| {
        rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT)
    };
    match open(path) {
        Err(rustix::io::Errno::NOENT) => {}
        found => return Ok(found?),
    }
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = make_directories(root, parent, mode)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(open(path)?)
}
