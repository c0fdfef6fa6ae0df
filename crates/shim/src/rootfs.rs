//! The container's root: an overlay at `merged`.

use std::os::fd::OwnedFd;
use std::path::Path;

use davit_monitor::task::Overlay;
use davit_types::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{UnmountFlags, unmount};

/// Mounts the overlay at `merged`, which is made when it is missing.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn mount_overlay(overlay: &Overlay) -> Result<()> {
    let merged = &overlay.merged;
    let what = || format!("mount overlay on {}", merged.display());
    if let Err(error) = std::fs::create_dir(merged)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error).context(what);
    }
    if overlay.volatile {
        forget_volatile_use(overlay).context(what)?;
    }
    davit_sys::overlay::mount_overlay(&davit_sys::overlay::Overlay {
        layers: &overlay.layers,
        lower: &overlay.lower,
        upper: &overlay.upper,
        work: &overlay.work,
        merged,
        volatile: overlay.volatile,
    })
    .context(what)
}

/// A root that was mounted volatile is marked, so that it isn't used after a crash of the host. One
/// that is made volatile has nothing to lose.
fn forget_volatile_use(overlay: &Overlay) -> std::io::Result<()> {
    match std::fs::remove_dir(overlay.work.join("work/incompat/volatile")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A root that is no longer in any mount table. It holds the last reference to the overlay, whose end
/// writes back everything that is dirty on the filesystem below: seconds, on a busy disk.
#[derive(Debug)]
#[must_use = "dropping it can take seconds"]
pub(crate) struct Unmounted {
    _root: Option<OwnedFd>,
}

/// Unmounts the root, whoever still uses it. Keep the result until nobody waits any more.
pub(crate) fn unmount_overlay(merged: &Path) -> Unmounted {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(merged, flags, Mode::empty()).ok();
    // Not mounted is what is wanted.
    let _ = unmount(merged, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    Unmounted { _root: root }
}
