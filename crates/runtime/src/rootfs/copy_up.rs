//! Filling a new file system with what is in the directory that it is going to cover.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// Deeper trees than this are nobody's intention.
const DEPTH: u32 = 256;

/// Copies everything in directory `from` to directory `to`, with owners, modes, times and attributes.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let before = rustix::process::umask(Mode::empty());
    let copied = directory(from, to, DEPTH);
    rustix::process::umask(before);
    copied
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
    let depth = depth.checked_sub(1).ok_or_else(|| io::Error::from(Errno::NAMETOOLONG))?;
    // The descriptors at hand may be such that only name a place.
    let from = open(from, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let to = open(to, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from.as_fd(), to.as_fd(), name, depth)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: u32) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let (source, target) = (open(from, name, flags)?, open(to, name, flags)?);
            directory(source.as_fd(), target.as_fd(), depth)?;
            attributes(source.as_fd(), target.as_fd())?;
        }
        FileType::RegularFile => {
            let source = open(from, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            io::copy(&mut File::from(source.try_clone()?), &mut File::from(target.try_clone()?))?;
            attributes(source.as_fd(), target.as_fd())?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
        }
        kind => rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        // After the change of owner, which takes the set-id bits away.
        rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.try_into().unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Extended attributes, as far as the new file system has them.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    const LARGEST: usize = 65536;
    let mut names = vec![0; LARGEST];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(()),
        other => other?,
    };
    let mut value = vec![0; LARGEST];
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::PERM) => {}
            other => other?,
        }
    }
    Ok(())
}

fn open(at: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}
