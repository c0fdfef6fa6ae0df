//! Images by name: what a name means, the list, tags, history, and publishing what was pulled.

use std::collections::HashSet;
use std::sync::Arc;

use davit_types::{Context as _, Digest, Error, Kind, Platform, Reference, Result};
use tracing::warn;

use super::{DANGLING, ImageStore, Inner, State, TagRecord, dangling_name, reference_of, tag_file};
use crate::config::ImageConfig;
use crate::image::{Descriptor, HistoryEntry, Image, LayerId};
use crate::manifest::Document;

/// Shortest prefix of an image ID that is taken as one.
const SHORTEST_ID: usize = 4;

/// What the store has of one platform of one target.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) manifest: Descriptor,
    pub(super) config_digest: Digest,
    pub(super) config: Arc<ImageConfig>,
    raw_config: Arc<[u8]>,
    pub(super) layers: Vec<LayerId>,
    /// The compressed layers the manifest names, bottom first.
    pub(super) blobs: Vec<Descriptor>,
    /// Bytes of those that are here.
    blob_size: u64,
    platform: Platform,
}

impl ImageStore {
    /// The image a user means by `name`: a reference, or an ID or its start.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with Docker's text when there is none.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        let (target, _) = self.inner.find(name)?;
        let state = self.inner.state();
        let image = state.best(&target, None).ok_or_else(|| no_such_image(name))?;
        Ok(state.image(&target, image))
    }

    /// Like [`ImageStore::resolve`], for one platform.
    ///
    /// # Errors
    /// Also [`Kind::NotFound`] when the image is here for other platforms only.
    pub fn resolve_platform(&self, name: &str, platform: &Platform) -> Result<Image> {
        let any = self.resolve(name)?;
        let state = self.inner.state();
        if let Some(image) = state.best(&any.id, Some(platform)) {
            return Ok(state.image(&any.id, image));
        }
        Err(Error::not_found(format!(
            "image with reference {name} was found but does not match the specified platform: \
             wanted {platform}, actual: {}",
            any.platform
        )))
    }

    /// All images, newest first.
    ///
    /// # Errors
    /// None at present; the store is in memory.
    pub fn list(&self) -> Result<Vec<Image>> {
        let state = self.inner.state();
        let targets: HashSet<&Digest> = state.tags.values().map(|tag| &tag.target.digest).collect();
        let mut images: Vec<Image> = targets
            .into_iter()
            .filter_map(|target| Some(state.image(target, state.best(target, None)?)))
            .collect();
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(images)
    }

    /// Puts the name `target` on the image `source`; a name that exists moves.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for an unknown source, a target with a digest is invalid.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Digest> {
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if target.repository() == "library/sha256" && target.registry() == "docker.io" {
            let message = "refusing to create an ambiguous tag using digest algorithm as name";
            return Err(Error::invalid(message));
        }
        let _change = self.inner.change();
        let (digest, _) = self.inner.find(source)?;
        let descriptor = self.inner.state().descriptor(&digest);
        let descriptor = descriptor.ok_or_else(|| no_such_image(source))?;
        let name = match target.tag() {
            Some(_) => target.to_string(),
            None => target.with_tag(davit_types::reference::DEFAULT_TAG)?.to_string(),
        };
        self.inner.put_tag(&name, descriptor)?;
        Ok(digest)
    }

    /// The steps that made the image, newest first.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such image.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        let image = self.resolve(name)?;
        let state = self.inner.state();
        let mut layers = image.layers.iter();
        let mut entries: Vec<HistoryEntry> = image
            .config
            .history
            .iter()
            .map(|step| {
                let layer = if step.empty_layer { None } else { layers.next() };
                HistoryEntry {
                    id: "<missing>".to_owned(),
                    created: step.created.as_deref().and_then(seconds).unwrap_or(0),
                    created_by: step.created_by.clone(),
                    tags: Vec::new(),
                    size: layer.map_or(0, |layer| state.layer_size(layer)),
                    comment: step.comment.clone(),
                }
            })
            .collect();
        entries.reverse();
        if let Some(newest) = entries.first_mut() {
            newest.id = image.id.to_string();
            newest.tags.clone_from(&image.repo_tags);
        }
        Ok(entries)
    }
}

impl Inner {
    /// What a name given to `save` means: all tags of a repository, one tag, or an ID.
    pub(crate) fn find_for_save(&self, name: &str) -> Result<Vec<(Descriptor, Option<Reference>)>> {
        if let Ok(repository) = Reference::parse(name)
            && repository.tag().is_none()
            && repository.digest().is_none()
        {
            let all = self.tagged().into_iter();
            let tags =
                all.filter(|(tag, _)| tag.tag().is_some() && tag.name() == repository.name());
            let found: Vec<_> = tags.map(|(tag, target)| (target, Some(tag))).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let (digest, tag) = self.find(name)?;
        let descriptor = self.state().descriptor(&digest).ok_or_else(|| no_such_image(name))?;
        Ok(vec![(descriptor, tag.as_deref().and_then(reference_of))])
    }

    /// All names that are references, and what they point to.
    pub(crate) fn tagged(&self) -> Vec<(Reference, Descriptor)> {
        let state = self.state();
        let tags = state.tags.values();
        tags.filter_map(|tag| Some((reference_of(&tag.name)?, tag.target.clone()))).collect()
    }

    /// The configs and compressed layers of a target's images that are here.
    pub(crate) fn blobs_of(&self, target: &Digest) -> HashSet<Digest> {
        let state = self.state();
        let images = state.images.get(target).into_iter().flatten();
        let of_image = |image: &Arc<Loaded>| {
            let layers = image.blobs.iter().map(|blob| blob.digest.clone());
            layers.chain([image.config_digest.clone()]).collect::<Vec<_>>()
        };
        images.flat_map(of_image).collect()
    }

    /// The target that `name` means and, if it is a name, the tag's full name.
    pub(super) fn find(&self, name: &str) -> Result<(Digest, Option<String>)> {
        let state = self.state();
        let bare = name.strip_prefix("sha256:").unwrap_or(name);
        let reference = match Reference::parse(name) {
            _ if name.starts_with("sha256:") => None,
            Ok(reference) => Some(reference),
            Err(_) if is_hex(bare) || name.starts_with(DANGLING) => None,
            Err(error) => return Err(error),
        };
        if let Some(reference) = &reference {
            if let Some(digest) = reference.digest() {
                return state.by_digest(reference, digest).ok_or_else(|| no_such_image(name));
            }
            let full = Reference::parse_familiar(name)?.to_string();
            if let Some(tag) = state.tags.get(&full) {
                return Ok((tag.target.digest.clone(), Some(full)));
            }
        } else if let Some(tag) = state.tags.get(name) {
            return Ok((tag.target.digest.clone(), None));
        }
        if is_hex(bare) && bare.len() >= SHORTEST_ID {
            let targets = state.tags.values().map(|tag| &tag.target.digest);
            let found: HashSet<&Digest> =
                targets.filter(|digest| digest.hex().starts_with(bare)).collect();
            match found.len() {
                0 => {}
                1 => {
                    return found
                        .into_iter()
                        .next()
                        .map(|digest| (digest.clone(), None))
                        .ok_or_else(|| no_such_image(name));
                }
                _ => return Err(Error::not_found(format!("ambiguous reference: {name}"))),
            }
        }
        Err(no_such_image(name))
    }

    /// Makes a pulled image durable and visible under `name`: documents, then layers, then the
    /// name; then it owns `blobs`. One sync of the file system covers everything that was written. Returns whether the
    /// name pointed there before.
    pub(crate) fn publish(
        &self,
        name: &str,
        target: Descriptor,
        documents: &[(Digest, Vec<u8>)],
        layers: &[LayerId],
        blobs: &[Digest],
    ) -> Result<bool> {
        let _change = self.change();
        let staged = self.stage_layers(layers)?;
        for (digest, bytes) in documents {
            self.write_blob(digest, bytes)?;
        }
        if !staged.is_empty() {
            self.sync_file_system()?;
            self.publish_layers(&staged)?;
        }
        self.refresh(&target);
        let same = self.state().tags.get(name).is_some_and(|tag| tag.target == target);
        if !same {
            self.put_tag(name, target)?;
        }
        self.adopt_blobs(blobs)?;
        Ok(same)
    }

    /// Writes the tag and keeps a target that lost its last name as dangling. `change` is held.
    pub(super) fn put_tag(&self, name: &str, target: Descriptor) -> Result<()> {
        let previous = self.state().tags.get(name).map(|tag| tag.target.clone());
        let dangling = dangling_name(&target.digest);
        if name == dangling {
            let is_named = self.state().is_named(&target.digest);
            return if is_named { Ok(()) } else { self.write_tag(name, target) };
        }
        self.write_tag(name, target.clone())?;
        if let Some(previous) = previous
            && !self.state().is_named(&previous.digest)
        {
            self.write_tag(&dangling_name(&previous.digest), previous)?;
        }
        if self.state().tags.contains_key(&dangling) {
            self.remove_tag(&dangling)?;
        }
        Ok(())
    }

    pub(super) fn write_tag(&self, name: &str, target: Descriptor) -> Result<()> {
        let updated = jiff::Timestamp::now().to_string();
        let record = TagRecord { name: name.to_owned(), target, updated };
        self.tags.write(&tag_file(name), &record)?;
        self.state_mut().tags.insert(name.to_owned(), record);
        Ok(())
    }

    pub(super) fn remove_tag(&self, name: &str) -> Result<()> {
        self.tags.remove(&tag_file(name))?;
        self.state_mut().tags.remove(name);
        self.tags.sync()
    }

    /// Reads anew what is here of `target`. What can't be read is not here.
    pub(super) fn refresh(&self, target: &Descriptor) {
        match self.load(target) {
            Ok(loaded) => {
                self.state_mut().images.insert(target.digest.clone(), loaded);
            }
            Err(error) => warn!(target = %target.digest, "image not usable: {error:#}"),
        }
    }

    pub(super) fn load(&self, target: &Descriptor) -> Result<Vec<Arc<Loaded>>> {
        let bytes = self.blob(&target.digest)?;
        let (document, _) = Document::parse(&bytes, &target.media_type)?;
        let manifests = match document {
            Document::Manifest(_) => {
                return Ok(vec![Arc::new(self.load_manifest(target, &bytes)?)]);
            }
            Document::Index(index) => index.manifests,
        };
        let here = manifests
            .into_iter()
            .filter(|entry| self.paths.blob(&entry.descriptor.digest).exists());
        Ok(here
            .filter_map(|entry| {
                let bytes = self.blob(&entry.descriptor.digest).ok()?;
                self.load_manifest(&entry.descriptor, &bytes)
                    .inspect_err(|error| {
                        warn!(manifest = %entry.descriptor.digest, "not usable: {error:#}");
                    })
                    .ok()
            })
            .map(Arc::new)
            .collect())
    }

    fn load_manifest(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<Loaded> {
        let Document::Manifest(manifest) = Document::parse(bytes, &descriptor.media_type)?.0 else {
            return Err(Error::invalid("manifest list inside a manifest list"));
        };
        let raw_config = self.blob(&manifest.config.digest)?;
        let config = ImageConfig::parse(&raw_config)?;
        let layers = layer_ids(&config)?;
        let state = self.state();
        if let Some(missing) = layers
            .iter()
            .find(|layer| !state.layers.get(layer).is_some_and(|record| record.complete))
        {
            return Err(Error::internal(format!("layer {missing} is missing")));
        }
        let mut seen = HashSet::new();
        let here = manifest.layers.iter().filter(|blob| seen.insert(&blob.digest));
        let blob_size = here.filter(|blob| self.has_blob(blob)).map(|blob| blob.size).sum::<u64>();
        Ok(Loaded {
            manifest: descriptor.clone(),
            config_digest: manifest.config.digest.clone(),
            platform: config.platform(),
            config: Arc::new(config),
            raw_config: raw_config.into(),
            layers,
            blob_size,
            blobs: manifest.layers,
        })
    }
}

impl State {
    /// `repo@digest`: an image with that ID that has a name in the repository.
    fn by_digest(&self, wanted: &Reference, digest: &Digest) -> Option<(Digest, Option<String>)> {
        let same_repository = |tag: &&TagRecord| {
            tag.target.digest == *digest
                && Reference::parse(&tag.name).is_ok_and(|name| name.name() == wanted.name())
        };
        self.tags.values().find(same_repository)?;
        let full = wanted.with_digest(digest.clone()).to_string();
        Some((digest.clone(), self.tags.contains_key(&full).then_some(full)))
    }

    fn descriptor(&self, target: &Digest) -> Option<Descriptor> {
        let mut tags = self.tags.values().map(|tag| &tag.target);
        tags.find(|descriptor| descriptor.digest == *target).cloned()
    }

    /// What fits `platform` best; without one, what fits the host best, or else anything.
    fn best(&self, target: &Digest, platform: Option<&Platform>) -> Option<&Loaded> {
        let here = self.images.get(target)?;
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let ranked = here.iter().filter_map(|image| Some((wanted.rank(&image.platform)?, image)));
        let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, image)| image);
        best.or_else(|| here.first().filter(|_| platform.is_none())).map(AsRef::as_ref)
    }

    fn image(&self, target: &Digest, loaded: &Loaded) -> Image {
        let named = || self.tags.values().filter(|tag| tag.target.digest == *target);
        let names: Vec<Reference> = named().filter_map(|tag| reference_of(&tag.name)).collect();
        let repo_tags =
            names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
        let mut repo_digests: Vec<String> =
            names.iter().map(|name| name.with_digest(target.clone()).familiar()).collect();
        repo_digests.dedup();
        let last_tagged = named().filter(|tag| !tag.name.starts_with(DANGLING));
        let descriptor = self.descriptor(target).unwrap_or_else(|| loaded.manifest.clone());
        let distinct: HashSet<&LayerId> = loaded.layers.iter().collect();
        let unpacked_size: u64 = distinct.into_iter().map(|layer| self.layer_size(layer)).sum();
        let mut documents = loaded.manifest.size + loaded.raw_config.len() as u64;
        if descriptor != loaded.manifest {
            documents += descriptor.size;
        }
        Image {
            id: target.clone(),
            target: descriptor,
            manifest: loaded.manifest.clone(),
            config_digest: loaded.config_digest.clone(),
            config: Arc::clone(&loaded.config),
            raw_config: Arc::clone(&loaded.raw_config),
            layers: loaded.layers.clone(),
            repo_tags,
            repo_digests,
            size: unpacked_size + documents + loaded.blob_size,
            unpacked_size,
            created: loaded.config.created.clone().unwrap_or_default(),
            last_tagged: last_tagged.map(|tag| tag.updated.clone()).max(),
            platform: loaded.platform.clone(),
        }
    }

    fn layer_size(&self, layer: &LayerId) -> u64 {
        self.layers.get(layer).map_or(0, |record| record.size)
    }
}

/// The layers a config names, bottom first.
pub(crate) fn layer_ids(config: &ImageConfig) -> Result<Vec<LayerId>> {
    let parse = |diff_id: &String| {
        let digest = Digest::parse(diff_id).context(|| format!("layer {diff_id:?}"))?;
        crate::manifest::require_sha256(&digest)?;
        Ok(LayerId::new(digest))
    };
    config.rootfs.diff_ids.iter().map(parse).collect()
}

pub(super) fn no_such_image(name: &str) -> Error {
    let shown = match Reference::parse_familiar(name) {
        Ok(reference) if !name.starts_with("sha256:") => reference.familiar(),
        _ => name.to_owned(),
    };
    Error::new(Kind::NotFound, format!("No such image: {shown}"))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}
