//! Where a mount may go.
//!
//! The destination is looked up once, inside the root, and from then on is a descriptor: nothing that
//! a process with access to the same files changes afterwards leads the mount elsewhere
//! (CVE-2021-30465). `/proc` and `/sys` get special care, since protections rely on them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::tree::Tree;
use crate::Failure;
use crate::failure::{Step, text};
use crate::procfs;

/// The directory to mount on, created if missing.
pub(super) fn directory(tree: &Tree, destination: &Path) -> Result<OwnedFd, Failure> {
    find(tree, destination, || tree.make_directory(destination, 0o755))
}

/// The file to mount on, created if missing.
pub(super) fn file(tree: &Tree, destination: &Path) -> Result<OwnedFd, Failure> {
    let target = find(tree, destination, || tree.make_file(destination, 0o755))?;
    if is_directory(target.as_fd()) {
        // The kernel would say no more than "invalid argument".
        return Err(Errno::NOTDIR).step("mount", destination.to_string_lossy());
    }
    Ok(target)
}

/// What is bound to `/proc` has to be one, else every protection below it is sham (CVE-2019-16884).
pub(super) fn check_source(source: BorrowedFd<'_>, destination: &Path) -> Result<(), Failure> {
    if destination != Path::new("/proc") || procfs::is_root(source) {
        return Ok(());
    }
    let message = "\"/proc\" cannot be mounted because it is not of type proc";
    Err(text("mount", "/proc", message))
}

fn find(
    tree: &Tree,
    destination: &Path,
    make: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Failure> {
    let name = destination.to_string_lossy();
    let target = if is_kernels(destination) {
        let there = match tree.plain_handle(destination) {
            Err(Errno::NOENT) => {
                make().step("create mountpoint", &name)?;
                tree.plain_handle(destination)
            }
            other => other,
        };
        match there {
            Ok(target) if is_directory(target.as_fd()) || is_deeper(destination) => target,
            // A link would take the file system elsewhere and leave the protections at its place
            // (CVE-2019-19921, CVE-2023-27561).
            Ok(_) | Err(Errno::LOOP | Errno::NOTDIR) => {
                let message = format!("{name:?} must be mounted on ordinary directory");
                return Err(text("mount", &name, message));
            }
            Err(error) => return Err(error).step("open mountpoint", &name),
        }
    } else {
        make().step("create mountpoint", &name)?
    };
    check(tree, destination, target)
}

/// Links may have led into a procfs.
fn check(tree: &Tree, destination: &Path, target: OwnedFd) -> Result<OwnedFd, Failure> {
    let name = destination.to_string_lossy();
    let led_inside = !destination.starts_with("/proc")
        && procfs::is_inside(target.as_fd())
        && !procfs::is_inside(tree.as_fd());
    if led_inside {
        let message = format!("{name:?} cannot be mounted because it is inside /proc");
        return Err(text("mount", &name, message));
    }
    Ok(target)
}

/// `/proc` or `/sys` or below.
fn is_kernels(destination: &Path) -> bool {
    ["/proc", "/sys"].iter().any(|own| destination.starts_with(own))
}

fn is_deeper(destination: &Path) -> bool {
    destination.components().count() > 2
}

fn is_directory(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
