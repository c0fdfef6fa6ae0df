//! Packs a directory or file into a tar: `docker cp` out of a container, `docker export`.
//!
//! Parents come before their children, names are sorted, hard links point back to the first name
//! in the archive: what GNU tar and Go's reader expect.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use davit_types::{Context as _, Error, Kind, Result};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::{EntryType, Header};

use super::Whiteouts;
use crate::layer::is_opaque;
use crate::tree::{self, Missing, Tree};

const USTAR_NAME: usize = 100;
const USTAR_ID: u64 = 0o7_777_777;
const USTAR_SIZE: u64 = 0o77_777_777_777;

/// Packs `path` inside `root`, named `rename_to` in the archive. With an empty `rename_to` or `.`
/// a directory's contents come without a name in front (`.` keeps an entry for the directory).
/// A link in the last place is packed itself, unless the path ends in `/` or `/.`.
///
/// # Errors
/// [`Kind::NotFound`] when nothing is at `path`; else a failing file system or writer.
pub fn pack(root: BorrowedFd<'_>, path: &Path, rename_to: &str, out: impl Write) -> Result<()> {
    let clean = tree::clean(path.as_os_str().as_bytes())
        .ok_or_else(|| Error::invalid(format!("{} leads out of the root", path.display())))?;
    let not_found = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Kind::NotFound,
            _ => Kind::Internal,
        };
        Error::new(kind, format!("look up {}", path.display())).with_source(error)
    };
    let mut tree = Tree::new(root);
    let bytes = path.as_os_str().as_bytes();
    let inside = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let (parent, name) = match clean.file_name() {
        Some(name) if !inside => (tree.parent(&clean, Missing::Fail).map_err(not_found)?, name),
        _ => {
            let directory = tree.directory(&clean, Missing::Fail).map_err(not_found)?;
            (Rc::new(directory), OsStr::new("."))
        }
    };
    let stat = tree::stat(&parent, name).map_err(|error| not_found(error.into()))?;
    let mut packer = Packer {
        builder: tar::Builder::new(out),
        links: HashMap::new(),
        whiteouts: Whiteouts::Keep,
        depth: 0,
    };
    packer.node(parent.as_fd(), name, &stat, Path::new(rename_to))?;
    packer.builder.into_inner().and_then(|mut out| out.flush()).context(|| "end archive")
}

/// Packs a container's own directory as a layer: overlayfs's marks become `.wh.` names.
///
/// # Errors
/// A failing file system or writer.
pub fn pack_layer(upper: BorrowedFd<'_>, out: impl Write) -> Result<()> {
    let name = OsStr::new(".");
    let stat = tree::stat(upper, name).context(|| "look up the layer")?;
    let mut packer = Packer {
        builder: tar::Builder::new(out),
        links: HashMap::new(),
        whiteouts: Whiteouts::Overlay,
        depth: 0,
    };
    packer.node(upper, name, &stat, Path::new(""))?;
    packer.builder.into_inner().and_then(|mut out| out.flush()).context(|| "end archive")
}

struct Packer<W: Write> {
    builder: tar::Builder<W>,
    /// Files with several names, by device and inode, and the first name packed.
    links: HashMap<(u64, u64), PathBuf>,
    whiteouts: Whiteouts,
    depth: usize,
}

impl<W: Write> Packer<W> {
    fn node(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        shown: &Path,
    ) -> Result<()> {
        let place = || format!("pack {}", shown.display());
        let kind = tree::kind(stat);
        if kind == FileType::Directory {
            return self.directory(parent, name, stat, shown);
        }
        if kind == FileType::Socket {
            return Ok(()); // tar has no sockets
        }
        if self.whiteouts == Whiteouts::Overlay && tree::is_whiteout(stat) {
            let hidden = shown.file_name().unwrap_or_default().as_bytes();
            return self.mark(shown, &[b".wh.", hidden].concat(), stat).context(place);
        }
        let several = stat.st_nlink > 1;
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&key).filter(|_| several) {
            let target = first.as_os_str().as_bytes().to_owned();
            return self.head(EntryType::Link, shown, stat, 0, &target, &[]).context(place);
        }
        let xattrs = tree::xattrs(parent, name).context(place)?;
        match kind {
            FileType::RegularFile => self.file(parent, name, shown, &xattrs),
            FileType::Symlink => rustix::fs::readlinkat(parent, name, Vec::new())
                .map_err(io::Error::from)
                .and_then(|target| {
                    self.head(EntryType::Symlink, shown, stat, 0, target.as_bytes(), &xattrs)
                }),
            FileType::CharacterDevice => self.head(EntryType::Char, shown, stat, 0, b"", &xattrs),
            FileType::BlockDevice => self.head(EntryType::Block, shown, stat, 0, b"", &xattrs),
            FileType::Fifo => self.head(EntryType::Fifo, shown, stat, 0, b"", &xattrs),
            _ => Ok(()),
        }
        .context(place)?;
        if several {
            self.links.insert(key, shown.to_owned());
        }
        Ok(())
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        shown: &Path,
    ) -> Result<()> {
        let place = || format!("pack {}", shown.display());
        if self.depth >= tree::MAXIMUM_DEPTH {
            let depth = tree::MAXIMUM_DEPTH;
            return Err(Error::invalid(format!("directories nest more than {depth} deep")));
        }
        self.depth += 1;
        if !shown.as_os_str().is_empty() {
            let xattrs = tree::xattrs(parent, name).context(place)?;
            self.head(EntryType::Directory, shown, stat, 0, b"", &xattrs).context(place)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).context(place)?;
        if self.whiteouts == Whiteouts::Overlay
            && is_opaque(&tree::proc_path(fd.as_fd(), OsStr::new("."))).context(place)?
        {
            self.mark(&shown.join("x"), b".wh..wh..opq", stat).context(place)?;
        }
        let shown = if shown == Path::new(".") { Path::new("") } else { shown };
        for child in tree::names(&fd).context(place)? {
            match tree::stat(&fd, &child) {
                Ok(stat) => self.node(fd.as_fd(), &child, &stat, &shown.join(&child))?,
                // The container deleted it meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error).context(place),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// An empty file with this name beside `shown`.
    fn mark(&mut self, shown: &Path, name: &[u8], stat: &Stat) -> io::Result<()> {
        let mut stat = *stat;
        stat.st_mode = 0o100_600;
        let shown = shown.with_file_name(OsStr::from_bytes(name));
        self.head(EntryType::Regular, &shown, &stat, 0, b"", &[])
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        shown: &Path,
        xattrs: &[(OsString, Vec<u8>)],
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if tree::kind(&stat) != FileType::RegularFile {
            return Err(io::Error::other("it changed its kind meanwhile"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.head(EntryType::Regular, shown, &stat, size, b"", xattrs)?;
        // A file that grows is cut, one that shrinks is filled: the head has been written.
        let data = std::fs::File::from(fd).chain(io::repeat(0)).take(size);
        let out = self.builder.get_mut();
        io::copy(&mut io::BufReader::with_capacity(128 * 1024, data), out)?;
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        out.write_all(&[0; 512][..padding])
    }

    fn head(
        &mut self,
        kind: EntryType,
        shown: &Path,
        stat: &Stat,
        size: u64,
        target: &[u8],
        xattrs: &[(OsString, Vec<u8>)],
    ) -> io::Result<()> {
        let mut name = shown.as_os_str().as_bytes().to_owned();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        let records = records(&name, stat, size, target, xattrs);
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(records)?;
        let header = header(kind, &name, stat, size, target)?;
        self.builder.get_mut().write_all(header.as_bytes())
    }
}

/// What does not fit the old header.
fn records(
    name: &[u8],
    stat: &Stat,
    size: u64,
    target: &[u8],
    xattrs: &[(OsString, Vec<u8>)],
) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let mut add = |key: &str, value: &[u8]| records.push((key.to_owned(), value.to_owned()));
    if name.len() > USTAR_NAME {
        add("path", name);
    }
    if target.len() > USTAR_NAME {
        add("linkpath", target);
    }
    if size > USTAR_SIZE {
        add("size", size.to_string().as_bytes());
    }
    for (key, id) in [("uid", stat.st_uid), ("gid", stat.st_gid)] {
        if u64::from(id) > USTAR_ID {
            add(key, id.to_string().as_bytes());
        }
    }
    if stat.st_mtime_nsec != 0 || stat.st_mtime < 0 {
        add("mtime", decimal_time(stat.st_mtime, stat.st_mtime_nsec as i64).as_bytes());
    }
    for (key, value) in xattrs {
        // Overlayfs's own marks mean nothing outside the layer.
        if let Some(key) = key.to_str().filter(|key| !key.starts_with("trusted.overlay.")) {
            add(&format!("SCHILY.xattr.{key}"), value);
        }
    }
    records
}

fn decimal_time(seconds: i64, nanoseconds: i64) -> String {
    if seconds < 0 && nanoseconds > 0 {
        return format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds);
    }
    format!("{seconds}.{nanoseconds:09}")
}

fn header(
    kind: EntryType,
    name: &[u8],
    stat: &Stat,
    size: u64,
    target: &[u8],
) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    let old = header.as_old_mut();
    let fit = |field: &mut [u8; USTAR_NAME], value: &[u8]| {
        let count = value.len().min(USTAR_NAME);
        field[..count].copy_from_slice(&value[..count]);
    };
    fit(&mut old.name, name);
    fit(&mut old.linkname, target);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid).min(USTAR_ID));
    header.set_gid(u64::from(stat.st_gid).min(USTAR_ID));
    header.set_size(size.min(USTAR_SIZE));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0).min(USTAR_SIZE));
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(rustix::fs::major(stat.st_rdev))?;
        header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
    }
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_read_back_as_written() {
        assert_eq!(decimal_time(12, 5), "12.000000005");
        assert_eq!(decimal_time(-2, 500_000_000), "-1.500000000");
    }
}
