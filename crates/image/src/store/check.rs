//! `system check`: every byte of the store has an owner and is what its digest says.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use davit_types::{Context as _, Digest, Result};
use sha2::{Digest as _, Sha256};

use super::{DANGLING, ImageStore, Inner};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: a path or the name of an image.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// Repairing put it right, as far as that goes without a registry.
    pub repaired: bool,
}

impl ImageStore {
    /// Reads everything and says what is wrong. With `repair`, damaged blobs are removed, so that
    /// the next pull brings them back, and what nothing owns is deleted.
    ///
    /// # Errors
    /// Directories that can't be read.
    pub fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        let mut findings = self.inner.damaged_blobs(repair)?;
        // Blobs come and go under this lock, so nothing found now is just being made.
        let _change = self.inner.change();
        findings.extend(self.inner.unowned(repair)?);
        findings.extend(self.inner.unusable_images());
        findings.extend(self.inner.quarantined(repair)?);
        Ok(findings)
    }
}

impl Inner {
    fn damaged_blobs(&self, repair: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for path in entries(&self.paths.blobs)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(actual) = hash_file(&path) else {
                // Removed meanwhile, which is fine, or not readable, which is not.
                if path.exists() {
                    findings.push(finding(&path, "can't be read", false));
                }
                continue;
            };
            let is_temporary = path.extension().is_some();
            if actual.hex() != name && !is_temporary {
                if repair {
                    fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
                }
                findings.push(finding(&path, &format!("damaged: its bytes are {actual}"), repair));
            }
        }
        Ok(findings)
    }

    fn unowned(&self, repair: bool) -> Result<Vec<Finding>> {
        let state = self.state();
        let mut blobs = state.used_blobs();
        blobs.extend(state.ingests.keys().chain(state.pinned_blobs.keys()).cloned());
        let blobs: HashSet<&str> = blobs.iter().map(Digest::hex).collect();
        let partial: HashSet<&str> = state.ingests.keys().map(Digest::hex).collect();
        let containers = state.containers.keys().map(|id| id.as_str().to_owned());
        let layers = state.layers.keys().chain(state.pins.keys());
        let mut directories: HashSet<String> =
            layers.map(|layer| layer.directory().to_owned()).chain(containers).collect();
        directories.insert("l".to_owned());
        let mut suspects = Vec::new();
        let mut sweep = |directory: &Path, owned: &dyn Fn(&str) -> bool| -> Result<()> {
            let found = entries(directory)?.into_iter();
            suspects.extend(found.filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_none_or(|name| !owned(name))
            }));
            Ok(())
        };
        sweep(&self.paths.blobs, &|name| blobs.contains(name))?;
        sweep(&self.paths.partial, &|name| partial.contains(name))?;
        sweep(&self.paths.layers, &|name| directories.contains(name))?;
        let links = entries(&self.paths.links)?.into_iter();
        // A short link without a layer behind it.
        suspects.extend(links.filter(|path| !path.exists()));
        drop(state);
        let mut findings = Vec::new();
        for path in suspects {
            if repair {
                self.trash.discard(&path)?;
            }
            findings.push(finding(&path, "nothing owns it", repair));
        }
        Ok(findings)
    }

    /// Names whose image can't be used; a pull brings it back.
    fn unusable_images(&self) -> Vec<Finding> {
        let tags: Vec<_> = self.state().tags.values().cloned().collect();
        let mut findings = Vec::new();
        for tag in tags {
            let problem = match self.load(&tag.target) {
                Ok(images) if !images.is_empty() => match self.lacks(&images) {
                    Some(blob) => format!("its layer blob {blob} is missing; pull it again"),
                    None => continue,
                },
                Ok(_) => "nothing of it is here; pull it again".to_owned(),
                Err(error) => format!("not usable: {error:#}; pull it again"),
            };
            let name = match tag.name.starts_with(DANGLING) {
                true => tag.target.digest.to_string(),
                false => tag.name,
            };
            findings.push(Finding { object: format!("image {name}"), problem, repaired: false });
        }
        findings
    }

    fn lacks(&self, images: &[std::sync::Arc<super::Loaded>]) -> Option<Digest> {
        let mut blobs = images.iter().flat_map(|image| &image.blobs);
        blobs.find(|blob| blob.urls.is_empty() && !self.has_blob(blob)).map(|b| b.digest.clone())
    }

    fn quarantined(&self, repair: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for path in entries(self.tags.quarantine()).unwrap_or_default() {
            if repair {
                self.trash.discard(&path)?;
            }
            findings.push(finding(&path, "a record that could not be read", repair));
        }
        Ok(findings)
    }
}

fn finding(path: &Path, problem: &str, repaired: bool) -> Finding {
    let object = path.display().to_string();
    Finding { object, problem: problem.to_owned(), repaired }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut found = read().context(|| format!("read {}", directory.display()))?;
    found.sort();
    Ok(found)
}

pub(super) fn hash_file(path: &Path) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
    Ok(Digest::from_sha256(hash.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
