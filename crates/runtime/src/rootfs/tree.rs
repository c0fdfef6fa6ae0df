//! Paths inside a root directory that its content must not be able to lead out of.
//!
//! Every look-up goes through `openat2` with `RESOLVE_IN_ROOT`: `..` and absolute links end at the
//! root, and the magic links of `/proc` are not followed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A directory that stands for `/`.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// Mounts of the kernel's own file systems, by where they are.
    remembered: RefCell<BTreeMap<PathBuf, OwnedFd>>,
}

impl Tree {
    /// The tree at `path` of the caller's own root.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::of_mount(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// The tree of a mount, whose descriptor the kernel gave when it was made.
    pub(crate) fn of_mount(root: OwnedFd) -> Self {
        Self { root, remembered: RefCell::default() }
    }

    /// Notes that `mount` is what is mounted at `destination`.
    pub(super) fn remember(&self, destination: &Path, mount: BorrowedFd<'_>) -> io::Result<()> {
        let mount = rustix::io::fcntl_dupfd_cloexec(mount, 3)?;
        self.remembered.borrow_mut().insert(destination.to_owned(), mount);
        Ok(())
    }

    /// An `O_PATH` descriptor of `path`, found in the mount that was made for it even when somebody has
    /// since moved the directory it is on.
    pub(super) fn protected(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let remembered = self.remembered.borrow();
        let mount = remembered
            .iter()
            .find_map(|(destination, mount)| Some((mount, path.strip_prefix(destination).ok()?)));
        match mount {
            Some((mount, rest)) => open_in(mount.as_fd(), &Path::new("/").join(rest), OFlags::PATH),
            None => self.handle(path),
        }
    }

    /// Opens `path`, following links within the tree.
    pub(crate) fn at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_in(self.root.as_fd(), path, flags)
    }

    /// An `O_PATH` descriptor of `path`.
    pub(crate) fn handle(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.at(path, OFlags::PATH)
    }

    /// `mkdir -p`; a descriptor of the directory.
    pub(crate) fn make_directory(&self, path: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        match self.at(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        if let Some(made) = self.make_last(path, mode) {
            return made;
        }
        let path = self.without_links(path)?;
        let mut current = self.at(Path::new("/"), OFlags::PATH | OFlags::DIRECTORY)?;
        let mut walked = PathBuf::from("/");
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            walked.push(name);
            current = match self.at(&walked, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(mode)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error),
                    }
                    self.at(&walked, OFlags::PATH | OFlags::DIRECTORY)?
                }
                other => other?,
            };
        }
        Ok(current)
    }

    /// Makes the directory `path` in one that is there; nothing if that one is missing too, or something
    /// else has the name.
    fn make_last(&self, path: &Path, mode: u32) -> Option<Result<OwnedFd, Errno>> {
        let above = self.at(path.parent()?, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        rustix::fs::mkdirat(&above, path.file_name()?, Mode::from_raw_mode(mode)).ok()?;
        Some(self.at(path, OFlags::PATH | OFlags::DIRECTORY))
    }

    /// An `O_PATH` descriptor of `path`, in which no part may be a symbolic link (`ELOOP`).
    pub(crate) fn plain_handle(&self, path: &Path) -> Result<OwnedFd, Errno> {
        open_with(self.root.as_fd(), path, OFlags::PATH, ResolveFlags::NO_SYMLINKS)
    }

    /// An `O_PATH` descriptor of the file `path`, created empty with its directories if missing.
    pub(crate) fn make_file(&self, path: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        match self.handle(path) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let path = &self.without_links(path)?;
        let (directory, name) = self.parent(path)?;
        // Exclusively: what somebody put there meanwhile is neither opened (a pipe would block) nor
        // followed.
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&directory, name, flags, Mode::from_raw_mode(mode)) {
            Ok(_) | Err(Errno::EXIST) => self.handle(path),
            Err(error) => Err(error),
        }
    }

    /// Where `path` leads within the tree, whether it exists or not.
    ///
    /// Only names what to create: opening is `openat2`'s business still.
    fn without_links(&self, path: &Path) -> Result<PathBuf, Errno> {
        const LINKS: usize = 40;
        let mut links = 0;
        let mut found = PathBuf::from("/");
        let mut rest = path.to_path_buf();
        loop {
            let mut parts = rest.components();
            let Some(part) = parts.next() else { return Ok(found) };
            let after = parts.as_path().to_path_buf();
            let mut named = false;
            match part {
                Component::RootDir => found = PathBuf::from("/"),
                Component::ParentDir => drop(found.pop()),
                Component::CurDir | Component::Prefix(_) => {}
                Component::Normal(name) => {
                    found.push(name);
                    named = true;
                }
            }
            rest = after;
            let target = if named { self.link_target(&found)? } else { None };
            if let Some(target) = target {
                links += 1;
                if links > LINKS {
                    return Err(Errno::LOOP);
                }
                found.pop();
                rest = target.join(rest);
            }
        }
    }

    /// What the symbolic link `path` contains; nothing if it is none or missing.
    fn link_target(&self, path: &Path) -> Result<Option<PathBuf>, Errno> {
        let file = match self.at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let mode = rustix::fs::fstat(&file)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Symlink {
            return Ok(None);
        }
        let target = rustix::fs::readlinkat(&file, c"", Vec::new())?;
        Ok(Some(PathBuf::from(OsStr::from_bytes(target.as_bytes()))))
    }

    /// The directory that `path` is in, created if missing, and the last part of `path`.
    pub(crate) fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        Ok((self.make_directory(directory, 0o755)?, name))
    }

    /// Makes a symbolic link unless something is there.
    pub(crate) fn make_link(&self, target: &str, path: &Path) -> Result<(), Errno> {
        let (directory, name) = self.parent(path)?;
        match rustix::fs::symlinkat(target, &directory, name) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// Removes a file, if there is one.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), Errno> {
        let (directory, name) = self.parent(path)?;
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// `openat2` below `root`, which a rename or mount anywhere on the host may ask to repeat.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_with(root, path, flags, ResolveFlags::empty())
}

fn open_with(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    more: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    const ATTEMPTS: u32 = 128;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        result = rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn scratch(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("davit-tree-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("root/etc")).expect("a scratch directory");
        Scratch(path)
    }

    #[test]
    fn links_do_not_lead_out_of_the_tree() {
        let scratch = scratch("links");
        let root = scratch.0.join("root");
        symlink("/../../outside", root.join("up")).expect("a link");
        symlink("/etc", root.join("config")).expect("a link");
        let tree = Tree::open(&root).expect("the tree");

        tree.make_file(Path::new("/config/hosts"), 0o644).expect("a file through a link");
        assert!(root.join("etc/hosts").exists());
        tree.make_directory(Path::new("/up/x"), 0o755)
            .expect("a directory through a dangling link");
        assert!(root.join("outside/x").is_dir());
        symlink("../up/../run/a.conf", root.join("etc/a.conf")).expect("a link");
        tree.make_file(Path::new("/etc/a.conf"), 0o644).expect("a file through a dangling link");
        assert!(root.join("run/a.conf").is_file());
        symlink("loop", root.join("loop")).expect("a link");
        assert_eq!(tree.make_file(Path::new("/loop"), 0o644).err(), Some(Errno::LOOP));
        tree.make_directory(Path::new("/../../a/b"), 0o755).expect("clamped to the root");
        assert!(root.join("a/b").exists());
        assert!(!scratch.0.join("outside").exists());
    }

    #[test]
    fn what_is_there_is_kept() {
        let scratch = scratch("kept");
        let root = scratch.0.join("root");
        fs::write(root.join("etc/passwd"), "x").expect("a file");
        let tree = Tree::open(&root).expect("the tree");
        tree.make_file(Path::new("/etc/passwd"), 0o644).expect("the file");
        assert_eq!(fs::read_to_string(root.join("etc/passwd")).expect("readable"), "x");
        let error = tree.make_directory(Path::new("/etc/passwd/x"), 0o755).err();
        assert_eq!(error, Some(Errno::NOTDIR));
        tree.make_link("a", Path::new("/etc/passwd")).expect("left alone");
        assert!(root.join("etc/passwd").is_file());
    }
}
