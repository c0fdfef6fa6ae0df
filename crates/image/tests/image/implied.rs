//! Layers that list a file but not the directories on its way.

use std::fs;
use std::os::unix::fs::MetadataExt;

use davit_image::{ImageStore, PullOptions};
use davit_types::{ContainerId, Reference};

use crate::support::registry::{Image, Registry, gzip};
use crate::support::{Tar, lacks, needs_root};

const DIRECTORIES: [&str; 6] = ["", "tmp", "deep", "deep/er", "gone", "new"];

/// Pulls the image and tells mode and owner of the directories in its init layer, which is above its
/// own layers.
async fn corrected(store: &ImageStore, name: &str) -> [Option<(u32, u32)>; 6] {
    let reference = Reference::parse_familiar(name).expect("reference");
    store.pull(&reference, PullOptions::default(), |_| {}).await.expect("pull");
    let image = store.resolve(name).expect("image");
    let id = ContainerId::from_bytes([4; 32]);
    let layer = store.create_container_layer(&id, &image).expect("layer");
    let init = layer.layers_dir.join(layer.lower.first().expect("the init layer"));
    let root = fs::metadata(&layer.upper).expect("upper");
    let look = |path: &str| {
        let found = fs::metadata(init.join(path)).ok()?;
        Some((found.mode() & 0o7777, found.uid()))
    };
    let found = DIRECTORIES.map(look);
    assert_eq!(found[0], Some((root.mode() & 0o7777, root.uid())), "the container's own root");
    let mut value = [0; 8];
    let kept = rustix::fs::lgetxattr(init.join("deep"), "user.kept", &mut value[..]);
    assert_eq!(kept.map(|length| value[..length].to_vec()), Ok(b"yes".to_vec()));
    store.remove_container_layer(&id).expect("remove");
    found
}

#[tokio::test]
async fn root_registry_item4_directories_that_no_layer_above_lists_stay_as_they_are() {
    let test = "root_registry_item4_directories_that_no_layer_above_lists_stay_as_they_are";
    if !needs_root(test) || !lacks(test, "docker-registry", Registry::is_installed()) {
        return;
    }
    let registry = Registry::start();
    let base = Tar::new()
        .directory("./", 0o751)
        .directory("tmp/", 0o1777)
        .pax(&[("uid", b"7"), ("SCHILY.xattr.user.kept", b"yes")])
        .directory("deep/", 0o700)
        .directory("deep/er/", 0o2750)
        .directory("gone/", 0o711)
        .finish();
    let middle = Tar::new()
        .file("tmp/a", 0o644, b"a")
        .file("deep/er/b", 0o644, b"b")
        .file(".wh.gone", 0o644, b"")
        .file("new/file", 0o644, b"n")
        .finish();
    let top = Tar::new().file("deep/c", 0o644, b"c").file("gone/d", 0o644, b"d").finish();
    let [base, middle, top] = [base, middle, top].map(|tar| gzip(&tar));
    let two = Image::new(vec![base.clone(), middle.clone()]);
    let three = Image::new(vec![base, middle, top]);
    registry.push_image("sparse", "3", &three).await;
    registry.push_image("sparse", "2", &two).await;

    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open");
    let expected =
        [Some((0o751, 0)), Some((0o1777, 0)), Some((0o700, 7)), Some((0o2750, 0)), None, None];
    // What lies below `gone` is hidden, and `new` is nowhere else: theirs are right.
    assert_eq!(corrected(&store, &registry.name("sparse:3")).await, expected);
    drop(store);
    // Layers that are here already, in another stack.
    let store = ImageStore::open(root.path()).expect("open");
    assert_eq!(corrected(&store, &registry.name("sparse:2")).await, expected);
    assert_eq!(store.check(false).expect("check"), []);
}
