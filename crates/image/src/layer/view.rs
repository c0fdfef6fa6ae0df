//! Several layers seen as one tree, without mounting them: overlayfs's look-up rules.
//!
//! Only for layers that nobody writes to any more; a container's own directory is read by
//! descriptor instead (see `changes`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::tree;

/// A place in the merged tree.
#[derive(Debug)]
pub(crate) struct View {
    /// What the topmost layer that has it says.
    pub(crate) metadata: fs::Metadata,
    /// The directories that make up a merged directory, topmost first; else the one file.
    sources: Vec<PathBuf>,
}

impl View {
    /// The root of these layers' `diff` directories, topmost first. `None` without layers.
    pub(crate) fn root(layers: Vec<PathBuf>) -> io::Result<Option<Self>> {
        let Some(top) = layers.first() else { return Ok(None) };
        Ok(Some(Self { metadata: fs::symlink_metadata(top)?, sources: layers }))
    }

    /// The real paths of this place, topmost first.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.sources
    }

    /// The entry `name` of this directory.
    pub(crate) fn child(&self, name: &OsStr) -> io::Result<Option<Self>> {
        if !self.metadata.is_dir() {
            return Ok(None);
        }
        let mut found: Option<Self> = None;
        for source in &self.sources {
            let path = source.join(name);
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if is_whiteout(&metadata) {
                break;
            }
            let is_directory = metadata.is_dir();
            let opaque = is_directory && is_opaque(&path)?;
            match &mut found {
                None => found = Some(Self { metadata, sources: vec![path] }),
                Some(found) if is_directory => found.sources.push(path),
                Some(_) => break,
            }
            if !is_directory || opaque {
                break;
            }
        }
        Ok(found)
    }

    /// The names in this directory.
    pub(crate) fn names(&self) -> io::Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        let mut hidden = BTreeSet::new();
        for source in self.sources.iter().filter(|_| self.metadata.is_dir()) {
            for entry in fs::read_dir(source)? {
                let entry = entry?;
                let name = entry.file_name();
                if names.contains(&name) || hidden.contains(&name) {
                    continue;
                }
                if is_whiteout(&entry.metadata()?) {
                    hidden.insert(name);
                } else {
                    names.insert(name);
                }
            }
        }
        Ok(names)
    }
}

fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

pub(crate) fn is_opaque(path: &Path) -> io::Result<bool> {
    let mark = tree::xattr(path, OsStr::new("trusted.overlay.opaque"))?;
    Ok(mark.is_some_and(|mark| mark == b"y"))
}
