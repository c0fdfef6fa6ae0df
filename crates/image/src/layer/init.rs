//! The init layer: names a container must have for what is mounted over them.
//!
//! Docker makes one per container between the image and the container's own layer; its contents
//! depend on the image alone, so here it is one per image, and a container costs nothing more.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink,
};
use std::path::{Path, PathBuf};

use davit_types::Digest;
use sha2::{Digest as _, Sha256};

use super::View;
use crate::image::LayerId;
use crate::tree;

enum Node {
    Directory,
    File,
    Link(&'static str),
}

/// docker-behaviour: what Docker's init layer holds.
const NODES: [(&str, Node); 11] = [
    ("dev", Node::Directory),
    ("dev/pts", Node::Directory),
    ("dev/shm", Node::Directory),
    ("dev/console", Node::File),
    ("proc", Node::Directory),
    ("sys", Node::Directory),
    (".dockerenv", Node::File),
    ("etc/resolv.conf", Node::File),
    ("etc/hosts", Node::File),
    ("etc/hostname", Node::File),
    ("etc/mtab", Node::Link("/proc/mounts")),
];

/// The id of the init layer over `layers` (bottom first): not a real digest of a tar, but as
/// unique, and different for every stack.
pub(crate) fn init_layer_id(layers: &[LayerId]) -> LayerId {
    let mut hash = Sha256::new();
    hash.update(b"davit init layer 1\n");
    for layer in layers {
        hash.update(layer.diff_id().as_str());
        hash.update(b"\n");
    }
    LayerId::new(Digest::from_sha256(hash.finalize()))
}

/// Fills `diff` with what the layers below (topmost first) lack, and gives back to directories the
/// attributes that a layer took away that holds files in them without listing them. `implied` are
/// those directories.
pub(crate) fn make_init_layer(
    diff: &Path,
    lower: Vec<PathBuf>,
    implied: BTreeSet<PathBuf>,
) -> io::Result<()> {
    let layers = lower.clone();
    let Some(image) = View::root(lower)? else {
        return NODES.iter().try_for_each(|(path, node)| {
            fs::create_dir_all(diff.join(path).parent().unwrap_or(diff))?;
            make(&diff.join(path), node)
        });
    };
    let maker = Maker { diff, image: &image, implied };
    maker.copy_attributes(&image, diff)?;
    for path in &maker.implied {
        let relative = layers.iter().find_map(|layer| path.strip_prefix(layer).ok());
        maker.correct(relative.unwrap_or(Path::new("")))?;
    }
    for (path, node) in &NODES {
        let path = Path::new(path);
        maker.add(
            path.parent().unwrap_or(Path::new("")),
            path.file_name().unwrap_or_default(),
            node,
        )?;
    }
    // Making entries changed the times of the directories.
    maker.restore_times(Some(&image), diff)
}

/// A directory: where it is here, and what the image has there.
type Step = (PathBuf, Option<View>);

struct Maker<'a> {
    diff: &'a Path,
    image: &'a View,
    /// Directories in the layers whose attributes mean nothing.
    implied: BTreeSet<PathBuf>,
}

impl Maker<'_> {
    /// The path of the directory whose attributes count: the topmost one that its layer lists.
    fn listed<'v>(&self, view: &'v View) -> Option<&'v PathBuf> {
        let mut paths = view.paths().iter();
        paths.find(|path| !self.implied.contains(*path)).or(view.paths().first())
    }

    /// Makes the directory here if its topmost one has wrong attributes.
    fn correct(&self, path: &Path) -> io::Result<()> {
        let Some(walked) = self.walk(path)? else { return Ok(()) };
        match walked.last() {
            Some((_, Some(view))) if self.listed(view) != view.paths().first() => {
                self.make_directories(&walked)
            }
            _ => Ok(()),
        }
    }

    fn add(&self, parent: &Path, name: &OsStr, node: &Node) -> io::Result<()> {
        // Where the image has a link or file, what is mounted finds its way through it.
        let Some(walked) = self.walk(parent)? else { return Ok(()) };
        let above = walked.last().map_or(Some(self.image), |(_, view)| view.as_ref());
        if above.map(|above| above.child(name)).transpose()?.flatten().is_some() {
            return Ok(());
        }
        self.make_directories(&walked)?;
        let place = self.diff.join(parent).join(name);
        if place.symlink_metadata().is_ok() { Ok(()) } else { make(&place, node) }
    }

    /// The directories on the way to `path`, itself included. `None` when the image has something
    /// else than a directory there.
    fn walk(&self, path: &Path) -> io::Result<Option<Vec<Step>>> {
        let mut walked: Vec<Step> = Vec::new();
        let mut place = self.diff.to_owned();
        for name in path {
            place.push(name);
            let above = walked.last().map_or(Some(self.image), |(_, view)| view.as_ref());
            let view = above.map(|above| above.child(name)).transpose()?.flatten();
            if view.as_ref().is_some_and(|view| !view.metadata.is_dir()) {
                return Ok(None);
            }
            walked.push((place.clone(), view));
        }
        Ok(Some(walked))
    }

    fn make_directories(&self, walked: &[Step]) -> io::Result<()> {
        for (place, view) in walked.iter().filter(|(place, _)| !place.is_dir()) {
            make(place, &Node::Directory)?;
            if let Some(view) = view {
                self.copy_attributes(view, place)?;
            }
        }
        Ok(())
    }

    /// A directory in an upper layer hides the attributes of the one below: they must be the same.
    fn copy_attributes(&self, from: &View, to: &Path) -> io::Result<()> {
        let Some(path) = self.listed(from) else { return Ok(()) };
        let metadata = fs::symlink_metadata(path)?;
        chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(to, metadata.permissions())?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let parent = fs::File::open(parent)?;
        for (key, value) in tree::xattrs(parent.as_fd(), name)? {
            if !key.to_string_lossy().starts_with("trusted.overlay.") {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::lsetxattr(to, key.as_os_str(), &value, flags)?;
            }
        }
        Ok(())
    }

    fn restore_times(&self, image: Option<&View>, place: &Path) -> io::Result<()> {
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let below = image.map(|image| image.child(&entry.file_name())).transpose()?;
                self.restore_times(below.flatten().as_ref(), &entry.path())?;
            }
        }
        match image.and_then(|image| self.listed(image)) {
            Some(path) => {
                fs::File::open(place)?.set_modified(fs::symlink_metadata(path)?.modified()?)
            }
            None => Ok(()),
        }
    }
}

fn make(place: &Path, node: &Node) -> io::Result<()> {
    match node {
        Node::Directory => {
            DirBuilder::new().mode(0o755).create(place)?;
            fs::set_permissions(place, fs::Permissions::from_mode(0o755))
        }
        Node::File => {
            OpenOptions::new().write(true).create_new(true).mode(0o755).open(place)?;
            fs::set_permissions(place, fs::Permissions::from_mode(0o755))
        }
        Node::Link(target) => symlink(target, place),
    }
}
