//! `docker diff`: a container's own directory against the layers under it.
//!
//! The directory belongs to a container that may be running, so it is read by descriptor and no
//! link in it is ever followed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::View;
use super::view::is_opaque;
use crate::image::{Change, ChangeKind};
use crate::tree;

/// Bytes of one unit of st_blocks, whatever the file system's block size.
const STAT_BLOCK: u64 = 512;

/// The changes in `upper` over `lower` (topmost first), sorted by path.
pub(crate) fn changes(upper: BorrowedFd<'_>, lower: Vec<PathBuf>) -> io::Result<Vec<Change>> {
    let mut found = Vec::new();
    let root = View::root(lower)?;
    compare_directory(upper, root.as_ref(), Path::new("/"), &mut found, 0)?;
    found.sort();
    Ok(found)
}

fn compare_directory(
    upper: BorrowedFd<'_>,
    lower: Option<&View>,
    path: &Path,
    found: &mut Vec<Change>,
    depth: usize,
) -> io::Result<()> {
    if depth >= tree::MAXIMUM_DEPTH {
        let depth = tree::MAXIMUM_DEPTH;
        return Err(io::Error::other(format!("directories nest more than {depth} deep")));
    }
    let names = tree::names(upper)?;
    // An opaque directory hides what it does not hold itself.
    if let Some(lower) = lower.filter(|lower| lower.metadata.is_dir())
        && is_opaque(&tree::proc_path(upper, OsStr::new(".")))?
    {
        for name in lower.names()? {
            if names.binary_search(&name).is_err() {
                found.push(Change { path: path.join(name), kind: ChangeKind::Deleted });
            }
        }
    }
    for name in names {
        let path = path.join(&name);
        let stat = match tree::stat(upper, &name) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        let below = lower.map(|lower| lower.child(&name)).transpose()?.flatten();
        if tree::is_whiteout(&stat) {
            found.push(Change { path, kind: ChangeKind::Deleted });
            continue;
        }
        let before = found.len();
        if tree::kind(&stat) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(upper, &name, flags, Mode::empty()) {
                Ok(fd) => compare_directory(fd.as_fd(), below.as_ref(), &path, found, depth + 1)?,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        let kind = match below {
            None => ChangeKind::Added,
            // A directory counts as changed when something in it is.
            Some(below) if found.len() > before || differs(&stat, &below) => ChangeKind::Modified,
            Some(_) => continue,
        };
        found.push(Change { path, kind });
    }
    Ok(())
}

/// Docker's notion: attributes, and for all but directories size and time.
fn differs(upper: &Stat, lower: &View) -> bool {
    let lower = &lower.metadata;
    let attributes = upper.st_mode != lower.mode()
        || upper.st_uid != lower.uid()
        || upper.st_gid != lower.gid()
        || upper.st_rdev != lower.rdev();
    let contents = u64::try_from(upper.st_size).ok() != Some(lower.size())
        || upper.st_mtime != lower.mtime()
        || i64::try_from(upper.st_mtime_nsec).ok() != Some(lower.mtime_nsec());
    attributes || (tree::kind(upper) != FileType::Directory && contents)
}

/// Bytes on disk below `directory`, itself included, every file counted once. What nests deeper than
/// anything is read is not counted.
pub(crate) fn disk_size(directory: BorrowedFd<'_>) -> io::Result<u64> {
    let mut seen = HashSet::new();
    Ok(blocks(&rustix::fs::fstat(directory)?) + size_of_contents(directory, &mut seen, 0)?)
}

fn size_of_contents(
    directory: BorrowedFd<'_>,
    seen: &mut HashSet<u64>,
    depth: usize,
) -> io::Result<u64> {
    if depth >= tree::MAXIMUM_DEPTH {
        return Ok(0);
    }
    let mut size = 0;
    for name in tree::names(directory)? {
        let stat = match tree::stat(directory, &name) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        if tree::kind(&stat) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(directory, &name, flags, Mode::empty()) {
                Ok(fd) => size += size_of_contents(fd.as_fd(), seen, depth + 1)?,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => return Err(error.into()),
            }
        } else if stat.st_nlink > 1 && !seen.insert(stat.st_ino) {
            continue;
        }
        size += blocks(&stat);
    }
    Ok(size)
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * STAT_BLOCK
}
