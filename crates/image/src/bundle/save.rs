//! `docker save`: an OCI layout with Docker's `manifest.json` beside it, in one tar.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::Arc;

use davit_types::{Context as _, Digest, Error, Platform, Reference, Result};
use serde::Serialize;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::image::Descriptor;
use crate::manifest::{Document, Manifest};
use crate::store::{BlobPins, ImageStore, Inner, Outgoing};

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const NAME: &str = "io.containerd.image.name";
const TAG: &str = "org.opencontainers.image.ref.name";

/// What a save will write. While it lives, nothing of it is deleted.
pub struct SavePlan {
    inner: Arc<Inner>,
    index: Vec<Value>,
    manifests: Vec<DockerManifest>,
    blobs: BTreeSet<Digest>,
    _pins: BlobPins,
}

/// An entry of `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl ImageStore {
    /// Finds everything that belongs to the images; a repository without a tag means all its tags.
    /// With platforms, only those.
    ///
    /// # Errors
    /// No such image, or content of it that is not here.
    pub fn plan_save(&self, names: &[String], platforms: &[Platform]) -> Result<SavePlan> {
        let mut collected = Collected::default();
        let mut targets: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
        for name in names {
            for (target, reference) in self.inner.find_for_save(name)? {
                let known = targets.iter_mut().find(|(known, _)| known.digest == target.digest);
                let references = match known {
                    Some((_, references)) => references,
                    None => {
                        targets.push((target, Vec::new()));
                        &mut targets.last_mut().expect("just pushed").1
                    }
                };
                references.extend(reference.filter(|new| !references.contains(new)));
            }
        }
        for (target, references) in &targets {
            collected.image(&self.inner, target, references, platforms)?;
        }
        let pins = BlobPins::new(&self.inner, collected.blobs.iter().cloned());
        Ok(SavePlan {
            inner: Arc::clone(&self.inner),
            index: collected.index,
            manifests: collected.manifests,
            blobs: collected.blobs,
            _pins: pins,
        })
    }
}

#[derive(Default)]
struct Collected {
    index: Vec<Value>,
    manifests: Vec<DockerManifest>,
    blobs: BTreeSet<Digest>,
}

impl Collected {
    fn image(
        &mut self,
        inner: &Inner,
        target: &Descriptor,
        references: &[Reference],
        platforms: &[Platform],
    ) -> Result<()> {
        let bytes = inner.blob(&target.digest)?;
        let (document, kind) = Document::parse(&bytes, &target.media_type)?;
        let mut found: Vec<(Descriptor, Manifest)> = Vec::new();
        match document {
            Document::Manifest(manifest) => found.push((target.clone(), manifest)),
            Document::Index(index) => {
                for entry in index.manifests {
                    let wanted = platforms.is_empty()
                        || platforms.iter().any(|wanted| {
                            entry.platform.as_ref().is_some_and(|p| wanted.rank(p).is_some())
                        });
                    let manifest = inner.manifest_here(&entry.descriptor).filter(|_| wanted);
                    found.extend(manifest.map(|(_, manifest)| (entry.descriptor, manifest)));
                }
            }
        }
        if found.is_empty() {
            let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            return Err(Error::not_found(format!(
                "no suitable export target found for platform {}",
                platforms.join(", ")
            )));
        }
        self.blobs.insert(target.digest.clone());
        for (descriptor, manifest) in &found {
            self.manifest(inner, descriptor, manifest)?;
        }
        let descriptor = json!({ "mediaType": kind, "digest": target.digest, "size": target.size });
        if references.is_empty() {
            self.index.push(descriptor.clone());
        }
        for reference in references {
            let mut entry = descriptor.clone();
            let mut annotations = BTreeMap::from([(NAME, reference.to_string())]);
            annotations.extend(reference.tag().map(|tag| (TAG, tag.to_owned())));
            entry["annotations"] = json!(annotations);
            self.index.push(entry);
        }
        // Docker's own document knows one platform: the one that would run here.
        let host = Platform::host();
        let best = found.iter().min_by_key(|(descriptor, _)| {
            let platform = inner.platform_of(&target.digest, &descriptor.digest);
            let rank = platform.and_then(|platform| host.rank(&platform));
            (rank.is_none(), rank)
        });
        if let Some((_, manifest)) = best {
            let place = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
            let tags = references.iter().filter(|reference| reference.tag().is_some());
            let tags: Vec<String> = tags.map(Reference::familiar).collect();
            self.manifests.push(DockerManifest {
                config: place(&manifest.config.digest),
                repo_tags: (!tags.is_empty()).then_some(tags),
                layers: manifest.layers.iter().map(|layer| place(&layer.digest)).collect(),
            });
        }
        Ok(())
    }

    fn manifest(
        &mut self,
        inner: &Inner,
        descriptor: &Descriptor,
        manifest: &Manifest,
    ) -> Result<()> {
        self.blobs.insert(descriptor.digest.clone());
        self.blobs.insert(manifest.config.digest.clone());
        for layer in &manifest.layers {
            if !inner.has_blob(layer) {
                if !layer.urls.is_empty() {
                    continue;
                }
                return Err(Error::not_found(format!(
                    "content digest {}: not found",
                    layer.digest
                )));
            }
            self.blobs.insert(layer.digest.clone());
        }
        Ok(())
    }
}

impl SavePlan {
    /// Writes the archive.
    ///
    /// # Errors
    /// A failing file system or writer; a damaged blob, which is deleted.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let mut builder = Builder::new(out);
        for directory in ["blobs/", "blobs/sha256/"] {
            let header = header(EntryType::Directory, directory, 0o755, 0)?;
            builder.append(&header, &b""[..]).context(|| "write archive")?;
        }
        for digest in &self.blobs {
            let place = || format!("save blob {digest}");
            let mut blob = Outgoing::open(&self.inner, digest).context(place)?;
            let name = format!("blobs/sha256/{}", digest.hex());
            let header = header(EntryType::Regular, &name, 0o444, blob.size())?;
            let size = blob.size();
            builder.append(&header, (&mut blob).take(size)).context(place)?;
            blob.verify()?;
        }
        let index = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.index,
        });
        let index = serde_json::to_vec(&index).context(|| "encode index.json")?;
        let manifests = serde_json::to_vec(&self.manifests).context(|| "encode manifest.json")?;
        for (name, bytes) in [
            ("index.json", index.as_slice()),
            ("manifest.json", manifests.as_slice()),
            ("oci-layout", OCI_LAYOUT),
        ] {
            let header = header(EntryType::Regular, name, 0o444, bytes.len() as u64)?;
            builder.append(&header, bytes).context(|| "write archive")?;
        }
        let mut out = builder.into_inner().context(|| "end archive")?;
        out.flush().context(|| "end archive")
    }
}

fn header(kind: EntryType, name: &str, mode: u32, size: u64) -> Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(name).context(|| format!("name {name} in the archive"))?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}
