//! Docker's archives from before OCI layouts, which skopeo and podman still write: `manifest.json`
//! names a config and layer tars. They have no manifest to keep, so one is written.

use std::path::Path;

use davit_types::{Context as _, Digest, Error, Reference, Result};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::load::{Archive, LoadedImage};
use super::made::Made;
use crate::image::Descriptor;
use crate::store::ImageStore;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Brings in all images of the archive.
pub(super) fn load(store: &ImageStore, archive: &Archive) -> Result<Vec<LoadedImage>> {
    let bytes = archive.document(Path::new("manifest.json"))?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes).context(|| "parse manifest.json")?;
    let mut loaded = Vec::new();
    for entry in entries {
        let mut names = Vec::new();
        for tag in entry.repo_tags.iter().flatten() {
            names.push(Reference::parse_familiar(tag)?);
        }
        let made = image(archive, &entry)?;
        let id = made.target.digest.clone();
        made.publish(store, names.first())?;
        for further in names.iter().skip(1) {
            store.tag(id.as_str(), further)?;
        }
        if names.is_empty() {
            loaded.push(LoadedImage { name: None, id });
            continue;
        }
        let named = names.iter().map(|name| Some(name.familiar()));
        loaded.extend(named.map(|name| LoadedImage { name, id: id.clone() }));
    }
    if loaded.is_empty() {
        return Err(Error::invalid("the archive holds no images"));
    }
    Ok(loaded)
}

fn image(archive: &Archive, entry: &Entry) -> Result<Made> {
    let config = archive.document(Path::new(&entry.config))?;
    let config_digest = Digest::from_sha256(Sha256::digest(&config));
    let (mut layers, mut files) = (Vec::new(), Vec::new());
    for name in entry.layers.iter().flatten() {
        let missing = || Error::invalid(format!("the archive has no layer {name:?}"));
        let clean = crate::tree::clean(name.as_bytes()).ok_or_else(missing)?;
        let file = archive.file(&clean).ok_or_else(missing)?;
        let media_type = if is_gzip(&file.path)? { LAYER_GZIP } else { LAYER };
        layers.push(Descriptor {
            media_type: media_type.to_owned(),
            digest: file.digest.clone(),
            size: file.size,
            urls: Vec::new(),
        });
        files.push(Some(file.path.clone()));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config_digest, "size": config.len() },
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).context(|| "encode manifest")?;
    let digest = Digest::from_sha256(Sha256::digest(&manifest));
    let mut made = Made::new(Descriptor {
        media_type: MANIFEST.to_owned(),
        digest: digest.clone(),
        size: manifest.len() as u64,
        urls: Vec::new(),
    });
    made.documents.push((digest, manifest));
    made.add(&config_digest, config, layers, files)?;
    Ok(made)
}

fn is_gzip(path: &Path) -> Result<bool> {
    let mut head = [0; 2];
    let file = std::fs::File::open(path).context(|| format!("open {}", path.display()))?;
    let read = std::os::unix::fs::FileExt::read_at(&file, &mut head, 0);
    Ok(read.context(|| format!("read {}", path.display()))? == 2 && head == [0x1f, 0x8b])
}
