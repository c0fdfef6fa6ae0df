//! Containers' writable layers: made, looked up, compared with their image, thrown away.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use davit_types::{ContainerId, Context as _, Error, Result};

use super::record::{Sync, write_file};
use super::trash::random_name;
use super::{ImageStore, Inner, LayerRecord, Unpacking};
use crate::image::{Change, ContainerLayer, Image, LayerId};
use crate::layer;

impl ImageStore {
    /// Makes the writable layer of a new container of `image`. Durable when it returns.
    ///
    /// # Errors
    /// [`davit_types::Kind::NotFound`] when the image was removed meanwhile, `Conflict` when the container has one.
    pub fn create_container_layer(
        &self,
        id: &ContainerId,
        image: &Image,
    ) -> Result<ContainerLayer> {
        let lower = self.reserve(id, image)?;
        let made = self.fill_container(id, image, &lower);
        if made.is_err() {
            self.inner.state_mut().containers.remove(id);
            let directory = self.inner.paths.layers.join(id.as_str());
            self.inner.trash.discard(&directory)?;
        }
        made.context(|| format!("create the layer of container {id}"))
    }

    /// The writable layer of a container.
    ///
    /// # Errors
    /// [`davit_types::Kind::NotFound`] when it has none.
    pub fn container_layer(&self, id: &ContainerId) -> Result<ContainerLayer> {
        let state = self.inner.state();
        let lower = state.containers.get(id).ok_or_else(|| no_layer(id))?;
        let link = |layer: &LayerId| {
            let record = state.layers.get(layer);
            let missing = || Error::internal(format!("layer {layer} is missing"));
            record.map(|record| Path::new("l").join(&record.link)).ok_or_else(missing)
        };
        let directory = self.inner.paths.layers.join(id.as_str());
        Ok(ContainerLayer {
            layers_dir: self.inner.paths.layers.clone(),
            lower: lower.iter().map(link).collect::<Result<_>>()?,
            upper: directory.join("diff"),
            work: directory.join("work"),
            merged: directory.join("merged"),
        })
    }

    /// All containers that have a layer, so that the engine can drop those it does not know.
    pub fn container_layers(&self) -> Vec<ContainerId> {
        self.inner.state().containers.keys().cloned().collect()
    }

    /// Removes a container's layer, which must not be mounted any more. It not being there is fine.
    ///
    /// # Errors
    /// A failing file system.
    pub fn remove_container_layer(&self, id: &ContainerId) -> Result<()> {
        let directory = self.inner.paths.layers.join(id.as_str());
        if let Ok(link) = fs::read_to_string(directory.join("link")) {
            self.inner.remove_link(link.trim())?;
        }
        self.inner.trash.discard(&directory)?;
        let lower = self.inner.state_mut().containers.remove(id);
        // Usually an image still has these layers; looking for unused ones is worth it only if not.
        let Some(lower) = lower else { return Ok(()) };
        let is_orphaned = {
            let state = self.inner.state();
            let unused: HashSet<LayerId> = state.unused_layers().into_iter().collect();
            lower.iter().any(|layer| unused.contains(layer))
        };
        if is_orphaned {
            let _change = self.inner.change();
            self.inner.collect()?;
        }
        Ok(())
    }

    /// What a container changed, sorted by path: `docker diff`.
    ///
    /// # Errors
    /// [`davit_types::Kind::NotFound`] when the container has no layer.
    pub fn changes(&self, id: &ContainerId) -> Result<Vec<Change>> {
        let container = self.container_layer(id)?;
        let lower = self.inner.diffs(self.inner.state().containers.get(id).unwrap_or(&Vec::new()));
        fs::File::open(&container.upper)
            .and_then(|upper| layer::changes(upper.as_fd(), lower))
            .context(|| format!("compare container {id} with its image"))
    }

    /// Bytes on disk of a container's own layer.
    ///
    /// # Errors
    /// [`davit_types::Kind::NotFound`] when the container has no layer.
    pub fn layer_size(&self, id: &ContainerId) -> Result<u64> {
        let container = self.container_layer(id)?;
        fs::File::open(&container.upper)
            .and_then(|upper| layer::disk_size(upper.as_fd()))
            .context(|| format!("measure container {id}"))
    }

    /// Takes the layers for the container, so that nothing deletes them from here on. Returns
    /// them topmost first.
    fn reserve(&self, id: &ContainerId, image: &Image) -> Result<Vec<LayerId>> {
        let init = self.init_layer(&image.layers)?;
        let mut seen = HashSet::new();
        // Overlayfs refuses one directory twice; the upper one hides the other completely.
        let lower: Vec<LayerId> = std::iter::once(init)
            .chain(image.layers.iter().rev().cloned())
            .filter(|layer| seen.insert(layer.clone()))
            .collect();
        let mut state = self.inner.state_mut();
        if !lower.iter().all(|layer| state.layers.contains_key(layer)) {
            return Err(super::images::no_such_image(image.id.as_str()));
        }
        if state.containers.contains_key(id) {
            return Err(Error::conflict(format!("container {id} already has a layer")));
        }
        state.containers.insert(id.clone(), lower.clone());
        Ok(lower)
    }

    fn fill_container(
        &self,
        id: &ContainerId,
        image: &Image,
        lower: &[LayerId],
    ) -> Result<ContainerLayer> {
        let inner = &self.inner;
        let layer = self.container_layer(id)?;
        let directory = inner.paths.layers.join(id.as_str());
        let links: Vec<String> =
            layer.lower.iter().map(|link| link.display().to_string()).collect();
        let link = random_name().context(|| "name the layer")?;
        inner.make_layer_directory(&directory, &link).context(|| "make its directories")?;
        let fill = || -> io::Result<()> {
            DirBuilder::new().mode(0o700).create(&layer.work)?;
            DirBuilder::new().mode(0o700).create(&layer.merged)?;
            if let Some(top) = lower.first() {
                let root = fs::metadata(inner.paths.layer(top).join("diff"))?;
                chown(&layer.upper, Some(root.uid()), Some(root.gid()))?;
                fs::set_permissions(&layer.upper, root.permissions())?;
            }
            // Last: a directory without a whole `lower` is swept at the next open.
            // Syncing a new file commits its name and its directory with it on the journalling
            // file systems overlayfs runs on, so one sync is enough.
            write_file(&directory.join("lower"), links.join(":").as_bytes(), Sync::Now)
        };
        fill().context(|| format!("fill {} for image {}", directory.display(), image.id))?;
        Ok(layer)
    }

    /// The init layer over `layers`, made when the first container needs it.
    pub(crate) fn init_layer(&self, layers: &[LayerId]) -> Result<LayerId> {
        let id = layer::init_layer_id(layers);
        let is_there = || self.inner.state().layers.get(&id).is_some_and(|record| record.complete);
        if is_there() {
            return Ok(id);
        }
        let _change = self.inner.change();
        if is_there() {
            return Ok(id);
        }
        let lower: Vec<LayerId> = layers.iter().rev().cloned().collect();
        let unpacking = Unpacking::begin(&self.inner, &id)?;
        let diff = unpacking.diff();
        layer::make_init_layer(&diff, self.inner.diffs(&lower), self.inner.implied(&lower))
            .context(|| format!("make init layer {}", diff.display()))?;
        let size = fs::File::open(&diff)
            .and_then(|diff| layer::disk_size(diff.as_fd()))
            .context(|| format!("measure {}", diff.display()))?;
        unpacking.finish(size, &[]);
        let staged = self.inner.stage_layers(std::slice::from_ref(&id))?;
        self.inner.sync_file_system()?;
        self.inner.publish_layers(&staged)?;
        Ok(id)
    }
}

impl Inner {
    fn diffs(&self, layers: &[LayerId]) -> Vec<PathBuf> {
        layers.iter().map(|layer| self.paths.layer(layer).join("diff")).collect()
    }

    /// The directories below the `diff`s that the layers' tars don't list.
    fn implied(&self, layers: &[LayerId]) -> BTreeSet<PathBuf> {
        let state = self.state();
        let records = layers.iter().filter_map(|layer| state.layers.get(layer));
        let below = |record: &LayerRecord| {
            let diff = self.paths.layer(&record.id).join("diff");
            record.implied().map(|path| diff.join(path)).collect::<Vec<_>>()
        };
        records.flat_map(below).collect()
    }

    /// The layers that a container's `lower` file names.
    pub(super) fn read_lower(&self, directory: &Path) -> Result<Vec<LayerId>> {
        let path = directory.join("lower");
        let lower = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        let state = self.state();
        let layer = |link: &str| {
            let link = link.strip_prefix("l/").unwrap_or(link);
            let found = state.layers.values().find(|record| record.link == link);
            let unknown =
                || Error::internal(format!("unknown layer {link:?} in {}", path.display()));
            found.map(|record| record.id.clone()).ok_or_else(unknown)
        };
        lower.trim().split(':').map(layer).collect()
    }
}

fn no_layer(id: &ContainerId) -> Error {
    Error::not_found(format!("container {id} has no layer"))
}
