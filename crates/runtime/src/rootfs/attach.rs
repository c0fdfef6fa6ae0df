//! Making detached mounts, hanging them up and changing their attributes, by descriptor only.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use davit_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
};

use crate::failure::Told;
use crate::plan::Propagation;
use crate::procfs::Procfs;

/// A new file system instance, not mounted anywhere yet.
pub(super) fn new_filesystem(
    name: &str,
    source: &str,
    parameters: &[(&str, Option<&str>)],
    attr: u64,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| told(errno, || format!("this kernel has no file system {name:?}")))?;
    let made = configure(&context, source, parameters, attr);
    made.map_err(|errno| {
        let log = kernels_log(&context);
        if log.is_empty() { errno.into() } else { told(errno, || log) }
    })
}

fn configure(
    context: &OwnedFd,
    source: &str,
    parameters: &[(&str, Option<&str>)],
    attr: u64,
) -> Result<OwnedFd, Errno> {
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(context, "source", source)?;
    }
    for (key, value) in parameters {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, *key, *value)?,
            None => rustix::mount::fsconfig_set_flag(context, *key)?,
        }
    }
    rustix::mount::fsconfig_create(context)?;
    let attr = MountAttrFlags::from_bits_retain(u32::try_from(attr).unwrap_or(0));
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attr)
}

/// What the file system says about a failure, e.g. `tmpfs: Unknown parameter 'sise'`.
fn kernels_log(context: &OwnedFd) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut record = [0; 512];
    while let Ok(count @ 1..) = rustix::io::read(context, &mut record) {
        let text = String::from_utf8_lossy(&record[..count]);
        // Each begins with its level: e, w or i.
        lines.push(text.split_once(' ').map_or(&*text, |(_, text)| text).trim().to_owned());
    }
    lines.join("; ")
}

fn told(errno: Errno, hint: impl FnOnce() -> String) -> io::Error {
    let told = Told { errno: errno.raw_os_error(), hint: hint() };
    io::Error::new(io::Error::from(errno).kind(), told)
}

/// A detached copy of the mount that `at` is in, beginning there.
pub(super) fn copy_of(at: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(rustix::mount::open_tree(at, c"", flags)?)
}

/// Mounts `mount` on `target`. From then on `mount` is the descriptor of what is seen there.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", target, c"", flags)?)
}

/// Changes the attributes of a mount that is attached.
pub(super) fn set_attr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    if *attr == MountAttr::default() {
        return Ok(());
    }
    match mount_setattr(mount, c"", recursive, attr) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && !recursive => {
            remount(mount, attr)
        }
        other => other,
    }
}

/// Changes how mounts go in and out.
pub(super) fn set_propagation(mount: BorrowedFd<'_>, propagation: Propagation) -> io::Result<()> {
    let attr = MountAttr { propagation: propagation.kind, ..MountAttr::default() };
    match mount_setattr(mount, c"", propagation.recursive, &attr) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            let kind = u32::try_from(propagation.kind).unwrap_or(0);
            let mut flags = rustix::mount::MountPropagationFlags::from_bits_retain(kind);
            flags.set(rustix::mount::MountPropagationFlags::REC, propagation.recursive);
            by_path(mount, |path| Ok(rustix::mount::mount_change(path, flags)?))
        }
        other => other,
    }
}

/// What `mount_setattr` does, for kernels before 5.12: one mount, all its flags at once.
fn remount(mount: BorrowedFd<'_>, attr: &MountAttr) -> io::Result<()> {
    let present = rustix::fs::fstatvfs(mount)?.f_flag.bits();
    // ST_RDONLY to ST_NOEXEC have the values of MS_* and of MOUNT_ATTR_*; the time modes differ.
    const COMMON: u64 = 0xf;
    let flags = (present & COMMON & !attr.clear) | (attr.set & COMMON);
    let flags = MountFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0));
    by_path(mount, |path| Ok(rustix::mount::mount_remount(path, MountFlags::BIND | flags, c"")?))
}

/// Calls `change` with a path to `mount` that nobody else can lead elsewhere, for calls of old kernels
/// that take nothing but paths: a directory as the working directory, a file by its descriptor in a
/// procfs that was seen to be one.
fn by_path(mount: BorrowedFd<'_>, change: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
    let before = rustix::fs::openat(CWD, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(mount)?.st_mode);
    let path = if kind == FileType::Directory {
        rustix::process::fchdir(mount)?;
        ".".to_owned()
    } else {
        let procfs = Procfs::open().map_err(|failure| io::Error::other(failure.message))?;
        rustix::process::fchdir(&procfs)?;
        format!("self/fd/{}", mount.as_raw_fd())
    };
    let changed = change(&path);
    rustix::process::fchdir(&before)?;
    changed
}
