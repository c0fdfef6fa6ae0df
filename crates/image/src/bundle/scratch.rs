//! A directory for what is being read or made, gone with the work.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_types::{Context as _, Digest, Result};
use sha2::{Digest as _, Sha256};

use crate::store::Inner;

const BUFFER: usize = 128 * 1024;

/// The directory.
pub(super) struct Scratch {
    inner: Arc<Inner>,
    directory: PathBuf,
    files: u32,
}

/// A file in it.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

impl Scratch {
    pub(super) fn new(inner: &Arc<Inner>) -> Result<Self> {
        let directory = inner.make_scratch()?;
        Ok(Self { inner: Arc::clone(inner), directory, files: 0 })
    }

    /// A place for a new file.
    pub(super) fn place(&mut self) -> PathBuf {
        self.files += 1;
        self.directory.join(self.files.to_string())
    }

    /// Writes what `reader` gives into a new file.
    pub(super) fn spool(&mut self, reader: &mut impl Read) -> Result<Spooled> {
        let path = self.place();
        let mut copy = || -> io::Result<(u64, Digest)> {
            let mut out = Hashing::new(File::create(&path)?);
            let mut buffer = vec![0; BUFFER];
            loop {
                let count = match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                out.write_all(&buffer[..count])?;
            }
            let (_, size, digest) = out.finish();
            Ok((size, digest))
        };
        let (size, digest) = copy().context(|| format!("write {}", path.display()))?;
        Ok(Spooled { path, size, digest })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.inner.discard(&self.directory) {
            tracing::warn!("scratch directory not removed: {error:#}");
        }
    }
}

/// Counts and hashes what is written through it.
pub(super) struct Hashing<W> {
    out: W,
    size: u64,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, size: 0, hash: Sha256::new() }
    }

    pub(super) fn finish(self) -> (W, u64, Digest) {
        (self.out, self.size, Digest::from_sha256(self.hash.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.out.write(data)?;
        self.hash.update(&data[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a small file whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(|| format!("read {}", path.display()))
}
