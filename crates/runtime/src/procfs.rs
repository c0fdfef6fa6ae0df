//! Files below `/proc`, and nothing that somebody put in their place.
//!
//! What the runtime writes there has the power to protect (a security label) or to harm (a setting of
//! the kernel). In a tree that a container can change, a write could be led to another file
//! (CVE-2019-16884, CVE-2025-52881). Hence a [`Procfs`] is opened before any such tree is entered, it
//! is verified to be the root of a procfs, and its files are opened without crossing into a mount on
//! top of it and without following the kernel's magic links. Where the host itself has something
//! mounted there (as in a container), a new instance that is attached nowhere takes its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::Failure;
use crate::failure::{Step, text};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// The inode number of every procfs' root.
const ROOT_INODE: u64 = 1;

/// A procfs that was seen to be one.
#[derive(Debug)]
pub(crate) struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// The one at `/proc` of this mount namespace, to be called while that is the host's.
    pub(crate) fn open() -> Result<Self, Failure> {
        const PROC: &str = "/proc";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let host = rustix::fs::openat(CWD, PROC, flags, Mode::empty()).step("open", PROC)?;
        if is_root(host.as_fd()) {
            return Ok(Self { root: host });
        }
        Self::detached().map_err(|_| {
            text("open", PROC, "/proc is not the root of a procfs, and no other can be made")
        })
    }

    /// A new instance that is attached nowhere.
    fn detached() -> io::Result<Self> {
        let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let attr = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr)?;
        Ok(Self { root })
    }

    /// Opens the file `path` (relative to `/proc`).
    pub(crate) fn file(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        match self.open_beneath(path, flags) {
            // Covered by another mount.
            Err(Errno::XDEV) => Ok(Self::detached()?.open_beneath(path, flags)?),
            other => Ok(other?),
        }
    }

    /// Writes `content` to the file `path` (relative to `/proc`), in one call as the kernel wants it.
    pub(crate) fn write(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let file = self.file(path, OFlags::WRONLY)?;
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, content))?;
        if written == content.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::io::retry_on_intr(|| {
            rustix::fs::openat2(&self.root, Path::new(path), flags, Mode::empty(), resolve)
        })
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Whether `fd` is in a procfs.
pub(crate) fn is_inside(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type == PROC_SUPER_MAGIC)
}

/// Whether `fd` is the root of a procfs.
pub(crate) fn is_root(fd: BorrowedFd<'_>) -> bool {
    is_inside(fd) && rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_ino == ROOT_INODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_procfs_are_opened() {
        let procfs = Procfs::open().expect("a procfs");
        procfs.file("self/status", OFlags::RDONLY).expect("our own status");
        let fails = |path: &str| procfs.file(path, OFlags::RDONLY).expect_err(path);
        assert_eq!(fails("self/exe").raw_os_error(), Some(libc::ELOOP));
        assert_eq!(fails("self/root/etc/passwd").raw_os_error(), Some(libc::ELOOP));
        assert_eq!(fails("../etc/passwd").raw_os_error(), Some(libc::EXDEV));
        let tmp = std::fs::File::open("/tmp").expect("a directory");
        assert!(!is_inside(tmp.as_fd()));
    }
}
