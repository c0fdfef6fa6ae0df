//! What `docker cp` asks about a path before it copies.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use davit_types::{Context as _, Error, Kind, Result};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::tree::{self, Tree};

/// The facts of `X-Docker-Container-Path-Stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last name of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode`: permission bits, with the kind in the high bits.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, i64),
    /// Where a symbolic link leads inside the root; empty for everything else.
    pub link_target: String,
}

/// Looks at `path` inside `root`. A last name that is a link is not followed.
///
/// # Errors
/// [`Kind::NotFound`] when nothing is there.
pub fn stat(root: BorrowedFd<'_>, path: &Path) -> Result<PathStat> {
    let tree = Tree::new(root);
    let fd = tree.open(path, OFlags::PATH).map_err(|error| {
        let kind = match error {
            Errno::NOENT | Errno::NOTDIR => Kind::NotFound,
            _ => Kind::Internal,
        };
        Error::new(kind, format!("look up {}", path.display())).with_source(error)
    })?;
    let stat = rustix::fs::fstat(&fd).context(|| format!("stat {}", path.display()))?;
    let link_target = match tree::kind(&stat) {
        FileType::Symlink => link_target(root, path, &fd),
        _ => String::new(),
    };
    let name = path.file_name().map_or_else(|| "/".into(), |name| name.to_string_lossy());
    Ok(PathStat {
        name: name.into_owned(),
        size: stat.st_size,
        mode: go_mode(stat.st_mode),
        mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
        link_target,
    })
}

/// The absolute path inside the root that the link ends at, or its own text if that is nowhere.
fn link_target(root: BorrowedFd<'_>, path: &Path, link: impl AsFd) -> String {
    let text = rustix::fs::readlinkat(link, "", Vec::new()).unwrap_or_default();
    let text = PathBuf::from(std::ffi::OsStr::from_bytes(text.as_bytes()));
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let end = rustix::fs::openat2(root, path, flags, rustix::fs::Mode::empty(), resolve).ok();
    let place =
        |fd: BorrowedFd<'_>| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
    let inside = end.and_then(|end| {
        let (end, root) = (place(end.as_fd())?, place(root)?);
        Some(Path::new("/").join(end.strip_prefix(root).ok()?))
    });
    inside.unwrap_or(text).to_string_lossy().into_owned()
}

/// Go puts the kind in the high bits of its file mode, setuid and its like just below.
fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => (1 << 26) | (1 << 21),
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let setuid = if mode & 0o4000 == 0 { 0 } else { 1 << 23 };
    let setgid = if mode & 0o2000 == 0 { 0 } else { 1 << 22 };
    let sticky = if mode & 0o1000 == 0 { 0 } else { 1 << 20 };
    kind | setuid | setgid | sticky | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 420);
        assert_eq!(go_mode(0o040_755), 2_147_484_141);
        assert_eq!(go_mode(0o120_777), 134_218_239);
        assert_eq!(go_mode(0o104_755), 8_389_101);
    }

    #[test]
    fn links_end_inside_the_root() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("etc")).expect("mkdir");
        std::fs::write(root.path().join("etc/passwd"), "x").expect("write");
        std::os::unix::fs::symlink("../../../etc/passwd", root.path().join("link")).expect("link");
        let fd = std::fs::File::open(root.path()).expect("open");
        let found = stat(fd.as_fd(), Path::new("/link")).expect("stat");
        assert_eq!(found.link_target, "/etc/passwd");
        let missing = stat(fd.as_fd(), Path::new("/nosuch")).expect_err("nothing there");
        assert_eq!(missing.kind(), Kind::NotFound);
    }
}
