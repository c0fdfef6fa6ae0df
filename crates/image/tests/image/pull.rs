//! Pulls from a real registry into a real store: needs root (owners, whiteouts) and Debian's
//! docker-registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::registry::{self, DOCKER_MANIFEST, INDEX, Image, Registry, gzip, plain, zstd};
use crate::support::{Tar, lacks, needs_root};
use davit_image::{
    ChangeKind, ImageStore, ImageUser, Progress, PullOptions, Pulled, RegistryAuth, Removed,
};
use davit_types::{ContainerId, Kind, Platform, Reference, Result};
use serde_json::json;

struct Fixture {
    registry: Registry,
    root: tempfile::TempDir,
    store: ImageStore,
}

/// `None`, and a word about it, when the test can't run here.
fn fixture(test: &str) -> Option<Fixture> {
    if !needs_root(test) || !lacks(test, "docker-registry", Registry::is_installed()) {
        return None;
    }
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    Some(Fixture { registry: Registry::start(), root, store })
}

impl Fixture {
    async fn pull(&self, name: &str, options: PullOptions) -> (Result<Pulled>, Vec<Progress>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let reference = Reference::parse_familiar(&self.registry.name(name)).expect("reference");
        let report = move |line| seen.lock().expect("lock").push(line);
        let result = self.store.pull(&reference, options, report).await;
        let lines = lines.lock().expect("lock").clone();
        (result, lines)
    }

    async fn get(&self, name: &str) -> Pulled {
        self.pull(name, PullOptions::default()).await.0.expect("pull")
    }

    /// What must not be left when nothing is in use, finished downloads of failed pulls aside.
    fn assert_nothing_left(&self) {
        let list = |path: &str| -> Vec<PathBuf> {
            let entries = fs::read_dir(self.root.path().join(path)).expect(path);
            entries.map(|entry| entry.expect("entry").path()).collect()
        };
        // A layer that was under way when another failed may just be writing its record.
        let unfinished = || [list("image/ingest"), list("image/partial")].concat();
        let mut rounds = 0;
        loop {
            self.store.discard_unfinished().expect("discard");
            if unfinished().is_empty() {
                break;
            }
            rounds += 1;
            assert!(rounds < 1000, "{:?}", unfinished());
            std::thread::sleep(Duration::from_millis(10));
        }
        for path in ["image/tags", "image/layers", "image/blobs/sha256", "overlay2/l"] {
            assert_eq!(list(path), Vec::<PathBuf>::new(), "{path}");
        }
        assert_eq!(list("overlay2").len(), 1, "only l/");
        let mut waited = 0;
        while !list("trash").is_empty() {
            waited += 1;
            assert!(waited < 6000, "trash not emptied");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Bytes that don't compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn words(lines: &[Progress]) -> Vec<String> {
    let told = lines.iter().filter(|line| line.status != "Downloading");
    told.map(|line| line.status.clone()).collect()
}

fn base() -> Vec<u8> {
    Tar::new()
        .directory("etc/", 0o755)
        .file("etc/passwd", 0o644, b"root")
        .directory("bin/", 0o711)
        .file("bin/true", 0o755, b"true")
        .file("old", 0o644, b"old")
        .finish()
}

fn top() -> Vec<u8> {
    Tar::new().file(".wh.old", 0o644, b"").file("new", 0o644, b"new").finish()
}

#[tokio::test]
async fn root_registry_pull_is_told_as_docker_tells_it() {
    let Some(fixture) = fixture("root_registry_pull_is_told_as_docker_tells_it") else { return };
    let layer = gzip(&base());
    let short = registry::digest(&layer.compressed)[7..19].to_owned();
    let target = fixture.registry.push_image("bb", "latest", &Image::new(vec![layer])).await;

    let (pulled, lines) = fixture.pull("bb", PullOptions::default()).await;
    let pulled = pulled.expect("pull");
    assert_eq!(pulled.digest.as_str(), target["digest"]);
    let name = fixture.registry.name("bb:latest");
    let digest = format!("Digest: {}", pulled.digest);
    let downloaded = format!("Status: Downloaded newer image for {name}");
    assert_eq!(
        words(&lines),
        [
            "Pulling from bb",
            "Pulling fs layer",
            "Download complete",
            "Extracting",
            "Pull complete",
            &digest,
            &downloaded
        ]
    );
    assert_eq!(lines[0].id.as_deref(), Some("latest"));
    assert!(lines[1..lines.len() - 2].iter().all(|line| line.id.as_ref() == Some(&short)));
    let extracting = lines.iter().find(|line| line.status == "Extracting").expect("a line");
    assert_eq!((extracting.current, extracting.units.as_deref()), (Some(1), Some("s")));

    let (again, lines) = fixture.pull("bb", PullOptions::default()).await;
    let current = format!("Status: Image is up to date for {name}");
    assert_eq!(again.expect("pull").status_line, current);
    assert_eq!(words(&lines), ["Pulling from bb", &digest, &current]);

    let image = fixture.store.resolve(&name).expect("resolve");
    assert_eq!(image.id, pulled.digest);
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    assert_eq!(image.repo_digests, [format!("{}@{}", fixture.registry.name("bb"), image.id)]);
    assert_eq!(image.config.config.cmd, Some(vec!["true".to_owned()]));
    for id in [image.id.as_str(), &image.id.hex()[..12], &image.repo_digests[0]] {
        assert_eq!(fixture.store.resolve(id).expect(id).id, image.id);
    }
    let history = fixture.store.history(&name).expect("history");
    assert_eq!((history.len(), history[0].created_by.as_str()), (1, "made by a test"));
    assert!(history[0].size > 0 && history[0].size == image.unpacked_size);
}

#[tokio::test]
async fn root_registry_every_compression_and_manifest_kind_is_unpacked() {
    let Some(fixture) = fixture("root_registry_every_compression_and_manifest_kind_is_unpacked")
    else {
        return;
    };
    for (name, layers, kind) in [
        ("oci", vec![gzip(&base()), zstd(&top())], registry::MANIFEST),
        ("docker", vec![plain(&base()), gzip(&top())], DOCKER_MANIFEST),
    ] {
        let image = Image { media_type: kind, ..Image::new(layers) };
        fixture.registry.push_image(name, "t", &image).await;
        let (pulled, lines) = fixture.pull(&format!("{name}:t"), PullOptions::default()).await;
        pulled.expect("pull");
        if name == "docker" {
            // The same diff ids, other blobs: nothing to do.
            assert_eq!(lines.len(), 3, "{lines:?}");
        }
    }
    let image = fixture.store.resolve(&fixture.registry.name("docker:t")).expect("resolve");
    assert_eq!(image.target.media_type, DOCKER_MANIFEST);
    let id = ContainerId::from_bytes([1; 32]);
    let layer = fixture.store.create_container_layer(&id, &image).expect("container layer");
    let find = |name: &str| {
        let places = layer.lower.iter().map(|lower| layer.layers_dir.join(lower).join(name));
        places.into_iter().find(|place| place.symlink_metadata().is_ok())
    };
    assert_eq!(fs::read(find("new").expect("new")).expect("read"), b"new");
    assert!(find("etc/mtab").expect("init layer").is_symlink());
    assert!(find(".dockerenv").is_some() && find("dev/console").is_some());
    assert_eq!(layer.lower.len(), 3);
}

#[tokio::test]
async fn root_registry_index_gives_the_platform_asked_for() {
    let Some(fixture) = fixture("root_registry_index_gives_the_platform_asked_for") else { return };
    let mut entries = Vec::new();
    for (architecture, marker) in [("arm64", "a"), ("amd64", "b")] {
        let tar = Tar::new().file(marker, 0o644, marker.as_bytes()).finish();
        let image = Image { architecture, ..Image::new(vec![gzip(&tar)]) };
        let mut descriptor = fixture.registry.push_image("multi", architecture, &image).await;
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        entries.push(descriptor);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let target = fixture.registry.push_manifest("multi", "latest", INDEX, &index).await;
    let asked = |platform: &str| PullOptions {
        platform: Some(Platform::parse(platform).expect("platform")),
        ..PullOptions::default()
    };
    let (pulled, _) = fixture.pull("multi", asked("linux/arm64")).await;
    assert_eq!(pulled.expect("pull").digest.as_str(), target["digest"]);
    let name = fixture.registry.name("multi");
    let image = fixture.store.resolve(&name).expect("resolve");
    assert_eq!(
        (image.id.as_str(), image.platform.architecture.as_str()),
        (target["digest"].as_str().expect("digest"), "arm64")
    );
    assert_eq!(image.manifest.digest.as_str(), entries[0]["digest"]);
    let amd64 = Platform::parse("linux/amd64").expect("platform");
    let error = fixture.store.resolve_platform(&name, &amd64).expect_err("not here");
    assert!(error.message().contains("was found but does not match the specified platform"));

    fixture.pull("multi", asked("linux/amd64")).await.0.expect("pull");
    assert_eq!(fixture.store.resolve_platform(&name, &amd64).expect("both").platform, amd64);
    let reopened = ImageStore::open(fixture.root.path()).expect("open");
    assert_eq!(reopened.resolve_platform(&name, &amd64).expect("kept").platform, amd64);

    let (error, _) = fixture.pull("multi", asked("linux/s390x")).await;
    let error = error.expect_err("no such platform");
    assert!(error.message().starts_with("no matching manifest for linux/s390x"), "{error:#}");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn root_registry_errors_are_dockers() {
    let Some(fixture) = fixture("root_registry_errors_are_dockers") else { return };
    fixture.registry.push_image("bb", "latest", &Image::new(vec![gzip(&base())])).await;
    for name in ["nosuch:latest", "bb:v9"] {
        let (error, lines) = fixture.pull(name, PullOptions::default()).await;
        let error = error.expect_err(name);
        let full = fixture.registry.name(name);
        let text = format!("failed to resolve reference \"{full}\": {full}: not found");
        assert_eq!((format!("{error:#}"), error.kind()), (text, Kind::NotFound));
        assert!(lines.is_empty());
    }
    let closed = format!("127.0.0.1:{}", registry::free_port());
    let reference = Reference::parse_familiar(&format!("{closed}/x")).expect("reference");
    let error = fixture.store.pull(&reference, PullOptions::default(), |_| {}).await;
    let error = error.expect_err("nobody listens");
    let text = format!(
        "failed to resolve reference \"{closed}/x:latest\": failed to do request: \
         Head \"http://{closed}/v2/x/manifests/latest\": dial tcp {closed}: connect: connection refused"
    );
    assert_eq!(format!("{error:#}"), text);
    let missing = fixture.store.resolve("nosuch").expect_err("nothing pulled");
    assert_eq!(
        (missing.message(), missing.kind()),
        ("No such image: nosuch:latest", Kind::NotFound)
    );
    fixture.assert_nothing_left();
}

#[tokio::test]
async fn root_registry_bad_layers_leave_nothing() {
    let Some(fixture) = fixture("root_registry_bad_layers_leave_nothing") else { return };
    let noise = noise(300_000);
    let big = |marker: &str| Tar::new().file(marker, 0o644, &noise).finish();
    let hostile = Tar::new().file("fine", 0o644, b"").file("../escape", 0o644, b"!").finish();
    let mut truncated = gzip(&big("truncated"));
    truncated.compressed.truncate(200_000);
    let mut other_tar = gzip(&big("a"));
    other_tar.diff_id = registry::digest(b"something else");
    for (name, layer, text) in [
        ("hostile", gzip(&hostile), "../escape"),
        ("truncated", truncated, "failed to pull layer"),
        ("diffid", other_tar, "wrong diff id"),
        ("nogzip", plain(b"this is no archive at all"), "failed to pull layer"),
    ] {
        fixture.registry.push_image(name, "t", &Image::new(vec![gzip(&base()), layer])).await;
        let (error, _) = fixture.pull(&format!("{name}:t"), PullOptions::default()).await;
        let error = format!("{:#}", error.expect_err(name));
        assert!(error.contains(text), "{name}: {error}");
        fixture.assert_nothing_left();
    }
    let good = gzip(&big("spoiled"));
    fixture.registry.push_image("spoiled", "t", &Image::new(vec![good.clone()])).await;
    let file = fixture.registry.blob_file(&registry::digest(&good.compressed));
    let mut bytes = fs::read(&file).expect("blob");
    bytes[150_000] ^= 1;
    fs::write(&file, &bytes).expect("spoil blob");
    let (error, _) = fixture.pull("spoiled:t", PullOptions::default()).await;
    let error = format!("{:#}", error.expect_err("wrong digest"));
    assert!(error.contains("verification failed for digest sha256:"), "{error}");
    fixture.assert_nothing_left();
}

#[tokio::test]
async fn root_registry_cancelled_and_concurrent_pulls_share_and_clean_up() {
    let test = "root_registry_cancelled_and_concurrent_pulls_share_and_clean_up";
    let Some(fixture) = fixture(test) else { return };
    let noise = vec![7; 40 << 20];
    let layers = vec![plain(&Tar::new().file("big", 0o644, &noise).finish()), gzip(&base())];
    fixture.registry.push_image("big", "t", &Image::new(layers)).await;
    let cancelled = fixture.pull("big:t", PullOptions::default());
    tokio::time::timeout(Duration::from_millis(15), cancelled).await.expect_err("still running");
    let (a, b) = tokio::join!(fixture.get("big:t"), fixture.get("big:t"));
    assert_eq!(a.digest, b.digest);
    let layers = fs::read_dir(fixture.root.path().join("overlay2")).expect("overlay2").count();
    assert_eq!(layers, 4, "two layers, the init layer, l/");
    let removed = fixture.store.remove(&fixture.registry.name("big:t"), false, true, &[]);
    assert_eq!(removed.expect("remove").len(), 2);
    fixture.assert_nothing_left();
}

#[tokio::test]
async fn root_registry_images_live_as_long_as_they_are_used() {
    let Some(fixture) = fixture("root_registry_images_live_as_long_as_they_are_used") else {
        return;
    };
    let store = &fixture.store;
    fixture
        .registry
        .push_image("bb", "latest", &Image::new(vec![gzip(&base()), gzip(&top())]))
        .await;
    let digest = fixture.get("bb").await.digest;
    let name = fixture.registry.name("bb:latest");
    let target = Reference::parse_familiar("foo/bar:v1").expect("reference");
    store.tag(&name, &target).expect("tag");
    let image = store.resolve("foo/bar:v1").expect("resolve");
    assert_eq!(image.repo_tags.len(), 2);
    let id = ContainerId::from_bytes([9; 32]);
    let layer = store.create_container_layer(&id, &image).expect("container layer");

    let user = |running| ImageUser {
        container_id: id.to_string(),
        image_ref: name.clone(),
        image_id: digest.to_string(),
        running,
    };
    let removed = store.remove("foo/bar:v1", false, true, &[user(true)]).expect("untag");
    assert_eq!(removed, [Removed::Untagged("foo/bar:v1".to_owned())]);
    let error = store.remove(&name, false, true, &[user(false)]).expect_err("in use");
    assert_eq!(error.kind(), Kind::Conflict);
    let removed = store.remove(&name, true, true, &[user(true)]).expect("forced");
    assert_eq!(removed, [Removed::Untagged(name.clone())]);
    let dangling = store.list().expect("list");
    assert!(dangling[0].repo_tags.is_empty() && dangling[0].id == digest);

    let removed = store.remove(digest.as_str(), true, true, &[user(false)]).expect("by id");
    assert_eq!(removed, [Removed::Deleted(digest.to_string())]);
    assert!(store.list().expect("list").is_empty());
    let kept = store.container_layer(&id).expect("the container keeps its layers");
    assert!(kept.lower.iter().all(|lower| kept.layers_dir.join(lower).exists()));

    let reopened = ImageStore::open(fixture.root.path()).expect("open");
    assert_eq!(reopened.container_layers(), std::slice::from_ref(&id));
    assert_eq!(reopened.container_layer(&id).expect("kept"), layer);
    reopened.remove_container_layer(&id).expect("remove");
    fixture.assert_nothing_left();
}

#[tokio::test]
async fn root_registry_changes_of_a_container_are_found() {
    let Some(fixture) = fixture("root_registry_changes_of_a_container_are_found") else { return };
    fixture
        .registry
        .push_image("bb", "latest", &Image::new(vec![gzip(&base()), gzip(&top())]))
        .await;
    let image = fixture.store.resolve(fixture.get("bb").await.digest.as_str()).expect("resolve");
    let id = ContainerId::from_bytes([3; 32]);
    let layer = fixture.store.create_container_layer(&id, &image).expect("container layer");
    assert!(fixture.store.changes(&id).expect("none yet").is_empty());
    let merged = layer.merged.to_str().expect("utf-8");
    let lower: Vec<_> = layer.lower.iter().map(|lower| lower.display().to_string()).collect();
    let script = format!(
        "cd {} && mount -t overlay overlay -o lowerdir={},upperdir={},workdir={} {merged} && cd / && \
         chroot_dir={merged}; test ! -e {merged}/old && cat {merged}/new >/dev/null && \
         echo x > {merged}/etc/added && rm {merged}/new && mkdir {merged}/dir && touch {merged}/dir/f && \
         chmod 700 {merged}/bin/true && rm -r {merged}/bin/ && mkdir {merged}/bin && umount {merged}",
        layer.layers_dir.display(),
        lower.join(":"),
        layer.upper.display(),
        layer.work.display()
    );
    let done = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .status()
        .expect("unshare");
    assert!(done.success(), "overlay mount with these layers");
    let found: Vec<_> = fixture
        .store
        .changes(&id)
        .expect("changes")
        .into_iter()
        .map(|change| (change.path.display().to_string(), change.kind))
        .collect();
    let expected = [
        ("/bin", ChangeKind::Modified),
        ("/bin/true", ChangeKind::Deleted),
        ("/dir", ChangeKind::Added),
        ("/dir/f", ChangeKind::Added),
        ("/etc", ChangeKind::Modified),
        ("/etc/added", ChangeKind::Added),
        ("/new", ChangeKind::Deleted),
    ];
    assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert!(fixture.store.layer_size(&id).expect("size") >= 8192);
    fixture.store.remove_container_layer(&id).expect("remove");
    assert!(!Path::new(merged).exists());
}

#[tokio::test]
async fn root_registry_bad_records_do_not_stop_the_store() {
    let Some(fixture) = fixture("root_registry_bad_records_do_not_stop_the_store") else { return };
    for name in ["a", "b"] {
        let tar = Tar::new().file(name, 0o644, b"").finish();
        fixture.registry.push_image(name, "t", &Image::new(vec![gzip(&tar)])).await;
        fixture.get(&format!("{name}:t")).await;
    }
    let a = fixture.store.resolve(&fixture.registry.name("a:t")).expect("resolve");
    let record = format!("image/layers/{}.json", a.layers[0].directory());
    fs::write(fixture.root.path().join(record), "torn").expect("spoil");
    fs::create_dir(fixture.root.path().join("overlay2/stray")).expect("stray");
    let store = ImageStore::open(fixture.root.path()).expect("open");
    assert_eq!(store.list().expect("list").len(), 1);
    assert!(!fixture.root.path().join("overlay2/stray").exists());
    let reference = Reference::parse_familiar(&fixture.registry.name("a:t")).expect("reference");
    store.pull(&reference, PullOptions::default(), |_| {}).await.expect("pull mends it");
    assert_eq!(store.list().expect("list").len(), 2);
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let auth =
        RegistryAuth { username: "u".into(), password: "secret".into(), ..Default::default() };
    assert!(!format!("{auth:?}").contains("secret"));
}
