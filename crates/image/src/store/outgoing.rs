//! Blobs on their way out of the store: their bytes are checked while they are read, so that what
//! the disk has damaged is neither pushed nor saved as if it were good.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use davit_types::{Context as _, Digest, Error, Result};
use sha2::{Digest as _, Sha256};

use super::Inner;
use super::check::hash_file;

const BUFFER: usize = 128 * 1024;

/// A blob that is being read.
pub(crate) struct Outgoing {
    inner: Arc<Inner>,
    digest: Digest,
    path: PathBuf,
    file: File,
    size: u64,
    hash: Sha256,
    /// How far `hash` has come.
    hashed: u64,
}

impl Outgoing {
    /// Opens the blob.
    pub(crate) fn open(inner: &Arc<Inner>, digest: &Digest) -> Result<Self> {
        let path = inner.blob_path(digest);
        let place = || format!("open {}", path.display());
        let file = File::open(&path).context(place)?;
        let size = file.metadata().context(place)?.len();
        let (inner, digest) = (Arc::clone(inner), digest.clone());
        Ok(Self { inner, digest, path, file, size, hash: Sha256::new(), hashed: 0 })
    }

    /// Bytes that it has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes from any place that was reached before, or the next ones.
    pub(crate) fn read_at(&mut self, offset: u64, count: usize) -> Result<Vec<u8>> {
        let mut buffer = vec![0; count];
        let read = self.file.read_exact_at(&mut buffer, offset);
        read.context(|| format!("read {}", self.path.display()))?;
        if offset == self.hashed {
            self.hash.update(&buffer);
            self.hashed += buffer.len() as u64;
        }
        Ok(buffer)
    }

    /// Reads what nobody asked for and compares the digest. A blob with another one is deleted, so
    /// that the next pull brings it back.
    pub(crate) fn verify(&mut self) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = self.read(&mut buffer);
            if count.context(|| format!("read {}", self.path.display()))? == 0 {
                break;
            }
        }
        let actual = Digest::from_sha256(self.hash.clone().finalize());
        if actual == self.digest {
            return Ok(());
        }
        self.delete_damaged()?;
        Err(Error::internal(format!(
            "blob {} is damaged: its bytes are {actual}; pull the image again",
            self.digest
        )))
    }

    /// Deletes the file if it is still the one that was read, and is wrong when it is read again.
    fn delete_damaged(&self) -> Result<()> {
        let _change = self.inner.change();
        let place = || format!("delete {}", self.path.display());
        let ours = self.file.metadata().context(place)?;
        let is_ours = std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == ours.ino());
        if is_ours && hash_file(&self.path).context(place)? != self.digest {
            tracing::error!(blob = %self.digest, "damaged, deleted");
            std::fs::remove_file(&self.path).context(place)?;
        }
        Ok(())
    }
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.hashed)?;
        self.hash.update(&buffer[..count]);
        self.hashed += count as u64;
        Ok(count)
    }
}
