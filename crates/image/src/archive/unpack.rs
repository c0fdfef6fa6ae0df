//! Unpacks a tar below a root: layers and `docker cp` into a container.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use davit_types::{Context as _, Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Uid, XattrFlags};
use rustix::io::Errno;
use tracing::debug;

use super::bounded::Bounded;
use super::entry::{Head, Node, Sparse};
use crate::tree::{self, Missing, Tree};

const BUFFER: usize = 128 * 1024;
const BLOCK: u64 = 4096;
const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// Attributes that steer overlayfs; from an archive they could graft other directories in.
const OVERLAY_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// How names starting with `.wh.` are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// As ordinary files.
    #[default]
    Keep,
    /// As marks of a layer, turned into overlayfs's.
    Overlay,
}

/// How to unpack.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// Refuse to put a directory over something else, and something else over a directory.
    pub no_overwrite_dir_non_dir: bool,
    /// Owner of everything, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// What `.wh.` names mean.
    pub whiteouts: Whiteouts,
    /// An entry for the archive's own root sets the attributes of the directory unpacked into.
    /// `docker cp` leaves that directory alone, layers and volumes take them over.
    pub root_attributes: bool,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries made.
    pub entries: u64,
    /// Bytes on disk, in whole blocks.
    pub disk_size: u64,
    /// Directories that were made for what lies in them, as the archive has no entries of theirs;
    /// an empty path is the root.
    pub implied: Vec<PathBuf>,
}

/// Unpacks `reader` into `dir` inside `root` and reads it to its end.
///
/// # Errors
/// A broken archive, an entry that leads out of `root`, or a failing file system; the message names
/// the entry. What was unpacked before stays.
pub fn unpack(
    reader: impl Read,
    root: BorrowedFd<'_>,
    dir: &Path,
    options: UnpackOptions,
) -> Result<Unpacked> {
    let prefix = tree::clean(dir.as_os_str().as_bytes())
        .ok_or_else(|| Error::invalid(format!("{} leads out of the root", dir.display())))?;
    let mut unpacker = Unpacker {
        tree: Tree::new(root),
        prefix,
        options,
        directories: Vec::new(),
        done: Unpacked::default(),
        is_root_listed: false,
        buffer: vec![0; BUFFER],
    };
    let (reader, heads) = Bounded::new(reader);
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().context(|| "read archive")? {
        let mut entry = entry.context(|| "read archive")?;
        let pax = heads.pax(&entry).context(|| "read archive")?;
        unpacker.entry(&mut entry, &pax)?;
    }
    unpacker.finish()?;
    io::copy(&mut archive.into_inner().into_inner(), &mut io::sink())
        .context(|| "read archive to its end")?;
    let root = (!unpacker.is_root_listed).then(PathBuf::new);
    let implied = root.into_iter().chain(unpacker.tree.into_implied()).collect();
    Ok(Unpacked { implied, ..unpacker.done })
}

struct Unpacker<'fd> {
    tree: Tree<'fd>,
    prefix: PathBuf,
    options: UnpackOptions,
    /// Times of directories are set last: every entry made in one changes them.
    directories: Vec<(PathBuf, Timespec)>,
    done: Unpacked,
    is_root_listed: bool,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, pax: &[u8]) -> Result<()> {
        let Some(head) = Head::read(entry, pax)? else { return Ok(()) };
        self.place(&head, entry).context(|| format!("unpack entry {:?}", head.path))?;
        self.done.entries += 1;
        Ok(())
    }

    fn place<R: Read>(&mut self, head: &Head, data: &mut tar::Entry<'_, R>) -> Result<()> {
        let path = self.prefix.join(&head.path);
        let Some(name) = head.path.file_name() else { return self.root(head) };
        if self.options.whiteouts == Whiteouts::Overlay
            && name.as_bytes().starts_with(WHITEOUT_PREFIX)
        {
            return self.whiteout(&path, name.as_bytes());
        }
        let parent = self.tree.parent(&path, Missing::Create).context(|| "open its directory")?;
        let parent = parent.as_fd();
        if self.make(parent, &path, name, head, data)? {
            self.done.disk_size += BLOCK;
            self.directories.push((path, head.mtime));
        }
        Ok(())
    }

    /// Makes the node; says whether it is a directory, whose time waits.
    fn make<R: Read>(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        head: &Head,
        data: &mut tar::Entry<'_, R>,
    ) -> Result<bool> {
        let mode = Mode::from_raw_mode(0o600);
        match &head.node {
            Node::Directory => {
                self.directory(parent, path, name, head)?;
                return Ok(true);
            }
            Node::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
                let flags = flags | OFlags::CLOEXEC;
                let fd = self.create(parent, path, name, New::Other, || {
                    rustix::fs::openat(parent, name, flags, mode)
                })?;
                self.write(fd, head.sparse.as_ref(), data)?;
            }
            Node::Symlink(target) => self.create(parent, path, name, New::Other, || {
                rustix::fs::symlinkat(target.as_os_str(), parent, name)
            })?,
            Node::Hardlink(target) => return self.hardlink(parent, path, name, target),
            Node::Character(device) => self.create(parent, path, name, New::Other, || {
                rustix::fs::mknodat(parent, name, FileType::CharacterDevice, mode, *device)
            })?,
            Node::Block(device) => self.create(parent, path, name, New::Other, || {
                rustix::fs::mknodat(parent, name, FileType::BlockDevice, mode, *device)
            })?,
            Node::Fifo => self.create(parent, path, name, New::Other, || {
                rustix::fs::mknodat(parent, name, FileType::Fifo, mode, 0)
            })?,
        }
        self.attributes(parent, name, head)?;
        tree::set_times(parent, name, head.mtime).context(|| "set its times")?;
        Ok(false)
    }

    fn root(&mut self, head: &Head) -> Result<()> {
        if head.node != Node::Directory {
            return Err(Error::invalid("the root of an archive must be a directory"));
        }
        if !self.options.root_attributes {
            return Ok(());
        }
        let fd = self.tree.directory(&self.prefix, Missing::Create).context(|| "open the root")?;
        self.attributes(fd.as_fd(), OsStr::new("."), head)?;
        self.directories.push((self.prefix.clone(), head.mtime));
        self.is_root_listed = true;
        Ok(())
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        head: &Head,
    ) -> Result<()> {
        let mode = Mode::from_raw_mode(0o700);
        let existing = match rustix::fs::mkdirat(parent, name, mode) {
            Ok(()) => None,
            Err(Errno::EXIST) => {
                Some(tree::stat(parent, name).context(|| "look at what is there")?)
            }
            Err(error) => return Err(error).context(|| "make directory"),
        };
        if let Some(existing) = existing
            && tree::kind(&existing) != FileType::Directory
        {
            self.create(parent, path, name, New::Directory, || {
                rustix::fs::mkdirat(parent, name, mode)
            })?;
            // Deleted and made anew in one layer: nothing of the lower directory may shine through.
            if self.options.whiteouts == Whiteouts::Overlay && tree::is_whiteout(&existing) {
                set_opaque(parent, name)?;
            }
        }
        self.tree.listed(path);
        self.attributes(parent, name, head)
    }

    fn hardlink(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        target: &Path,
    ) -> Result<bool> {
        let from = self.prefix.join(target);
        if from == path {
            return Err(Error::invalid("hard link to itself"));
        }
        let missing = || format!("hard link to {target:?}");
        let target_name = target.file_name().ok_or_else(|| Error::invalid(missing()))?;
        let above = from.parent().unwrap_or(Path::new(""));
        let directory = self.tree.directory(above, Missing::Fail).context(missing)?;
        self.create(parent, path, name, New::Other, || {
            rustix::fs::linkat(&directory, target_name, parent, name, AtFlags::empty())
        })
        .context(missing)?;
        Ok(false)
    }

    /// Runs `make`; if the name is taken, clears it and runs it again.
    fn create<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        new: New,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {}
            other => return other.context(|| "create"),
        }
        self.clear(parent, path, name, new)?;
        make().context(|| "create in place of what was there")
    }

    fn clear(&mut self, parent: BorrowedFd<'_>, path: &Path, name: &OsStr, new: New) -> Result<()> {
        let existing = match tree::stat(parent, name) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.context(|| "look at what is there")?,
        };
        if self.options.no_overwrite_dir_non_dir {
            refuse_mixed(path, tree::kind(&existing) == FileType::Directory, new)?;
        }
        self.tree.forget();
        tree::remove(parent, name).context(|| "remove what was there")
    }

    fn write<R: Read>(
        &mut self,
        fd: OwnedFd,
        sparse: Option<&Sparse>,
        data: &mut tar::Entry<'_, R>,
    ) -> Result<()> {
        let file = std::fs::File::from(fd);
        let written = match sparse {
            Some(sparse) => self.write_sparse(&file, sparse, data),
            None => self.write_plain(&file, data),
        };
        self.done.disk_size += written.context(|| "write")?.next_multiple_of(BLOCK);
        Ok(())
    }

    fn write_plain<R: Read>(
        &mut self,
        file: &std::fs::File,
        data: &mut tar::Entry<'_, R>,
    ) -> io::Result<u64> {
        let holes = data.header().entry_type().is_gnu_sparse();
        let expected = data.size();
        let mut offset = 0;
        loop {
            let count = read_some(data, &mut self.buffer)?;
            if count == 0 {
                break;
            }
            let piece = &self.buffer[..count];
            if !holes || piece.iter().any(|byte| *byte != 0) {
                file.write_all_at(piece, offset)?;
            }
            offset += count as u64;
        }
        if offset != expected {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "archive ends in a file"));
        }
        if holes {
            file.set_len(offset)?;
        }
        Ok(offset)
    }

    fn write_sparse<R: Read>(
        &mut self,
        file: &std::fs::File,
        sparse: &Sparse,
        data: &mut tar::Entry<'_, R>,
    ) -> io::Result<u64> {
        let mut written = 0;
        for (offset, length) in &sparse.pieces {
            let mut at = 0;
            while at < *length {
                let room = usize::try_from(length - at).unwrap_or(BUFFER).min(BUFFER);
                let piece = &mut self.buffer[..room];
                data.read_exact(piece)?;
                file.write_all_at(piece, offset + at)?;
                at += room as u64;
            }
            written += length;
        }
        file.set_len(sparse.size)?;
        Ok(written)
    }

    fn attributes(&self, parent: BorrowedFd<'_>, name: &OsStr, head: &Head) -> Result<()> {
        let (uid, gid) = self.options.owner.unwrap_or((head.uid, head.gid));
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .context(|| "set its owner")?;
        // After chown, which clears setuid; a link has no mode of its own.
        if !matches!(head.node, Node::Symlink(_)) {
            let mode = Mode::from_raw_mode(head.mode);
            tree::set_mode(parent, name, mode).context(|| "set its mode")?;
        }
        set_xattrs(parent, name, &head.xattrs)
    }

    fn whiteout(&mut self, path: &Path, name: &[u8]) -> Result<()> {
        let parent = self.tree.parent(path, Missing::Create).context(|| "open its directory")?;
        let parent = parent.as_fd();
        if name == OPAQUE_MARK {
            return set_opaque(parent, OsStr::new("."));
        }
        if name.starts_with(AUFS_PREFIX) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name[WHITEOUT_PREFIX.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(Error::invalid("whiteout of no name"));
        }
        let mode = Mode::empty();
        match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, mode, 0) {
            Ok(()) => Ok(()),
            // The layer has the name itself: only what lies below is to be hidden.
            Err(Errno::EXIST) => {
                let existing = tree::stat(parent, hidden).context(|| "look at what is there")?;
                if tree::kind(&existing) == FileType::Directory {
                    set_opaque(parent, hidden)?;
                }
                Ok(())
            }
            Err(error) => Err(error).context(|| "make whiteout"),
        }
    }

    fn finish(&mut self) -> Result<()> {
        for (path, time) in std::mem::take(&mut self.directories).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match self.tree.open(&path, flags) {
                Ok(fd) => tree::set_times(&fd, OsStr::new("."), time)
                    .context(|| format!("set times of {path:?}"))?,
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error).context(|| format!("open directory {path:?}")),
            }
        }
        Ok(())
    }
}

/// What is about to take a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum New {
    Directory,
    Other,
}

/// Docker's rule and words for `docker cp`.
fn refuse_mixed(path: &Path, existing_is_directory: bool, new: New) -> Result<()> {
    let path = Path::new("/").join(path);
    match (existing_is_directory, new) {
        (true, New::Other) => Err(Error::invalid(format!(
            "cannot overwrite directory {path:?} with non-directory {path:?}"
        ))),
        (false, New::Directory) => Err(Error::invalid(format!(
            "cannot overwrite non-directory {path:?} with directory {path:?}"
        ))),
        _ => Ok(()),
    }
}

fn set_opaque(directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let path = tree::proc_path(directory, name);
    rustix::fs::lsetxattr(&path, OPAQUE_XATTR, b"y", XattrFlags::empty())
        .context(|| "mark directory as opaque")
}

fn set_xattrs(parent: BorrowedFd<'_>, name: &OsStr, xattrs: &[(OsString, Vec<u8>)]) -> Result<()> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let path = tree::proc_path(parent, name);
    for (key, value) in xattrs {
        if OVERLAY_XATTRS.iter().any(|prefix| key.as_bytes().starts_with(prefix)) {
            debug!(?name, ?key, "attribute of overlayfs in an archive left out");
            continue;
        }
        let is_user = key.as_bytes().starts_with(b"user.");
        match rustix::fs::lsetxattr(&path, key.as_os_str(), value, XattrFlags::empty()) {
            // The file system has no such attributes, or not on this kind of file.
            Err(Errno::NOTSUP) => debug!(?name, ?key, "extended attribute not supported"),
            Err(Errno::PERM) if is_user => debug!(?name, ?key, "extended attribute refused"),
            other => other.context(|| format!("set extended attribute {key:?}"))?,
        }
    }
    Ok(())
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
