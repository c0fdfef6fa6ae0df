//! One flipped byte anywhere costs at most what it is part of, and a pull heals it.

use std::fs;
use std::path::{Path, PathBuf};

use davit_image::{ImageStore, PullOptions, PushOptions};
use davit_types::Reference;

use crate::support::registry::{Image, Registry, gzip, zstd};
use crate::support::{Tar, lacks, needs_root};

/// Cases in CI; `DAVIT_TEST_FLIPS` for more.
const FLIPS: usize = 60;

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

async fn pull(store: &ImageStore, name: &str) {
    let reference = Reference::parse_familiar(name).expect("reference");
    store.pull(&reference, PullOptions::default(), |_| {}).await.expect("pull");
}

#[tokio::test]
async fn root_registry_item7_a_flipped_byte_costs_one_object_and_a_pull_heals_it() {
    let test = "root_registry_item7_a_flipped_byte_costs_one_object_and_a_pull_heals_it";
    if !needs_root(test) || !lacks(test, "docker-registry", Registry::is_installed()) {
        return;
    }
    let registry = Registry::start();
    let root = tempfile::tempdir().expect("a directory");
    let names = ["a:1", "b:1"].map(|name| registry.name(name));
    for (at, name) in ["a", "b"].iter().enumerate() {
        let tar = |file: &str| Tar::new().file(file, 0o644, name.as_bytes()).finish();
        let layers = vec![gzip(&tar("x")), zstd(&tar(&format!("y{at}")))];
        registry.push_image(name, "1", &Image::new(layers)).await;
    }
    let store = ImageStore::open(root.path()).expect("open");
    for name in &names {
        pull(&store, name).await;
    }
    drop(store);
    let flips = std::env::var("DAVIT_TEST_FLIPS").ok().and_then(|text| text.parse().ok());
    let mut random = 7_u64;
    for case in 0..flips.unwrap_or(FLIPS) {
        let mut places = Vec::new();
        files(&root.path().join("image"), &mut places);
        places.sort();
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = &places[usize::try_from(random >> 33).expect("small") % places.len()];
        let mut bytes = fs::read(place).expect("read");
        let at = usize::try_from(random >> 40).expect("small") % bytes.len();
        bytes[at] ^= 1 << (random >> 61);
        fs::write(place, &bytes).expect("flip");
        let what = format!("case {case}: byte {at} of {}", place.display());

        let store = ImageStore::open(root.path()).expect(&what);
        let whole = names.iter().filter(|name| store.resolve(name).is_ok()).count();
        assert!(whole >= 1, "{what}: both images are gone");
        let found = store.check(true).expect(&what);
        assert!(whole == 2 || !found.is_empty(), "{what}: lost without a word");
        for name in &names {
            pull(&store, name).await;
            assert_eq!(store.resolve(name).expect(&what).layers.len(), 2, "{what}");
        }
        assert_eq!(store.check(true).expect(&what), [], "{what}: {found:?}");
        let plan = store.plan_save(&names, &[]).expect(&what);
        plan.write(std::io::sink()).expect(&what);
        drop((plan, store));
    }
}

#[tokio::test]
async fn root_registry_item7_a_damaged_blob_is_neither_pushed_nor_saved() {
    let test = "root_registry_item7_a_damaged_blob_is_neither_pushed_nor_saved";
    if !needs_root(test) || !lacks(test, "docker-registry", Registry::is_installed()) {
        return;
    }
    let (registry, other) = (Registry::start(), Registry::start());
    let root = tempfile::tempdir().expect("a directory");
    let layer = gzip(&Tar::new().file("x", 0o644, &[b'x'; 5000]).finish());
    let digest = crate::support::registry::digest(&layer.compressed);
    registry.push_image("a", "1", &Image::new(vec![layer.clone()])).await;
    let store = ImageStore::open(root.path()).expect("open");
    let (from, to) = (registry.name("a:1"), other.name("a:1"));
    let target = Reference::parse_familiar(&to).expect("reference");
    pull(&store, &from).await;
    store.tag(&from, &target).expect("tag");
    let place = root.path().join("image/blobs/sha256").join(digest.split_once(':').expect("hex").1);
    let flip = || {
        let mut bytes = fs::read(&place).expect("read");
        bytes[20] ^= 1;
        fs::write(&place, &bytes).expect("flip");
    };
    let names = [from.clone()];

    flip();
    let pushed = store.push(&target, PushOptions::default(), |_| {}).await;
    let error = format!("{:#}", pushed.expect_err("damaged"));
    assert!(error.contains(&format!("blob {digest} is damaged")), "{error}");
    assert!(error.contains("pull the image again"), "{error}");
    assert!(!other.blob_file(&digest).exists(), "it is not in the registry");
    pull(&store, &from).await;

    flip();
    let saved = store.plan_save(&names, &[]).expect("plan").write(std::io::sink());
    let error = format!("{:#}", saved.expect_err("damaged"));
    assert!(error.contains(&format!("blob {digest} is damaged")), "{error}");
    let Err(missing) = store.plan_save(&names, &[]) else { panic!("it is gone") };
    assert!(missing.to_string().contains(&format!("{digest}: not found")), "{missing:#}");
    pull(&store, &from).await;

    store.plan_save(&names, &[]).expect("plan").write(std::io::sink()).expect("save");
    store.push(&target, PushOptions::default(), |_| {}).await.expect("push");
    assert_eq!(fs::read(other.blob_file(&digest)).expect("blob"), layer.compressed);
}

#[tokio::test]
async fn root_registry_item5_what_nothing_owns_is_found_and_removed() {
    let test = "root_registry_item5_what_nothing_owns_is_found_and_removed";
    if !needs_root(test) || !lacks(test, "docker-registry", Registry::is_installed()) {
        return;
    }
    let registry = Registry::start();
    let root = tempfile::tempdir().expect("a directory");
    let tar = Tar::new().file("x", 0o644, b"x").finish();
    registry.push_image("a", "1", &Image::new(vec![gzip(&tar)])).await;
    let store = ImageStore::open(root.path()).expect("open");
    pull(&store, &registry.name("a:1")).await;
    assert_eq!(store.check(false).expect("check"), []);
    let stray = "0".repeat(64);
    let strays = [
        root.path().join("image/blobs/sha256").join(&stray),
        root.path().join("image/partial").join(&stray),
        root.path().join("overlay2").join(&stray),
    ];
    fs::write(&strays[0], "x").expect("stray");
    fs::write(&strays[1], "x").expect("stray");
    fs::create_dir(&strays[2]).expect("stray");
    std::os::unix::fs::symlink("../gone/diff", root.path().join("overlay2/l/STRAY"))
        .expect("stray");
    let found = store.check(false).expect("check");
    for stray in &strays {
        let named = found.iter().any(|finding| finding.object == stray.display().to_string());
        assert!(named && stray.exists(), "{stray:?}: {found:?}");
    }
    assert!(found.iter().any(|finding| finding.object.ends_with("l/STRAY")));
    assert!(store.check(true).expect("repair").iter().all(|finding| finding.repaired));
    assert_eq!(store.check(false).expect("check"), []);
    assert!(strays.iter().all(|stray| !stray.exists()));
}
