//! `docker commit`: a container's own layer becomes the top layer of a new image.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::fd::AsFd as _;

use davit_types::{ContainerId, Context as _, Digest, Error, Reference, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::change;
use super::made::Made;
use super::scratch::{Hashing, Scratch, Spooled};
use crate::archive::pack_layer;
use crate::config::RunConfig;
use crate::image::Descriptor;
use crate::manifest::{Document, Manifest};
use crate::store::ImageStore;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What a commit adds to the container's own layer.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Who made it.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// What the image is to run, before the changes.
    pub config: RunConfig,
    /// The container's command, for the history.
    pub created_by: String,
    /// The image's name; without one it is dangling.
    pub name: Option<Reference>,
}

/// A layer that was made, still outside the store.
pub(super) struct NewLayer {
    pub(super) file: Spooled,
    pub(super) diff_id: Digest,
}

impl ImageStore {
    /// Makes an image of what the container changed over the image with manifest `parent`.
    ///
    /// # Errors
    /// No such container, an instruction that makes no sense, a parent that is gone.
    pub fn commit(
        &self,
        container: &ContainerId,
        parent: Option<&Descriptor>,
        options: &CommitOptions,
    ) -> Result<Digest> {
        let mut config = options.config.clone();
        for line in &options.changes {
            change::apply(&mut config, line)?;
        }
        let upper = self.container_layer(container)?.upper;
        let mut scratch = Scratch::new(&self.inner)?;
        let layer = new_layer(&mut scratch, |out| {
            let root = File::open(&upper).context(|| format!("open {}", upper.display()))?;
            pack_layer(root.as_fd(), out)
        })?;
        let base = Base::read(self, parent)?;
        let made = base.with(layer, &config, options)?;
        let id = made.target.digest.clone();
        made.publish(self, options.name.as_ref())?;
        Ok(id)
    }
}

/// Writes a tar and compresses it on the way.
pub(super) fn new_layer(
    scratch: &mut Scratch,
    write: impl FnOnce(&mut dyn std::io::Write) -> Result<()>,
) -> Result<NewLayer> {
    let path = scratch.place();
    let place = || format!("write {}", path.display());
    let file = File::create(&path).context(place)?;
    let compressed = Hashing::new(BufWriter::with_capacity(1 << 17, file));
    let mut plain = Hashing::new(GzEncoder::new(compressed, Compression::default()));
    write(&mut plain)?;
    let (encoder, _, diff_id) = plain.finish();
    let mut compressed = encoder.finish().context(place)?;
    compressed.flush().context(place)?;
    let (_, size, digest) = compressed.finish();
    Ok(NewLayer { file: Spooled { path, size, digest }, diff_id })
}

/// The image a new layer goes on.
struct Base {
    manifest: Manifest,
    /// The config document as it is, unknown fields too.
    config: Value,
    is_docker: bool,
}

impl Base {
    fn read(store: &ImageStore, parent: Option<&Descriptor>) -> Result<Self> {
        let Some(parent) = parent else {
            return Err(Error::invalid("the container's image is unknown"));
        };
        let bytes = store.inner.blob(&parent.digest)?;
        let (document, kind) = Document::parse(&bytes, &parent.media_type)?;
        let Document::Manifest(manifest) = document else {
            return Err(Error::invalid(format!("{} is no manifest", parent.digest)));
        };
        let config = store.inner.blob(&manifest.config.digest)?;
        let config = serde_json::from_slice(&config).context(|| "parse image config")?;
        Ok(Self { manifest, config, is_docker: kind != OCI_MANIFEST })
    }

    fn with(
        mut self,
        layer: NewLayer,
        config: &RunConfig,
        options: &CommitOptions,
    ) -> Result<Made> {
        let now = jiff::Timestamp::now().to_string();
        let step = json!({
            "created": now, "created_by": options.created_by, "author": options.author,
            "comment": options.comment,
        });
        self.config["created"] = now.into();
        self.config["author"] = options.author.clone().into();
        self.config["config"] = run_config(config)?;
        for (list, value) in [("history", step), ("diff_ids", layer.diff_id.to_string().into())] {
            let owner = match list {
                "diff_ids" => &mut self.config["rootfs"],
                _ => &mut self.config,
            };
            match owner[list].as_array_mut() {
                Some(values) => values.push(value),
                None => owner[list] = json!([value]),
            }
        }
        self.config["rootfs"]["type"] = "layers".into();
        let config = serde_json::to_vec(&self.config).context(|| "encode image config")?;
        let mut layers = self.manifest.layers;
        layers.push(Descriptor {
            media_type: if self.is_docker { DOCKER_LAYER } else { OCI_LAYER }.to_owned(),
            digest: layer.file.digest.clone(),
            size: layer.file.size,
            urls: Vec::new(),
        });
        let mut files = vec![None; layers.len() - 1];
        files.push(Some(layer.file.path));
        assemble(config, layers, files, self.is_docker)
    }
}

/// Manifest and config of an image made here.
pub(super) fn assemble(
    config: Vec<u8>,
    layers: Vec<Descriptor>,
    files: Vec<Option<std::path::PathBuf>>,
    is_docker: bool,
) -> Result<Made> {
    let config_digest = Digest::from_sha256(Sha256::digest(&config));
    let docker_manifest = "application/vnd.docker.distribution.manifest.v2+json";
    let (kind, config_kind) =
        if is_docker { (docker_manifest, DOCKER_CONFIG) } else { (OCI_MANIFEST, OCI_CONFIG) };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": { "mediaType": config_kind, "digest": config_digest, "size": config.len() },
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).context(|| "encode manifest")?;
    let digest = Digest::from_sha256(Sha256::digest(&manifest));
    let mut made = Made::new(Descriptor {
        media_type: kind.to_owned(),
        digest: digest.clone(),
        size: manifest.len() as u64,
        urls: Vec::new(),
    });
    made.documents.push((digest, manifest));
    made.add(&config_digest, config, layers, files)?;
    Ok(made)
}

/// The configuration without what is empty, as image configs have it.
pub(super) fn run_config(config: &RunConfig) -> Result<Value> {
    let mut value = serde_json::to_value(config).context(|| "encode image config")?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    }
    Ok(value)
}
