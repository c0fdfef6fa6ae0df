//! Reads the files of one log, oldest first, from where `since` and `tail` say.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use davit_types::{Context, Result};

use super::LogRequest;
use super::record::Record;

/// Block size of the search for the last lines, bytes.
const BLOCK: u64 = 64 * 1024;

/// The position in a log.
pub(super) struct Reader {
    request: LogRequest,
    /// Files still to be read after the present one, oldest first.
    rotated: VecDeque<PathBuf>,
    source: Source,
    /// A line of which the end is not written yet.
    partial: Vec<u8>,
    /// `until` has been passed.
    done: bool,
}

enum Source {
    /// A rotated, compressed file.
    Gzip(Box<BufReader<flate2::read::MultiGzDecoder<File>>>),
    /// A plain file; `live` when it is the one that the monitor writes.
    Plain { file: BufReader<File>, live: bool },
    /// There is no file (yet).
    Missing,
}

impl Reader {
    /// Opens the log at its first wanted line. A log without a file is empty.
    pub(super) fn open(request: LogRequest) -> Result<Self> {
        let mut rotated = rotated_files(&request.path);
        let mut start = Start::Skip(0);
        if let Some(tail) = request.tail {
            (rotated, start) = find_tail(&request.path, rotated, tail)?;
        }
        let mut reader = Self {
            source: Source::Missing,
            rotated: rotated.into(),
            partial: Vec::new(),
            done: false,
            request,
        };
        reader.open_next()?;
        reader.go_to(start)?;
        reader.skip_to_since()?;
        Ok(reader)
    }

    /// Nothing that may still be written is wanted.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The next lines, encoded, about `size` bytes; empty at the end of what is written.
    pub(super) fn next_chunk(&mut self, size: usize) -> Result<Bytes> {
        let mut out = Vec::with_capacity(size + size / 4);
        while out.len() < size && !self.done {
            if self.read_line()? {
                self.take_line(&mut out);
            } else if !self.next_file()? {
                break;
            }
        }
        Ok(Bytes::from(out))
    }

    /// Reads on to the end of a line into `partial`; false at the end of the file.
    fn read_line(&mut self) -> Result<bool> {
        let context = || format!("read log {}", self.request.path.display());
        let read = match &mut self.source {
            Source::Gzip(file) => file.read_until(b'\n', &mut self.partial),
            Source::Plain { file, .. } => file.read_until(b'\n', &mut self.partial),
            Source::Missing => Ok(0),
        };
        read.context(context)?;
        Ok(self.partial.last() == Some(&b'\n'))
    }

    fn take_line(&mut self, out: &mut Vec<u8>) {
        match Record::parse(&self.partial) {
            Some(record) => {
                let time = |limit: Option<i64>| limit.map(|limit| (record.nanoseconds(), limit));
                let early = time(self.request.since).is_some_and(|(at, since)| at < since);
                if time(self.request.until).is_some_and(|(at, until)| at > until) {
                    self.done = true;
                } else if !early {
                    record.encode(&self.request, out);
                }
            }
            None => {
                tracing::warn!(log = %self.request.path.display(), "skipped a malformed log line");
            }
        }
        self.partial.clear();
    }

    /// Goes on to the next file; false when there is none (yet).
    fn next_file(&mut self) -> Result<bool> {
        match &self.source {
            Source::Plain { file, live: true } => {
                let replaced = match std::fs::metadata(&self.request.path) {
                    Ok(present) => {
                        let own = file.get_ref().metadata().context(|| "stat log")?;
                        (own.dev(), own.ino()) != (present.dev(), present.ino())
                    }
                    Err(_) => false, // rotation is under way, or the container is being removed
                };
                if !replaced {
                    return Ok(false);
                }
                // What was written between our last read and the rotation comes first.
                if self.read_line()? {
                    return Ok(true);
                }
                self.partial.clear();
                self.open_next()
            }
            _ => {
                self.partial.clear();
                self.open_next()
            }
        }
    }

    /// Opens the oldest rotated file that is left, or the present one.
    fn open_next(&mut self) -> Result<bool> {
        while let Some(path) = self.rotated.pop_front() {
            // It may have been rotated away meanwhile; its lines are gone then.
            if let Ok(file) = File::open(&path) {
                self.source = if path.extension().is_some_and(|extension| extension == "gz") {
                    Source::Gzip(Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))))
                } else {
                    Source::Plain { file: BufReader::with_capacity(1 << 16, file), live: false }
                };
                return Ok(true);
            }
        }
        match File::open(&self.request.path) {
            Ok(file) => {
                let file = BufReader::with_capacity(1 << 16, file);
                self.source = Source::Plain { file, live: true };
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.source = Source::Missing;
                Ok(false)
            }
            Err(error) => {
                Err(error).context(|| format!("open log {}", self.request.path.display()))
            }
        }
    }

    fn go_to(&mut self, start: Start) -> Result<()> {
        match (start, &mut self.source) {
            (Start::Offset(offset), Source::Plain { file, .. }) => {
                let context = || format!("search log {}", self.request.path.display());
                file.seek(SeekFrom::Start(offset)).context(context)?;
            }
            (Start::Skip(lines), _) => {
                for _ in 0..lines {
                    self.read_line()?;
                    self.partial.clear();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Jumps near `since` by bisection: lines are in the order of time.
    fn skip_to_since(&mut self) -> Result<()> {
        let Some(since) = self.request.since else { return Ok(()) };
        if self.request.tail.is_some() {
            return Ok(());
        }
        let Source::Plain { file, .. } = &mut self.source else { return Ok(()) };
        let context = || format!("search log {}", self.request.path.display());
        let mut low = 0;
        let mut high = file.get_ref().metadata().context(context)?.len();
        while high - low > BLOCK {
            let middle = low + (high - low) / 2;
            match time_after(file, middle).context(context)? {
                Some(time) if time < since => low = middle,
                _ => high = middle,
            }
        }
        file.seek(SeekFrom::Start(low)).context(context)?;
        if low > 0 {
            file.read_until(b'\n', &mut self.partial).context(context)?;
            self.partial.clear();
        }
        Ok(())
    }
}

/// The time of the first whole line after `offset`.
fn time_after(file: &mut BufReader<File>, offset: u64) -> std::io::Result<Option<i64>> {
    let mut line = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.read_until(b'\n', &mut line)?;
    line.clear();
    file.read_until(b'\n', &mut line)?;
    Ok(Record::parse(&line).map(|record| record.nanoseconds()))
}

/// The rotated files that exist, oldest first.
fn rotated_files(path: &Path) -> Vec<PathBuf> {
    let numbered = |number: u32, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}{suffix}"));
        PathBuf::from(name)
    };
    let mut files: Vec<PathBuf> = (1..)
        .map_while(|number| {
            ["", ".gz"].iter().map(|suffix| numbered(number, suffix)).find(|file| file.exists())
        })
        .collect();
    files.reverse();
    files
}

/// Where the last lines of a log begin.
enum Start {
    /// At this offset of the present file.
    Offset(u64),
    /// In the rotated files, after so many lines of the oldest one.
    Skip(u64),
}

/// Which of the rotated files the last `tail` lines reach back to, and where they begin.
fn find_tail(path: &Path, rotated: Vec<PathBuf>, tail: u64) -> Result<(Vec<PathBuf>, Start)> {
    let mut missing = match tail_offset(path, tail)? {
        Tail::At(offset) => return Ok((Vec::new(), Start::Offset(offset))),
        Tail::Missing(lines) => lines,
    };
    let mut kept = VecDeque::new();
    for file in rotated.into_iter().rev() {
        let lines = count_lines(&file)?;
        kept.push_front(file);
        if lines >= missing {
            return Ok((kept.into(), Start::Skip(lines - missing)));
        }
        missing -= lines;
    }
    Ok((kept.into(), Start::Skip(0)))
}

enum Tail {
    At(u64),
    /// The file has fewer lines, by so many.
    Missing(u64),
}

/// Searches the last `tail` lines of a file from its end, block by block.
fn tail_offset(path: &Path, tail: u64) -> Result<Tail> {
    let context = || format!("search log {}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Tail::Missing(tail));
        }
        opened => opened.context(context)?,
    };
    let mut end = file.metadata().context(context)?.len();
    // One newline more than lines wanted ends the line before them.
    let mut found = 0;
    let mut block = vec![0; BLOCK as usize];
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start).context(context)?;
        for (index, byte) in part.iter().enumerate().rev() {
            if *byte == b'\n' {
                if found == tail {
                    return Ok(Tail::At(start + index as u64 + 1));
                }
                found += 1;
            }
        }
        end = start;
    }
    Ok(if found == tail { Tail::At(0) } else { Tail::Missing(tail - found) })
}

fn count_lines(path: &Path) -> Result<u64> {
    let context = || format!("read log {}", path.display());
    let file = File::open(path).context(context)?;
    let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
    let mut source: Box<dyn Read> =
        if is_gzip { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut block = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        match source.read(&mut block).context(context)? {
            0 => return Ok(lines),
            length => lines += block[..length].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}
