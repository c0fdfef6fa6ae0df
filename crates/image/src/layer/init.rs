//! The init layer: names a container must have for what is mounted over them.
//!
//! Docker makes one per container between the image and the container's own layer; its contents
//! depend on the image alone, so here it is one per image, and a container costs nothing more.

use std::ffi::{OsStr, OsString};
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

/// Fills `diff` with what the layers below (topmost first) lack.
pub(crate) fn make_init_layer(diff: &Path, lower: Vec<PathBuf>) -> io::Result<()> {
    let Some(image) = View::root(lower)? else {
        return NODES.iter().try_for_each(|(path, node)| {
            fs::create_dir_all(diff.join(path).parent().unwrap_or(diff))?;
            make(&diff.join(path), node)
        });
    };
    copy_attributes(&image, diff)?;
    for (path, node) in &NODES {
        let path = Path::new(path);
        let parents = path.parent().into_iter().flat_map(Path::components);
        let parents: Vec<OsString> = parents.map(|part| part.as_os_str().to_owned()).collect();
        let name = path.file_name().unwrap_or_default();
        add(&image, diff, &parents, name, node)?;
    }
    // Making entries changed the times of the directories.
    restore_times(Some(&image), diff)
}

fn add(
    image: &View,
    diff: &Path,
    parents: &[OsString],
    name: &OsStr,
    node: &Node,
) -> io::Result<()> {
    let mut walked: Vec<(PathBuf, Option<View>)> = Vec::new();
    let mut place = diff.to_owned();
    for parent in parents {
        place.push(parent);
        let above = walked.last().map_or(Some(image), |(_, view)| view.as_ref());
        let view = above.map(|above| above.child(parent)).transpose()?.flatten();
        if view.as_ref().is_some_and(|view| !view.metadata.is_dir()) {
            // The image has a link or file there: what is mounted finds its way through it.
            return Ok(());
        }
        walked.push((place.clone(), view));
    }
    let above = walked.last().map_or(Some(image), |(_, view)| view.as_ref());
    if above.map(|above| above.child(name)).transpose()?.flatten().is_some() {
        return Ok(());
    }
    for (place, view) in &walked {
        if !place.is_dir() {
            make(place, &Node::Directory)?;
            if let Some(view) = view {
                copy_attributes(view, place)?;
            }
        }
    }
    let place = place.join(name);
    if place.symlink_metadata().is_ok() { Ok(()) } else { make(&place, node) }
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

/// A directory in an upper layer hides the attributes of the one below: they must be the same.
fn copy_attributes(from: &View, to: &Path) -> io::Result<()> {
    chown(to, Some(from.metadata.uid()), Some(from.metadata.gid()))?;
    fs::set_permissions(to, from.metadata.permissions())?;
    let Some(path) = from.path() else { return Ok(()) };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = fs::File::open(parent)?;
    for (key, value) in tree::xattrs(parent.as_fd(), name)? {
        if !key.to_string_lossy().starts_with("trusted.overlay.") {
            rustix::fs::lsetxattr(to, key.as_os_str(), &value, rustix::fs::XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn restore_times(image: Option<&View>, place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let below = image.map(|image| image.child(&entry.file_name())).transpose()?.flatten();
            restore_times(below.as_ref(), &entry.path())?;
        }
    }
    match image {
        Some(image) => fs::File::open(place)?.set_modified(image.metadata.modified()?),
        None => Ok(()),
    }
}
