//! One tar entry, with everything that PAX records say about it put together.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use davit_types::{Context as _, Error, Result};
use rustix::fs::Timespec;
use tar::EntryType;

use crate::tree;

const XATTR_PREFIX: &str = "SCHILY.xattr.";
const SPARSE_PREFIX: &str = "GNU.sparse.";
/// No honest sparse map comes near this many numbers.
const MAXIMUM_SPARSE_NUMBERS: u64 = 1 << 20;

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File,
    Symlink(OsString),
    /// The path inside the archive.
    Hardlink(PathBuf),
    Character(u64),
    Block(u64),
    Fifo,
}

/// The head of an entry; its data is read from the tar entry itself.
#[derive(Debug)]
pub(super) struct Head {
    /// Relative to the root, clean; empty for the root.
    pub(super) path: PathBuf,
    pub(super) node: Node,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timespec,
    pub(super) xattrs: Vec<(OsString, Vec<u8>)>,
    /// Real size and data pieces of a PAX sparse file.
    pub(super) sparse: Option<Sparse>,
}

/// A PAX sparse file: its real size and where its data goes, as (offset, length).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) size: u64,
    pub(super) pieces: Vec<(u64, u64)>,
}

/// What the PAX records of one entry say.
#[derive(Debug, Default)]
struct Records {
    xattrs: Vec<(OsString, Vec<u8>)>,
    mtime: Option<Timespec>,
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: u64,
    sparse_numbers: Vec<u64>,
    sparse_in_data: bool,
    is_sparse: bool,
}

impl Head {
    /// Reads the head; `None` for entries that make nothing (global PAX records).
    pub(super) fn read<R: Read>(entry: &mut tar::Entry<'_, R>, pax: &[u8]) -> Result<Option<Self>> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader || kind == EntryType::XHeader {
            return Ok(None);
        }
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let records = Records::read(pax).context(|| format!("read entry {shown:?}"))?;
        Self::build(entry, kind, records).map(Some).context(|| format!("read entry {shown:?}"))
    }

    fn build<R: Read>(
        entry: &mut tar::Entry<'_, R>,
        kind: EntryType,
        mut records: Records,
    ) -> Result<Self> {
        let given = records.sparse_name.take().or(records.path.take());
        let raw = given.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = tree::clean(&raw).ok_or_else(|| Error::invalid("path leads out of the root"))?;
        let node = node(entry, kind, &raw, records.target.take())?;
        let header = entry.header();
        let mode = header.mode().context(|| "mode")? & 0o7777;
        let uid = records.uid.map_or_else(|| header.uid(), Ok).context(|| "uid")?;
        let gid = records.gid.map_or_else(|| header.gid(), Ok).context(|| "gid")?;
        // The library reads on from where it takes the data to end.
        if records.size.is_some_and(|size| size != entry.size()) {
            return Err(Error::invalid("contradictory sizes"));
        }
        let seconds = header.mtime().unwrap_or(0);
        // The highest number means "unchanged" to chown(2).
        let id = |number: u64| match u32::try_from(number) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(Error::invalid(format!("owner id {number}"))),
        };
        let mtime = records
            .mtime
            .unwrap_or(Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 });
        let (uid, gid) = (id(uid)?, id(gid)?);
        let xattrs = std::mem::take(&mut records.xattrs);
        let is_sparse = node == Node::File && records.is_sparse;
        let sparse = if is_sparse { Some(records.sparse(entry)?) } else { None };
        Ok(Self { path, node, mode, uid, gid, mtime, xattrs, sparse })
    }
}

fn node<R: Read>(
    entry: &tar::Entry<'_, R>,
    kind: EntryType,
    path: &[u8],
    target: Option<Vec<u8>>,
) -> Result<Node> {
    let link = || {
        let name = target.or_else(|| entry.link_name_bytes().map(|name| name.into_owned()));
        name.filter(|name| !name.is_empty()).ok_or_else(|| Error::invalid("link without a target"))
    };
    let device = || -> Result<u64> {
        let header = entry.header();
        let major = header.device_major().context(|| "device number")?.unwrap_or(0);
        let minor = header.device_minor().context(|| "device number")?.unwrap_or(0);
        Ok(rustix::fs::makedev(major, minor))
    };
    Ok(match kind {
        EntryType::Directory => Node::Directory,
        // Before POSIX a directory was a file whose name ends in a slash.
        EntryType::Regular if path.ends_with(b"/") => Node::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Node::File,
        EntryType::Symlink => Node::Symlink(OsString::from_vec(link()?)),
        EntryType::Link => {
            let target = link()?;
            let clean = tree::clean(&target);
            Node::Hardlink(clean.ok_or_else(|| Error::invalid("hard link leads out of the root"))?)
        }
        EntryType::Char => Node::Character(device()?),
        EntryType::Block => Node::Block(device()?),
        EntryType::Fifo => Node::Fifo,
        other => {
            let kind = other.as_byte();
            return Err(Error::invalid(format!("unhandled tar header type {kind}")));
        }
    })
}

impl Records {
    fn read(pax: &[u8]) -> io::Result<Self> {
        let mut records = Self::default();
        for (key, value) in super::bounded::records(pax)? {
            // A key that is no UTF-8 can be none of those known here.
            let Ok(key) = std::str::from_utf8(key) else { continue };
            if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                records.xattrs.push((name.into(), value.to_owned()));
            } else if let Some(name) = key.strip_prefix(SPARSE_PREFIX) {
                records.take_sparse(name, value)?;
            } else {
                records.take(key, value)?;
            }
        }
        Ok(records)
    }

    fn take(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        match key {
            "mtime" => self.mtime = Some(parse_time(value)?),
            "path" => self.path = Some(value.to_owned()),
            "linkpath" => self.target = Some(value.to_owned()),
            "uid" => self.uid = Some(parse_number(value)?),
            "gid" => self.gid = Some(parse_number(value)?),
            "size" => self.size = Some(parse_number(value)?),
            _ => {}
        }
        Ok(())
    }

    /// The three sparse formats of GNU tar: 0.0 repeats offset and numbytes, 0.1 has one map, 1.0
    /// puts the map in front of the data.
    fn take_sparse(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        self.is_sparse = true;
        match name {
            "name" => self.sparse_name = Some(value.to_owned()),
            "size" | "realsize" => self.sparse_size = parse_number(value)?,
            "offset" | "numbytes" => self.sparse_numbers.push(parse_number(value)?),
            "map" => {
                let numbers = value.split(|byte| *byte == b',').map(parse_number);
                self.sparse_numbers = numbers.collect::<io::Result<_>>()?;
            }
            "major" => self.sparse_in_data = parse_number(value)? >= 1,
            _ => {}
        }
        Ok(())
    }

    fn sparse<R: Read>(mut self, entry: &mut tar::Entry<'_, R>) -> Result<Sparse> {
        if self.sparse_in_data {
            self.sparse_numbers = read_map(entry).context(|| "read sparse map")?;
        }
        let pieces = self.sparse_numbers.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let pieces: Vec<(u64, u64)> = pieces.collect();
        let fits = |(offset, length): &(u64, u64)| {
            offset.checked_add(*length).is_some_and(|end| end <= self.sparse_size)
        };
        if !self.sparse_numbers.len().is_multiple_of(2) || !pieces.iter().all(fits) {
            return Err(Error::invalid("bad sparse map"));
        }
        Ok(Sparse { size: self.sparse_size, pieces })
    }
}

/// Decimal lines, the first their pair count, padded to a block.
fn read_map(entry: &mut impl Read) -> io::Result<Vec<u64>> {
    let mut read = 0_usize;
    let mut line = || -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            let mut byte = [0];
            entry.read_exact(&mut byte)?;
            read += 1;
            match byte[0] {
                b'\n' => return parse_number(&digits),
                _ if digits.len() > 20 => return Err(bad("sparse map")),
                digit => digits.push(digit),
            }
        }
    };
    let count = line()?;
    if count > MAXIMUM_SPARSE_NUMBERS {
        return Err(bad("sparse map"));
    }
    let numbers = (0..count * 2).map(|_| line()).collect::<io::Result<Vec<u64>>>()?;
    let padding = read.next_multiple_of(512) - read;
    entry.read_exact(&mut [0; 512][..padding])?;
    Ok(numbers)
}

fn parse_number(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text).ok().map(str::trim);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| bad("number in a PAX record"))
}

/// Seconds with a fraction, perhaps negative: `-1.5` is one and a half seconds before 1970.
fn parse_time(text: &[u8]) -> io::Result<Timespec> {
    let parse = || {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = whole.parse().ok()?;
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let nanoseconds: i64 = digits.parse().ok().filter(|number| *number >= 0)?;
        Some(if whole.starts_with('-') && nanoseconds > 0 {
            Timespec { tv_sec: seconds.checked_sub(1)?, tv_nsec: 1_000_000_000 - nanoseconds }
        } else {
            Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
        })
    };
    parse().ok_or_else(|| bad("time in a PAX record"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bad {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds() {
        for (text, seconds, nanoseconds) in [
            ("1700000000", 1_700_000_000, 0),
            ("12.5", 12, 500_000_000),
            ("12.0000000019", 12, 1),
            ("-1.5", -2, 500_000_000),
        ] {
            let time = parse_time(text.as_bytes()).expect(text);
            assert_eq!((time.tv_sec, time.tv_nsec), (seconds, nanoseconds), "{text}");
        }
        assert!(parse_time(b"x").is_err() && parse_time(b"1.-5").is_err());
    }

    #[test]
    fn a_sparse_map_in_the_data_ends_at_a_block() {
        let mut data = b"2\n0\n3\n1024\n2\n".to_vec();
        data.resize(512, 0);
        data.extend_from_slice(b"abcde");
        let mut reader = data.as_slice();
        assert_eq!(read_map(&mut reader).expect("a map"), [0, 3, 1024, 2]);
        assert_eq!(reader, b"abcde");
    }
}
