//! The json-file log: splitting output in lines, writing them in batches, rotating.
//!
//! A failing write (no space) never stops the container: the records concerned are dropped, and a
//! record that was written in part is cut off again so that the file stays readable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Child;

use crate::frame::Stream;
use crate::task::Log;
use crate::{clock, json_line, rotate};

/// Longer lines are cut in records of this many bytes, all but the last without a newline.
pub const MAX_TEXT: usize = 16 * 1024;

/// Records are written when this much has come together, and at the end of each batch.
const BATCH: usize = 64 * 1024;

/// An open log.
#[derive(Debug)]
pub struct JsonLog {
    settings: Log,
    attrs: Vec<u8>,
    file: Option<File>,
    size: u64,
    /// Records that are not yet written.
    records: Vec<u8>,
    /// Beginning of the unfinished line of each stream.
    partial: [Vec<u8>; 2],
    tail: Vec<u8>,
    compressing: Option<Child>,
}

impl JsonLog {
    /// Opens the log to append to it.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(settings: Log) -> io::Result<Self> {
        let (file, size) = open(&settings)?;
        Ok(Self {
            attrs: json_line::attrs(&settings.attrs),
            settings,
            file: Some(file),
            size,
            records: Vec::new(),
            partial: [Vec::new(), Vec::new()],
            tail: Vec::new(),
            compressing: None,
        })
    }

    /// Logs what was read from `stream`. The lines get one time; their records are one write.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        self.begin(stream);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.push(stream, &rest[..end], true);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            self.push(stream, rest, false);
        }
        self.flush();
    }

    /// `stream` is at its end: an unfinished line is logged as it is.
    pub fn finish(&mut self, stream: Stream) {
        let text = std::mem::take(&mut self.partial[stream.index()]);
        if !text.is_empty() {
            self.begin(stream);
            self.record(&text, false);
            self.flush();
        }
    }

    /// Gives back memory that is not needed while nothing is written.
    pub fn trim(&mut self) {
        self.records = Vec::new();
        self.tail = Vec::new();
        for partial in &mut self.partial {
            partial.shrink_to_fit();
        }
        self.reap_compressor();
    }

    fn begin(&mut self, stream: Stream) {
        json_line::tail(&mut self.tail, stream, &self.attrs, clock::now());
    }

    /// Takes a piece of a line, or its last piece.
    fn push(&mut self, stream: Stream, piece: &[u8], ends: bool) {
        if ends && piece.len() < MAX_TEXT && self.partial[stream.index()].is_empty() {
            return self.record(piece, true);
        }
        let mut text = std::mem::take(&mut self.partial[stream.index()]);
        let mut rest = piece;
        while text.len() + rest.len() >= MAX_TEXT {
            let (now, later) = rest.split_at(MAX_TEXT - text.len());
            text.extend_from_slice(now);
            rest = later;
            let whole = whole_characters(&text);
            self.record(&text[..whole], false);
            text.drain(..whole);
        }
        text.extend_from_slice(rest);
        if ends {
            self.record(&text, true);
            text.clear();
        }
        self.partial[stream.index()] = text;
    }

    fn record(&mut self, text: &[u8], newline: bool) {
        if let Some(max_size) = self.settings.max_size {
            let size = self.size + self.records.len() as u64;
            if size > 0 && size >= max_size {
                self.flush();
                self.rotate();
            }
        }
        json_line::append(&mut self.records, text, newline, &self.tail);
        if self.records.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.file.is_none() {
            self.reopen();
        }
        if let Some(file) = &mut self.file
            && !self.records.is_empty()
        {
            match file.write_all(&self.records) {
                Ok(()) => self.size += self.records.len() as u64,
                Err(_) => cut_off(file, self.size),
            }
        }
        self.records.clear();
    }

    fn rotate(&mut self) {
        self.reap_compressor();
        if let Some(mut child) = self.compressing.take() {
            // Rotating below its hands would lose a file.
            let _ = child.wait();
        }
        self.file = None;
        self.compressing = rotate::rotate(&self.settings);
        self.reopen();
    }

    fn reopen(&mut self) {
        if let Ok((file, size)) = open(&self.settings) {
            (self.file, self.size) = (Some(file), size);
        }
    }

    fn reap_compressor(&mut self) {
        if let Some(child) = &mut self.compressing
            && !matches!(child.try_wait(), Ok(None))
        {
            self.compressing = None;
        }
    }
}

fn open(settings: &Log) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o640).open(&settings.path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Takes back what was written of a record. Somebody may have emptied the file: it is never made
/// longer. On a file system that is broken altogether there is nothing to lose.
fn cut_off(file: &File, size: u64) {
    if file.metadata().is_ok_and(|metadata| metadata.len() > size) {
        let _ = file.set_len(size);
    }
}

/// Length of `text` without a UTF-8 character that is cut off at its end.
fn whole_characters(text: &[u8]) -> usize {
    for back in 1..=3.min(text.len()) {
        let start = text.len() - back;
        let length = match text[start] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return text.len(),
        };
        return if length > back { start } else { text.len() };
    }
    text.len()
}

#[cfg(test)]
mod tests;
