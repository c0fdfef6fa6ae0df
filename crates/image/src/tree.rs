//! File system access below one directory, by file descriptor only.
//!
//! Every look-up goes through openat2 with RESOLVE_IN_ROOT: `..`, absolute links and links swapped
//! in by a running container end inside the root, never outside. The last name of a path is never
//! followed; what is done to it is done relative to its parent's descriptor.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

/// Attempts when a rename elsewhere in the tree disturbs a look-up (EAGAIN, openat2(2)).
const LOOKUP_ATTEMPTS: u32 = 64;
/// Nothing below so many directories is read. A container can nest as many as it likes, and each one
/// costs whoever walks them a descriptor and a piece of the stack.
pub(crate) const MAXIMUM_DEPTH: usize = 512;
/// Bytes of names of directories made on the way that are remembered.
const MOST_IMPLIED: usize = 4 << 20;
/// A directory this far down is moved up before it is deleted.
const REMOVAL_DEPTH: usize = 64;

/// A directory that look-ups can't leave.
pub(crate) struct Tree<'fd> {
    root: BorrowedFd<'fd>,
    /// The parent used last: archives list a directory's entries one after the other.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Directories made on the way to something else.
    implied: BTreeSet<PathBuf>,
    /// Bytes that their names have taken so far.
    implied_size: usize,
}

/// Whether missing directories on the way are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Fail,
}

impl<'fd> Tree<'fd> {
    pub(crate) fn new(root: BorrowedFd<'fd>) -> Self {
        Self { root, last: None, implied: BTreeSet::new(), implied_size: 0 }
    }

    /// Opens `path`, links followed inside the root, but not in the last place.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open_in_root(self.root, path, flags | OFlags::NOFOLLOW)
    }

    /// The directory that holds `path`'s last name. `path` is relative and clean.
    pub(crate) fn parent(&mut self, path: &Path, missing: Missing) -> io::Result<Rc<OwnedFd>> {
        let directory = path.parent().unwrap_or(Path::new(""));
        if let Some((known, fd)) = &self.last
            && known == directory
        {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(self.directory(directory, missing)?);
        self.last = Some((directory.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// Opens a directory, links followed inside the root.
    pub(crate) fn directory(&mut self, path: &Path, missing: Missing) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_in_root(self.root, path, flags) {
            Err(Errno::NOENT) if missing == Missing::Create => {}
            other => return other.map_err(io::Error::from),
        }
        let mut walked = PathBuf::new();
        for name in path.components() {
            walked.push(name);
            match open_in_root(self.root, &walked, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    let above = walked.parent().unwrap_or(Path::new(""));
                    let fd = open_in_root(self.root, above, OFlags::PATH | OFlags::DIRECTORY)?;
                    rustix::fs::mkdirat(&fd, name.as_os_str(), Mode::from_raw_mode(0o755))?;
                    self.implied_size += walked.as_os_str().len();
                    if self.implied_size <= MOST_IMPLIED {
                        self.implied.insert(walked.clone());
                    }
                }
                other => drop(other?),
            }
        }
        open_in_root(self.root, path, flags).map_err(io::Error::from)
    }

    /// The directory has been asked for itself.
    pub(crate) fn listed(&mut self, path: &Path) {
        self.implied.remove(path);
    }

    /// Directories that were made on the way and never asked for themselves. Not all of them when an
    /// archive has more than any honest one.
    pub(crate) fn into_implied(self) -> BTreeSet<PathBuf> {
        self.implied
    }

    /// Forgets the remembered parent: something that may lie on its path went away.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if attempts < LOOKUP_ATTEMPTS => attempts += 1,
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// `path` without `.`, `..` and leading `/`; `None` if a `..` leads out.
pub(crate) fn clean(path: &[u8]) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

/// stat(2) of `name` itself.
pub(crate) fn stat(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// What kind of file a stat(2) tells of.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether it is overlayfs's mark for a deleted name.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_owned()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Deletes `path`, with everything in it, however deep. It not being there is fine.
///
/// # Errors
/// A failing file system, or somebody who goes on making files in there.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    remove(std::fs::File::open(parent)?.as_fd(), name)
}

/// Deletes `name`, with everything in it, however deep. It not being there is fine.
pub(crate) fn remove(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let Some(top) = unlink_or_open(directory, name)? else { return Ok(()) };
    let mut removal = Removal { top: top.as_fd(), lifted: 0 };
    loop {
        let before = removal.lifted;
        for child in names(&top)? {
            removal.remove(top.as_fd(), &child, 1)?;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY) if removal.lifted > before => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Deletes `name` unless it is a directory, which is opened.
fn unlink_or_open(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A tree on its way out. What lies deep in it is moved to its top, where it is the next turn's.
struct Removal<'fd> {
    top: BorrowedFd<'fd>,
    /// Directories moved so far.
    lifted: u64,
}

impl Removal<'_> {
    fn remove(&mut self, directory: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
        let Some(fd) = unlink_or_open(directory, name)? else { return Ok(()) };
        if depth >= REMOVAL_DEPTH {
            match self.lift(directory, name) {
                // Overlayfs doesn't rename what is also in a lower layer.
                Err(Errno::XDEV) if depth < MAXIMUM_DEPTH => {}
                result => return Ok(result?),
            }
        }
        for child in names(&fd)? {
            self.remove(fd.as_fd(), &child, depth + 1)?;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn lift(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
        loop {
            self.lifted += 1;
            let to = format!(".removed-{}", self.lifted);
            match rustix::fs::renameat(directory, name, self.top, &to) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                other => return other,
            }
        }
    }
}

/// Sets the mode of `name` itself: by a descriptor, as a container may put a link in its place, and
/// chmod(2) would follow it to wherever it leads on the host.
pub(crate) fn set_mode(directory: impl AsFd, name: &OsStr, mode: Mode) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode)?)
}

/// Sets access and modification time of `name` itself.
pub(crate) fn set_times(directory: impl AsFd, name: &OsStr, time: Timespec) -> io::Result<()> {
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The path under which the kernel finds `name` for the calls that know no directory descriptor
/// (the xattr family before Linux 6.13).
pub(crate) fn proc_path(directory: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)
}

/// All extended attributes of `name` itself. A file system without them has none.
pub(crate) fn xattrs(
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let path = proc_path(directory, name);
    let list = match rustix::fs::llistxattr_query(&path) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(size) => {
            let mut list = vec![0; size];
            let size = rustix::fs::llistxattr(&path, &mut list[..])?;
            list.truncate(size);
            list
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for key in list.split(|byte| *byte == 0).filter(|key| !key.is_empty()) {
        let key = OsStr::from_bytes(key);
        if let Some(value) = xattr(&path, key)? {
            found.push((key.to_owned(), value));
        }
    }
    Ok(found)
}

/// One extended attribute of the file at `path` itself.
pub(crate) fn xattr(path: &Path, key: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let size = match rustix::fs::lgetxattr_query(path, key) {
        Ok(size) => size,
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0; size];
    let size = rustix::fs::lgetxattr(path, key, &mut value[..])?;
    value.truncate(size);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_never_set_through_a_link() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("file");
        std::fs::write(&file, "x").expect("write");
        symlink(&file, root.path().join("link")).expect("link");
        let fd = std::fs::File::open(root.path()).expect("open");
        let set = |name: &str, mode| set_mode(&fd, OsStr::new(name), Mode::from_raw_mode(mode));
        set("file", 0o641).expect("a file's mode");
        set("link", 0o777).expect_err("a link has no mode");
        let mode = std::fs::metadata(&file).expect("file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o641);
    }

    #[test]
    fn trees_of_any_depth_are_deleted() {
        let root = tempfile::tempdir().expect("a directory");
        let top = root.path().join("top");
        std::fs::create_dir_all(top.join(".removed-2/kept-name")).expect("mkdir");
        std::fs::write(top.join(".removed-1"), "x").expect("write");
        let mut fd = OwnedFd::from(std::fs::File::open(&top).expect("open"));
        for _ in 0..4_000 {
            rustix::fs::mkdirat(&fd, "d", Mode::from_raw_mode(0o755)).expect("mkdir");
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fd = rustix::fs::openat(&fd, "d", flags, Mode::empty()).expect("open");
        }
        drop(fd);
        remove_tree(&top).expect("remove");
        assert!(!top.exists());
        remove_tree(&top).expect("nothing there");
    }

    #[test]
    fn clean_paths_never_leave_the_root() {
        for (path, expected) in [
            ("./a//b/", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../b", Some("b")),
            ("..", None),
            ("a/../../b", None),
            ("./", Some("")),
        ] {
            assert_eq!(clean(path.as_bytes()), expected.map(PathBuf::from), "{path}");
        }
    }
}
