//! The image store: documents by digest, tags, unpacked layers, containers' writable layers.
//!
//! ```text
//! <data root>/
//!   image/blobs/sha256/<hex>      raw bytes of indexes, manifests, configs and compressed layers
//!   image/ingest/<hex>.json       one record per blob that no image owns yet
//!   image/partial/<hex>           the bytes of such a blob so far
//!   image/tags/<hex>.json         one record per name: the name and what it points to
//!   image/layers/<hex>.json       one record per layer, by diff id: short link, size, complete or not
//!   image/load/                   archives being read, images being made; emptied at the next start
//!   image/quarantine/             records that could not be read
//!   overlay2/<diff id hex>/       a layer: diff/ and link
//!   overlay2/<container id>/      a container: diff/ link lower work/ merged/
//!   overlay2/l/<26 characters>    -> ../<id>/diff, short enough for many in one mount
//!   trash/                        renamed away, unlinked by a thread
//! ```
//!
//! A layer's record is written, incomplete, before its directory is made, and again, complete,
//! after one syncfs that covers everything the pull wrote. What no record and no container owns is
//! swept when the store opens. Layers live as long as an image, a container or a pull uses them.

mod check;
mod container;
mod images;
mod ingest;
mod layers;
mod open;
mod outgoing;
mod record;
mod remove;
mod trash;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use davit_types::{ContainerId, Context as _, Digest, Error, Reference, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use check::Finding;
use images::Loaded;
pub(crate) use images::layer_ids;
pub(crate) use ingest::BlobPins;
use ingest::IngestRecord;
pub(crate) use layers::{LayerPins, Unpacking};
pub(crate) use outgoing::Outgoing;
use record::{Records, Sync};
use trash::Trash;

use crate::image::{Descriptor, LayerId};
use crate::pull::Downloads;

/// The name of a target that lost its last tag while it was in use.
const DANGLING: &str = "moby-dangling";

/// The image store. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    paths: Paths,
    tags: Records,
    layers: Records,
    ingests: Records,
    trash: Trash,
    state: RwLock<State>,
    /// Held while records change, so that disk and memory change in one order.
    changing: Mutex<()>,
    pub(crate) downloads: Downloads,
}

struct Paths {
    blobs: PathBuf,
    partial: PathBuf,
    scratch: PathBuf,
    layers: PathBuf,
    links: PathBuf,
}

#[derive(Default)]
struct State {
    tags: BTreeMap<String, TagRecord>,
    layers: HashMap<LayerId, LayerRecord>,
    /// What each target has locally, one per platform.
    images: HashMap<Digest, Vec<Arc<Loaded>>>,
    /// The lower layers of each container, topmost first.
    containers: HashMap<ContainerId, Vec<LayerId>>,
    /// Layers that running pulls need.
    pins: HashMap<LayerId, usize>,
    /// Blobs that no image owns yet.
    ingests: HashMap<Digest, IngestRecord>,
    /// Blobs that running pulls need.
    pinned_blobs: HashMap<Digest, usize>,
}

/// A name and what it points to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TagRecord {
    /// The full reference, or `moby-dangling@<digest>`.
    name: String,
    target: Descriptor,
    /// When it was put there, RFC 3339.
    updated: String,
}

/// A layer on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LayerRecord {
    id: LayerId,
    /// Its name in `l/`.
    link: String,
    /// Bytes on disk.
    size: u64,
    /// Everything is there and durable.
    complete: bool,
    /// Directories that the layer's tar does not list, byte by byte as Latin-1. Their attributes are
    /// those of a layer below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    implied: Vec<String>,
}

impl Inner {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        // The state is changed only by single inserts and removes: a panic leaves it whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stored document with this digest, checked.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.paths.blob(digest);
        let bytes = std::fs::read(&path).context(|| format!("read {}", path.display()))?;
        if Digest::from_sha256(Sha256::digest(&bytes)) != *digest {
            return Err(Error::internal(format!("blob {digest} is damaged")));
        }
        Ok(bytes)
    }

    /// Writes a document beside the others; durable after the next sync of the file system.
    fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.paths.blob(digest);
        // One that is here but damaged is written anew.
        if self.blob(digest).is_ok() {
            return Ok(());
        }
        let temporary = path.with_extension("tmp");
        record::write_file(&temporary, bytes, Sync::Now)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .context(|| format!("write {}", path.display()))
    }

    /// Deletes layers and documents that nothing uses any more. `change` must be held.
    fn collect(&self) -> Result<()> {
        let (layers, blobs) = {
            let state = self.state();
            let mut blobs = state.used_blobs();
            blobs.extend(state.ingests.keys().cloned());
            blobs.extend(state.pinned_blobs.keys().cloned());
            (state.unused_layers(), blobs)
        };
        for layer in layers {
            self.delete_layer(&layer)?;
        }
        self.delete_other_blobs(&blobs)
    }

    fn delete_other_blobs(&self, used: &HashSet<Digest>) -> Result<()> {
        let place = || format!("read {}", self.paths.blobs.display());
        let used: HashSet<&str> = used.iter().map(Digest::hex).collect();
        for entry in std::fs::read_dir(&self.paths.blobs).context(place)? {
            let entry = entry.context(place)?;
            if entry.file_name().to_str().is_none_or(|name| !used.contains(name)) {
                let path = entry.path();
                std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl State {
    fn unused_layers(&self) -> Vec<LayerId> {
        let mut used: HashSet<LayerId> = self.pins.keys().cloned().collect();
        used.extend(self.containers.values().flatten().cloned());
        for image in self.images.values().flatten() {
            used.extend(image.layers.iter().cloned());
            used.insert(crate::layer::init_layer_id(&image.layers));
        }
        self.layers.keys().filter(|layer| !used.contains(layer)).cloned().collect()
    }

    fn used_blobs(&self) -> HashSet<Digest> {
        let mut used: HashSet<Digest> =
            self.tags.values().map(|tag| tag.target.digest.clone()).collect();
        for image in self.images.values().flatten() {
            used.insert(image.manifest.digest.clone());
            used.insert(image.config_digest.clone());
            used.extend(image.blobs.iter().map(|blob| blob.digest.clone()));
        }
        used
    }

    /// Whether any name points to `target`.
    fn is_named(&self, target: &Digest) -> bool {
        self.tags.values().any(|tag| tag.target.digest == *target)
    }
}

impl Paths {
    fn new(data_root: &Path) -> Self {
        let layers = data_root.join("overlay2");
        Self {
            blobs: data_root.join("image/blobs/sha256"),
            partial: data_root.join("image/partial"),
            scratch: data_root.join("image/load"),
            links: layers.join("l"),
            layers,
        }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    fn partial(&self, digest: &Digest) -> PathBuf {
        self.partial.join(digest.hex())
    }

    fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers.join(id.directory())
    }
}

/// The file name of a tag's record: names have slashes and colons.
fn tag_file(name: &str) -> String {
    Digest::from_sha256(Sha256::digest(name)).hex().to_owned()
}

fn dangling_name(target: &Digest) -> String {
    format!("{DANGLING}@{target}")
}

/// A tag's name as a reference; a dangling one has none.
fn reference_of(name: &str) -> Option<Reference> {
    if name.starts_with(DANGLING) { None } else { Reference::parse(name).ok() }
}
