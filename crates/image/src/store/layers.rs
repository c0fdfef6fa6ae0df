//! Layers on disk: making room for one, publishing them, deleting them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_types::{Context as _, Result};
use tracing::warn;

use super::record::{Sync, write_file};
use super::trash::random_name;
use super::{Inner, LayerRecord};
use crate::image::LayerId;

/// Layers that must not be deleted while this lives. Dropping it deletes those that nothing uses,
/// which is how a failed pull leaves nothing behind.
pub(crate) struct LayerPins {
    inner: Arc<Inner>,
    layers: Vec<LayerId>,
}

impl LayerPins {
    pub(crate) fn new(inner: &Arc<Inner>, layers: &[LayerId]) -> Self {
        let mut state = inner.state_mut();
        for layer in layers {
            *state.pins.entry(layer.clone()).or_default() += 1;
        }
        drop(state);
        Self { inner: Arc::clone(inner), layers: layers.to_vec() }
    }
}

impl Drop for LayerPins {
    fn drop(&mut self) {
        let mut state = self.inner.state_mut();
        for layer in &self.layers {
            if let Some(count) = state.pins.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(layer);
                }
            }
        }
        // The usual end: an image or another pull has them. Then there is no lock to wait for.
        let unused = state.unused_layers();
        drop(state);
        if !self.layers.iter().any(|layer| unused.contains(layer)) {
            return;
        }
        let _change = self.inner.change();
        if let Err(error) = self.inner.collect() {
            warn!("unused layers not removed: {error:#}");
        }
    }
}

/// A layer being unpacked. Dropped before [`Unpacking::finish`], its directory goes away.
pub(crate) struct Unpacking {
    inner: Arc<Inner>,
    record: LayerRecord,
    finished: bool,
}

impl Unpacking {
    /// Records the layer, then makes its empty directory.
    pub(crate) fn begin(inner: &Arc<Inner>, id: &LayerId) -> Result<Self> {
        let link = random_name().context(|| "name a layer")?;
        let record =
            LayerRecord { id: id.clone(), link, size: 0, complete: false, implied: Vec::new() };
        inner.layers.write(id.directory(), &record)?;
        let unpacking = Self { inner: Arc::clone(inner), record, finished: false };
        let directory = inner.paths.layer(id);
        inner.trash.discard(&directory)?;
        inner
            .make_layer_directory(&directory, &unpacking.record.link)
            .context(|| format!("create {}", directory.display()))?;
        Ok(unpacking)
    }

    /// Where the layer's files go.
    pub(crate) fn diff(&self) -> PathBuf {
        self.inner.paths.layer(&self.record.id).join("diff")
    }

    /// Everything is unpacked: the layer can be used, and published once it is synced.
    pub(crate) fn finish(mut self, size: u64, implied: &[PathBuf]) {
        self.finished = true;
        self.record.size = size;
        let latin_1 =
            |path: &PathBuf| path.as_os_str().as_bytes().iter().map(|&b| char::from(b)).collect();
        self.record.implied = implied.iter().map(latin_1).collect();
        self.inner.state_mut().layers.insert(self.record.id.clone(), self.record.clone());
    }
}

impl LayerRecord {
    /// The directories that its tar does not list.
    pub(super) fn implied(&self) -> impl Iterator<Item = PathBuf> {
        let bytes = |text: &String| text.chars().filter_map(|c| u8::try_from(c).ok()).collect();
        self.implied.iter().map(move |text| OsString::from_vec(bytes(text)).into())
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.inner.forget_layer(&self.record)
        {
            warn!(layer = %self.record.id, "broken layer not removed: {error:#}");
        }
    }
}

impl Inner {
    /// Whether the layer is there, synced or not.
    pub(crate) fn has_layer(&self, id: &LayerId) -> bool {
        self.state().layers.contains_key(id)
    }

    /// Stages complete records of those `layers` that have none yet, and returns their ids.
    pub(super) fn stage_layers(&self, layers: &[LayerId]) -> Result<Vec<LayerId>> {
        let mut staged = Vec::new();
        for id in layers {
            let record = self.state().layers.get(id).filter(|record| !record.complete).cloned();
            if let Some(mut record) = record {
                record.complete = true;
                self.layers.stage(id.directory(), &record, Sync::Later)?;
                staged.push(id.clone());
            }
        }
        Ok(staged)
    }

    /// Publishes what `stage_layers` staged, after the file system was synced.
    pub(super) fn publish_layers(&self, staged: &[LayerId]) -> Result<()> {
        for id in staged {
            self.layers.publish(id.directory())?;
            if let Some(record) = self.state_mut().layers.get_mut(id) {
                record.complete = true;
            }
        }
        self.layers.sync()
    }

    /// Waits until everything below the data root is on disk.
    pub(super) fn sync_file_system(&self) -> Result<()> {
        fs::File::open(&self.paths.layers)
            .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
            .context(|| "sync the file system of the layers")
    }

    pub(super) fn delete_layer(&self, id: &LayerId) -> Result<()> {
        let Some(record) = self.state_mut().layers.remove(id) else { return Ok(()) };
        self.forget_layer(&record)
    }

    fn forget_layer(&self, record: &LayerRecord) -> Result<()> {
        self.layers.remove(record.id.directory())?;
        self.trash.discard(&self.paths.layer(&record.id))?;
        self.remove_link(&record.link)
    }

    pub(super) fn remove_link(&self, link: &str) -> Result<()> {
        let path = self.paths.links.join(link);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// `diff`, `link`, and the link itself.
    pub(super) fn make_layer_directory(&self, directory: &Path, link: &str) -> io::Result<()> {
        fs::create_dir(directory)?;
        fs::create_dir(directory.join("diff"))?;
        write_file(&directory.join("link"), link.as_bytes(), Sync::Later)?;
        let name = directory.file_name().unwrap_or_default();
        let target = Path::new("..").join(name).join("diff");
        std::os::unix::fs::symlink(target, self.paths.links.join(link))
    }
}
