//! A limit for what is read into memory: long names and PAX records, whose length the archive states.
//! The heads that pass by are kept, as PAX values may hold line feeds, which the tar library takes
//! for the end of a record.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Between the data of one entry and that of the next: heads, names, PAX records, sparse maps.
/// The kernel takes 64 KiB per attribute and 4 KiB per name.
const MAXIMUM_HEAD: u64 = 4 << 20;

/// A reader that fails when the next entry's head is longer than any honest one.
pub(super) struct Bounded<R> {
    inner: R,
    heads: Heads,
}

/// What lies between the data of two entries.
#[derive(Clone)]
pub(super) struct Heads(Rc<RefCell<State>>);

struct State {
    /// Bytes read so far.
    position: u64,
    /// Where the data of the present entry ends and the next head begins.
    start: u64,
    head: Vec<u8>,
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R) -> (Self, Heads) {
        let state = State { position: 0, start: 0, head: Vec::new() };
        let heads = Heads(Rc::new(RefCell::new(state)));
        (Self { inner, heads: heads.clone() }, heads)
    }

    /// The reader without a limit.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl Heads {
    /// The PAX records of `entry`, whose head has just been read and whose data comes next.
    pub(super) fn pax<R: Read>(&self, entry: &tar::Entry<'_, R>) -> io::Result<Vec<u8>> {
        let header = entry.header();
        // A sparse file's own size says nothing about the archive.
        let size = match header.entry_type() {
            EntryType::GNUSparse => header.entry_size()?,
            _ => entry.size(),
        };
        let mut state = self.0.borrow_mut();
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        state.start =
            padded.and_then(|size| state.position.checked_add(size)).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("size {size} of an entry"))
            })?;
        Ok(find_pax(&std::mem::take(&mut state.head)))
    }
}

/// The data of the PAX entry among those in front of an entry's own head.
fn find_pax(mut rest: &[u8]) -> Vec<u8> {
    while let Some((block, data)) = rest.split_at_checked(BLOCK) {
        let header = Header::from_byte_slice(block);
        let kind = header.entry_type();
        let known = kind.is_pax_local_extensions() || kind.is_gnu_longname();
        if !known && !kind.is_gnu_longlink() {
            break;
        }
        let size = header.entry_size().ok().and_then(|size| usize::try_from(size).ok());
        let Some(size) = size.filter(|size| *size <= data.len()) else { break };
        if kind.is_pax_local_extensions() {
            return data[..size].to_vec();
        }
        rest = data.get(size.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    Vec::new()
}

/// Splits PAX records, `<length> <key>=<value>\n`, by their lengths.
pub(super) fn records(mut rest: &[u8]) -> io::Result<Vec<(&[u8], &[u8])>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "bad PAX record");
    let mut found = Vec::new();
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = std::str::from_utf8(&rest[..space]).ok().and_then(|text| text.parse().ok());
        let (record, after) = length.and_then(|at| rest.split_at_checked(at)).ok_or_else(bad)?;
        let text = record.get(space + 1..).and_then(|text| text.strip_suffix(b"\n"));
        let text = text.ok_or_else(bad)?;
        let equals = text.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        found.push((&text[..equals], &text[equals + 1..]));
        rest = after;
    }
    Ok(found)
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.heads.0.borrow_mut();
        let end = state.start.saturating_add(MAXIMUM_HEAD);
        // Up to where a head begins, or within it.
        let stop = if state.position < state.start { state.start } else { end };
        let left = usize::try_from(stop - state.position).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        if room == 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("names and attributes of an entry take more than {MAXIMUM_HEAD} bytes"),
            ));
        }
        let count = self.inner.read(&mut buffer[..room])?;
        if state.position >= state.start {
            state.head.extend_from_slice(&buffer[..count]);
        }
        state.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_their_length_says() {
        let text = b"17 a=one\n11 b=2\n\n7 c=33\n";
        let expected = [(&b"a"[..], &b"one\n11 b=2\n"[..]), (b"c", b"33")];
        assert_eq!(records(text).expect("records"), expected);
        for bad in [&b"x"[..], b"5 a=", b"99 a=b\n", b"0 a=b\n", b"6 abc\n", b"-6 a=\n"] {
            records(bad).expect_err("bad");
        }
    }
}
