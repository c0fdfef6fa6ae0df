//! An image whose parts are all on this machine, on its way into the store.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use davit_types::{Context as _, Digest, Error, Reference, Result};

use crate::config::ImageConfig;
use crate::image::{Descriptor, LayerId};
use crate::layer::init_layer_id;
use crate::pull::layer::unpack_layer;
use crate::store::{BlobPins, ImageStore, LayerPins, layer_ids};

/// Layers unpacked at the same time: inflating one keeps a processor busy.
const UNPACKERS: usize = 4;

/// The image.
pub(super) struct Made {
    pub(super) target: Descriptor,
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
    /// The layers of each of its manifests, bottom first.
    stacks: Vec<Vec<LayerId>>,
    parts: Vec<Part>,
}

/// One layer.
struct Part {
    layer: LayerId,
    blob: Descriptor,
    /// `None` when the blob is in the store.
    file: Option<PathBuf>,
}

impl Made {
    pub(super) fn new(target: Descriptor) -> Self {
        Self { target, documents: Vec::new(), stacks: Vec::new(), parts: Vec::new() }
    }

    /// Adds the parts of one manifest: its config, its compressed layers, and where they lie.
    pub(super) fn add(
        &mut self,
        config_digest: &Digest,
        config: Vec<u8>,
        blobs: Vec<Descriptor>,
        files: Vec<Option<PathBuf>>,
    ) -> Result<()> {
        let layers = layer_ids(&ImageConfig::parse(&config)?)?;
        if layers.len() != blobs.len() {
            return Err(Error::invalid(format!(
                "manifest has {} layers, image config has {}",
                blobs.len(),
                layers.len()
            )));
        }
        self.documents.push((config_digest.clone(), config));
        for ((layer, blob), file) in layers.iter().zip(blobs).zip(files) {
            let layer = layer.clone();
            if !self.parts.iter().any(|part| part.layer == layer && part.blob == blob) {
                self.parts.push(Part { layer, blob, file });
            }
        }
        self.stacks.push(layers);
        Ok(())
    }

    /// Takes the blobs into the store, unpacks what is missing, and gives the image its name;
    /// without one it is dangling.
    pub(super) fn publish(self, store: &ImageStore, name: Option<&Reference>) -> Result<()> {
        let inner = &store.inner;
        let inits = self.stacks.iter().map(|stack| init_layer_id(stack));
        let pinned: Vec<LayerId> =
            self.parts.iter().map(|part| part.layer.clone()).chain(inits).collect();
        let _pins = LayerPins::new(inner, &pinned);
        let blobs: Vec<Digest> = self.parts.iter().map(|part| part.blob.digest.clone()).collect();
        let _blobs = BlobPins::new(inner, blobs.iter().cloned());
        for part in &self.parts {
            if let Some(file) = part.file.as_ref().filter(|_| !inner.has_blob(&part.blob)) {
                inner.take_blob(&part.blob, file)?;
            }
        }
        self.unpack(store)?;
        for stack in &self.stacks {
            store.init_layer(stack)?;
        }
        let layers: Vec<LayerId> = self.parts.iter().map(|part| part.layer.clone()).collect();
        let name = name.map_or_else(|| inner.dangling(&self.target.digest), ToString::to_string);
        inner.publish(&name, self.target, &self.documents, &layers, &blobs).map(drop)
    }

    fn unpack(&self, store: &ImageStore) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(part) = self.parts.get(next.fetch_add(1, Ordering::SeqCst)) {
                let inner = &store.inner;
                let Some(_claim) = inner.downloads.claim(inner, &part.layer) else { continue };
                let path = inner.blob_path(&part.blob.digest);
                let file = File::open(&path).context(|| format!("open {}", path.display()))?;
                unpack_layer(inner, &part.layer, file)
                    .context(|| format!("unpack layer {}", part.blob.digest))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..UNPACKERS.min(self.parts.len())).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}
