//! Masked and read-only paths.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use davit_sys::mount::MountAttr;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::attach;
use super::tree::Tree;
use crate::Failure;
use crate::failure::{Step, text};

const RDONLY: u64 = 1;

/// Covers directories with one empty read-only tmpfs and files with the container's `/dev/null`.
/// A path that doesn't exist needs no mask.
pub(super) fn mask(tree: &Tree, paths: &[PathBuf]) -> Result<(), Failure> {
    let mut empty: Option<OwnedFd> = None;
    let mut null: Option<OwnedFd> = None;
    for path in paths {
        let name = path.to_string_lossy();
        let target = match tree.protected(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.step("mask", &name)?,
        };
        let mode = rustix::fs::fstat(&target).step("mask", &name)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Directory {
            let null = match &null {
                Some(null) => null,
                None => null.insert(open_null(tree)?),
            };
            let copy = attach::copy_of(null.as_fd(), false).step("mask", &name)?;
            attach::attach(copy.as_fd(), target.as_fd()).step("mask", &name)?;
            continue;
        }
        match &empty {
            Some(mounted) => {
                let copy = attach::copy_of(mounted.as_fd(), false).step("mask", &name)?;
                attach::attach(copy.as_fd(), target.as_fd()).step("mask", &name)?;
            }
            // Only a mount that is attached can be copied before Linux 6.15.
            None => {
                let parameters = [("size", Some("4k")), ("nr_inodes", Some("1")), ("ro", None)];
                let new = attach::new_filesystem("tmpfs", "tmpfs", &parameters, RDONLY);
                let new = new.step("mask", &name)?;
                attach::attach(new.as_fd(), target.as_fd()).step("mask", &name)?;
                empty = Some(new);
            }
        }
    }
    Ok(())
}

/// Mounts each path on itself, read-only. One that doesn't exist is passed over.
pub(super) fn make_readonly(tree: &Tree, paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        let name = path.to_string_lossy();
        let target = match tree.protected(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.step("make read-only", &name)?,
        };
        let copy = attach::copy_of(target.as_fd(), true).step("make read-only", &name)?;
        attach::attach(copy.as_fd(), target.as_fd()).step("make read-only", &name)?;
        let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
        attach::set_attr(copy.as_fd(), &attr, false).step("make read-only", &name)?;
    }
    Ok(())
}

/// The null device, and nothing that an image put in its place.
fn open_null(tree: &Tree) -> Result<OwnedFd, Failure> {
    const NULL: &str = "/dev/null";
    let null = tree.at(Path::new(NULL), OFlags::PATH | OFlags::NOFOLLOW).step("open", NULL)?;
    let stat = rustix::fs::fstat(&null).step("stat", NULL)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(text("mask", NULL, "/dev/null is not the null device")) }
}
