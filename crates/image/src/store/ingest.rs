//! Compressed layers: blobs on their way in, and finished ones that no image names yet.
//!
//! A blob's record is written before its first byte, so that everything below `image/partial` and
//! every blob without an image has an owner. Bytes are appended to `image/partial/<hex>`; when the
//! digest was right the file is renamed into the blobs, and the record goes when an image owns the
//! blob. A pull that failed, or whose daemon was killed, finds its bytes there and goes on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use davit_types::{Context as _, Digest, Platform, Result};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{ImageStore, Inner};
use crate::image::Descriptor;

/// How long the bytes of a pull that nobody repeats are kept.
const KEEP_HOURS: i64 = 7 * 24;

/// A blob that no image owns yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IngestRecord {
    pub(super) digest: Digest,
    /// Bytes it will have.
    size: u64,
    /// When its first pull began.
    begun: jiff::Timestamp,
}

/// Blobs that must not be deleted while this lives.
pub(crate) struct BlobPins {
    inner: Arc<Inner>,
    blobs: Vec<Digest>,
}

impl BlobPins {
    pub(crate) fn new(inner: &Arc<Inner>, blobs: impl IntoIterator<Item = Digest>) -> Self {
        let blobs: Vec<Digest> = blobs.into_iter().collect();
        let mut state = inner.state_mut();
        for blob in &blobs {
            *state.pinned_blobs.entry(blob.clone()).or_default() += 1;
        }
        drop(state);
        Self { inner: Arc::clone(inner), blobs }
    }
}

impl Drop for BlobPins {
    fn drop(&mut self) {
        let mut state = self.inner.state_mut();
        for blob in &self.blobs {
            if let Some(count) = state.pinned_blobs.get_mut(blob) {
                *count -= 1;
                if *count == 0 {
                    state.pinned_blobs.remove(blob);
                }
            }
        }
    }
}

impl ImageStore {
    /// Deletes what unfinished pulls left for their repetition. Returns the bytes freed.
    ///
    /// # Errors
    /// A failing file system.
    pub fn discard_unfinished(&self) -> Result<u64> {
        let _change = self.inner.change();
        let unused: Vec<Digest> = {
            let state = self.inner.state();
            let records = state.ingests.keys();
            records.filter(|digest| !state.pinned_blobs.contains_key(*digest)).cloned().collect()
        };
        let mut freed = 0;
        for digest in unused {
            let used = self.inner.state().used_blobs();
            if !used.contains(&digest) {
                for path in [self.inner.paths.partial(&digest), self.inner.paths.blob(&digest)] {
                    freed += fs::metadata(&path).map_or(0, |metadata| metadata.len());
                }
            }
            self.inner.forget_ingest(&digest)?;
        }
        self.inner.collect()?;
        Ok(freed)
    }
}

impl Inner {
    /// Whether the blob is here, whole.
    pub(crate) fn has_blob(&self, blob: &Descriptor) -> bool {
        fs::metadata(self.paths.blob(&blob.digest)).is_ok_and(|file| file.len() == blob.size)
    }

    /// The file of a blob that is here.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.paths.blob(digest)
    }

    /// Opens the place for a blob's bytes, its record first. What an earlier pull wrote is in it.
    pub(crate) fn open_partial(&self, blob: &Descriptor) -> Result<File> {
        let known = self.state().ingests.contains_key(&blob.digest);
        if !known {
            let record = IngestRecord {
                digest: blob.digest.clone(),
                size: blob.size,
                begun: jiff::Timestamp::now(),
            };
            self.ingests.write(blob.digest.hex(), &record)?;
            self.state_mut().ingests.insert(blob.digest.clone(), record);
        }
        let path = self.paths.partial(&blob.digest);
        let open = || -> io::Result<File> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            if file.metadata()?.len() > blob.size {
                file.set_len(0)?;
            }
            Ok(file)
        };
        open().context(|| format!("open {}", path.display()))
    }

    /// A directory for an archive that is being read.
    pub(crate) fn make_scratch(&self) -> Result<PathBuf> {
        let name = super::trash::random_name().context(|| "name a scratch directory")?;
        let path = self.paths.scratch.join(name);
        fs::create_dir(&path).context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// Moves a file or directory to the trash.
    pub(crate) fn discard(&self, path: &std::path::Path) -> Result<()> {
        self.trash.discard(path)
    }

    /// Throws away what an earlier process was reading.
    pub(super) fn empty_scratch(&self) -> Result<()> {
        let place = || format!("read {}", self.paths.scratch.display());
        for entry in fs::read_dir(&self.paths.scratch).context(place)? {
            self.trash.discard(&entry.context(place)?.path())?;
        }
        Ok(())
    }

    /// A checked file becomes the blob, its record first.
    pub(crate) fn take_blob(&self, blob: &Descriptor, file: &std::path::Path) -> Result<()> {
        drop(self.open_partial(blob)?);
        let partial = self.paths.partial(&blob.digest);
        // Another image of the same archive may need the file again: a second name, no copy.
        remove_file(&partial)?;
        fs::hard_link(file, &partial).context(|| format!("link {}", file.display()))?;
        self.finish_partial(&blob.digest)
    }

    /// The name of a target that has none.
    pub(crate) fn dangling(&self, target: &Digest) -> String {
        super::dangling_name(target)
    }

    /// The platform of a manifest of a target.
    pub(crate) fn platform_of(&self, target: &Digest, manifest: &Digest) -> Option<Platform> {
        let state = self.state();
        let found =
            state.images.get(target)?.iter().find(|image| image.manifest.digest == *manifest)?;
        Some(found.config.platform())
    }

    /// All bytes are there and right: they become the blob.
    pub(crate) fn finish_partial(&self, digest: &Digest) -> Result<()> {
        let (from, to) = (self.paths.partial(digest), self.paths.blob(digest));
        fs::rename(&from, &to).context(|| format!("move {} to the blobs", from.display()))
    }

    /// The bytes are wrong: away with them.
    pub(crate) fn drop_partial(&self, digest: &Digest) -> Result<()> {
        let _change = self.change();
        if !self.state().used_blobs().contains(digest) {
            remove_file(&self.paths.blob(digest))?;
        }
        self.forget_ingest(digest)
    }

    /// An image owns these blobs now. `change` is held.
    pub(super) fn adopt_blobs(&self, digests: &[Digest]) -> Result<()> {
        for digest in digests {
            if self.state().ingests.contains_key(digest) {
                self.forget_ingest(digest)?;
            }
        }
        Ok(())
    }

    /// Removes the partial file, then the record; a whole blob is left to [`Inner::collect`].
    fn forget_ingest(&self, digest: &Digest) -> Result<()> {
        remove_file(&self.paths.partial(digest))?;
        self.ingests.remove(digest.hex())?;
        self.state_mut().ingests.remove(digest);
        Ok(())
    }

    /// Reads the records, forgets old ones, and sweeps what none owns.
    pub(super) fn load_ingests(&self) -> Result<()> {
        let oldest = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(KEEP_HOURS);
        for record in self.ingests.load::<IngestRecord>()? {
            let digest = record.digest.clone();
            let exists = self.paths.partial(&digest).exists() || self.paths.blob(&digest).exists();
            let owned = self.state().used_blobs().contains(&digest);
            if record.begun < oldest || !exists || owned {
                info!(blob = %digest, "old partial download removed");
                self.forget_ingest(&digest)?;
            } else {
                self.state_mut().ingests.insert(digest, record);
            }
        }
        let place = || format!("read {}", self.paths.partial.display());
        for entry in fs::read_dir(&self.paths.partial).context(place)? {
            let path = entry.context(place)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !self.state().ingests.keys().any(|digest| digest.hex() == name) {
                warn!(path = %path.display(), "unowned download removed");
                self.trash.discard(&path)?;
            }
        }
        Ok(())
    }
}

fn remove_file(path: &std::path::Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
