//! `docker load`: OCI layouts and Docker's own archives, plain or compressed.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_types::{Context as _, Digest, Error, Platform, Reference, Result};
use serde::Deserialize;

use super::docker;
use super::made::Made;
use super::scratch::{self, Scratch, Spooled};
use crate::image::Descriptor;
use crate::manifest::{Document, Manifest};
use crate::pull::layer::decompress;
use crate::store::{ImageStore, Inner};
use crate::tree;

const NAME: &str = "io.containerd.image.name";
const TAG: &str = "org.opencontainers.image.ref.name";
/// Documents larger than this are refused.
const MAXIMUM_DOCUMENT: u64 = 16 << 20;
/// Links from one entry to the next.
const LINKS: usize = 8;

/// An image that a load brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its familiar name, if the archive has one.
    pub name: Option<String>,
    /// Its ID.
    pub id: Digest,
}

#[derive(Deserialize)]
struct Layout {
    #[serde(default)]
    manifests: Vec<LayoutEntry>,
}

#[derive(Deserialize)]
struct LayoutEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

/// An archive, spooled.
pub(super) struct Archive {
    inner: Arc<Inner>,
    files: HashMap<PathBuf, Spooled>,
    links: HashMap<PathBuf, PathBuf>,
    _scratch: Scratch,
}

impl ImageStore {
    /// Brings in all images of an archive; with platforms, only those.
    ///
    /// # Errors
    /// An archive that can't be read or holds no images, content that is missing or is not what its
    /// digest says. Images before the bad one stay.
    pub fn load(
        &self,
        reader: impl Read + Send + 'static,
        platforms: &[Platform],
    ) -> Result<Vec<LoadedImage>> {
        let archive = Archive::read(&self.inner, reader)?;
        if archive.files.contains_key(Path::new("index.json")) {
            return self.load_layout(&archive, platforms);
        }
        if archive.files.contains_key(Path::new("manifest.json")) {
            return docker::load(self, &archive);
        }
        Err(Error::invalid("unrecognized image format: neither index.json nor manifest.json"))
    }

    fn load_layout(&self, archive: &Archive, platforms: &[Platform]) -> Result<Vec<LoadedImage>> {
        let bytes = archive.document(Path::new("index.json"))?;
        let layout: Layout = serde_json::from_slice(&bytes).context(|| "parse index.json")?;
        let mut loaded = Vec::new();
        for entry in layout.manifests {
            let name = name_of(entry.annotations.as_ref());
            let made = archive.image(&entry.descriptor, platforms)?;
            made.publish(self, name.as_ref())?;
            loaded.push(LoadedImage {
                name: name.map(|name| name.familiar()),
                id: entry.descriptor.digest,
            });
        }
        if loaded.is_empty() {
            return Err(Error::invalid("the archive holds no images"));
        }
        Ok(loaded)
    }
}

/// containerd's name, or a `ref.name` that is more than a tag.
fn name_of(annotations: Option<&HashMap<String, String>>) -> Option<Reference> {
    let annotations = annotations?;
    if let Some(name) = annotations.get(NAME) {
        return Reference::parse_familiar(name).ok();
    }
    let name = annotations.get(TAG)?;
    let is_name = name.contains('/') || name.contains(':');
    Reference::parse_familiar(name).ok().filter(|_| is_name)
}

impl Archive {
    fn read(inner: &Arc<Inner>, reader: impl Read + Send + 'static) -> Result<Self> {
        let mut scratch = Scratch::new(inner)?;
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = tar::Archive::new(decompress(reader)?);
        for entry in archive.entries().context(|| "read archive")? {
            let mut entry = entry.context(|| "read archive")?;
            let name = entry.path_bytes().into_owned();
            let Some(path) = tree::clean(&name) else {
                let name = String::from_utf8_lossy(&name).into_owned();
                return Err(Error::invalid(format!("entry {name:?} leads out of the archive")));
            };
            let kind = entry.header().entry_type();
            if kind.is_file() {
                files.insert(path, scratch.spool(&mut entry)?);
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                // A symbolic link starts in its directory, a hard one at the top.
                let base = path.parent().filter(|_| kind.is_symlink());
                let mut full =
                    base.unwrap_or(Path::new("")).as_os_str().as_encoded_bytes().to_vec();
                full.push(b'/');
                full.extend_from_slice(&target);
                links.extend(tree::clean(&full).map(|target| (path, target)));
            }
        }
        Ok(Self { inner: Arc::clone(inner), files, links, _scratch: scratch })
    }

    /// The file at `path`, links followed.
    pub(super) fn file(&self, path: &Path) -> Option<&Spooled> {
        let mut path = path;
        for _ in 0..LINKS {
            match self.links.get(path) {
                Some(target) => path = target,
                None => break,
            }
        }
        self.files.get(path)
    }

    /// A small file's bytes.
    pub(super) fn document(&self, path: &Path) -> Result<Vec<u8>> {
        let missing = || Error::invalid(format!("the archive has no {}", path.display()));
        let file = self.file(path).ok_or_else(missing)?;
        if file.size > MAXIMUM_DOCUMENT {
            return Err(Error::invalid(format!("{} is too large", path.display())));
        }
        scratch::read(&file.path)
    }

    /// A blob of the layout whose digest was checked.
    fn blob(&self, digest: &Digest) -> Result<Option<&Spooled>> {
        crate::manifest::require_sha256(digest)?;
        let Some(file) = self.file(&Path::new("blobs/sha256").join(digest.hex())) else {
            return Ok(None);
        };
        if file.digest != *digest {
            let actual = &file.digest;
            return Err(Error::invalid(format!("blob {digest} of the archive is {actual}")));
        }
        Ok(Some(file))
    }

    /// A document by digest, from the archive or from here.
    fn by_digest(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        match self.blob(digest)? {
            Some(file) if file.size <= MAXIMUM_DOCUMENT => scratch::read(&file.path).map(Some),
            Some(_) => Err(Error::invalid(format!("document {digest} is too large"))),
            None => Ok(self.inner.blob(digest).ok()),
        }
    }

    /// What `target` needs, as far as it is in the archive or here.
    fn image(&self, target: &Descriptor, platforms: &[Platform]) -> Result<Made> {
        let not_found =
            |digest: &Digest| Error::not_found(format!("content digest {digest}: not found"));
        let bytes = self.by_digest(&target.digest)?.ok_or_else(|| not_found(&target.digest))?;
        let (document, kind) = Document::parse(&bytes, &target.media_type)?;
        let target =
            Descriptor { media_type: kind.to_owned(), size: bytes.len() as u64, ..target.clone() };
        let mut made = Made::new(target.clone());
        made.documents.push((target.digest.clone(), bytes));
        match document {
            Document::Manifest(manifest) => self.manifest(&mut made, &manifest)?,
            Document::Index(index) => {
                let mut found = false;
                for entry in index.manifests {
                    let wanted = platforms.is_empty()
                        || platforms.iter().any(|wanted| {
                            entry.platform.as_ref().is_some_and(|p| wanted.rank(p).is_some())
                        });
                    let digest = &entry.descriptor.digest;
                    let Some(bytes) = self.by_digest(digest)?.filter(|_| wanted) else { continue };
                    let (document, _) = Document::parse(&bytes, &entry.descriptor.media_type)?;
                    if let Document::Manifest(manifest) = document
                        && self.has_all(&manifest)?
                    {
                        made.documents.push((digest.clone(), bytes));
                        self.manifest(&mut made, &manifest)?;
                        found = true;
                    }
                }
                if !found {
                    let what = "the archive has no whole image of the index";
                    return Err(Error::not_found(format!("{what} {}", target.digest)));
                }
            }
        }
        Ok(made)
    }

    fn has_all(&self, manifest: &Manifest) -> Result<bool> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if self.blob(&blob.digest)?.is_none() && !self.inner.has_blob(blob) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn manifest(&self, made: &mut Made, manifest: &Manifest) -> Result<()> {
        let digest = &manifest.config.digest;
        let config = self.by_digest(digest)?;
        let config = config
            .ok_or_else(|| Error::not_found(format!("content digest {digest}: not found")))?;
        let mut files = Vec::new();
        for layer in &manifest.layers {
            let file = self.blob(&layer.digest)?.map(|file| file.path.clone());
            if file.is_none() && !self.inner.has_blob(layer) {
                let digest = &layer.digest;
                return Err(Error::not_found(format!("content digest {digest}: not found")));
            }
            files.push(file);
        }
        made.add(digest, config, manifest.layers.clone(), files)
    }
}
