//! A mount namespace that exists, as the container's.
//!
//! The root is built in a new one as ever, where what fails leaves nothing behind, and taken over when
//! it is finished. Whoever is in that namespace has the container's root then.

use std::os::fd::{AsFd, BorrowedFd};

use davit_sys::namespace;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::{Tree, attach};
use crate::Failure;
use crate::failure::{Step, Wrap};

/// Enters the mount namespace `file`, called `name`, with all of `tree`, which covers its root then.
pub(crate) fn take_over(tree: &Tree, file: BorrowedFd<'_>, name: &str) -> Result<Tree, Failure> {
    let copy = attach::copy_of(tree.as_fd(), true).step("copy root to", name)?;
    namespace::setns(file, namespace::MOUNT)
        .step("join namespace", name)
        .hint(&[libc::EINVAL], || "it is no namespace of the kind asked for".to_owned())?;
    // Not on others, which may be the host's.
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE)
        .step("set propagation in", name)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, c"/", flags, Mode::empty()).step("open root of", name)?;
    attach::attach(copy.as_fd(), root.as_fd()).step("mount root in", name)?;
    Ok(Tree::of_mount(copy))
}

/// Uncovers the namespace's own root after a failure, which is on its way to the caller already.
pub(crate) fn give_up(tree: &Tree) {
    if rustix::process::fchdir(tree).is_ok() {
        let _ = rustix::mount::unmount(c".", UnmountFlags::DETACH);
    }
}
