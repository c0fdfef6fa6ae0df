//! Archives of images and images made here, held against skopeo, tar and Python.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use davit_image::{CommitOptions, ImageStore, ImportOptions, PullOptions, RunConfig};
use davit_testkit::paths;
use davit_types::{ContainerId, Digest, Kind, Reference};

use crate::auth::{Server, found, repository};
use crate::support::registry::{Image, Registry, gzip, plain};
use crate::support::{Tar, lacks, needs_root};

struct Fixture {
    registry: Registry,
    root: tempfile::TempDir,
    store: ImageStore,
}

fn fixture(test: &str) -> Option<Fixture> {
    if !needs_root(test) || !lacks(test, "docker-registry", Registry::is_installed()) {
        return None;
    }
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    Some(Fixture { registry: Registry::start(), root, store })
}

fn name(text: &str) -> Reference {
    Reference::parse_familiar(text).expect("reference")
}

impl Fixture {
    /// Pulls an image of three layers, compressed in three ways, and tags it `app:1`.
    async fn app(&self) -> Digest {
        let tar = |name: &str| Tar::new().file(name, 0o644, name.as_bytes()).finish();
        let base = Tar::new()
            .directory("etc/", 0o755)
            .file("etc/passwd", 0o644, b"root")
            .file("etc/old", 0o644, b"old")
            .directory("gone/", 0o700)
            .file("gone/x", 0o644, b"x")
            .finish();
        let layers = vec![gzip(&base), gzip(&tar("b")), plain(&tar("c"))];
        self.registry.push_image("app", "1", &Image::new(layers)).await;
        let from = name(&self.registry.name("app:1"));
        let digest =
            self.store.pull(&from, PullOptions::default(), |_| {}).await.expect("pull").digest;
        self.store.tag(&from.familiar(), &name("app:1")).expect("tag");
        digest
    }

    fn save(&self, names: &[&str]) -> std::path::PathBuf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let path = self.root.path().join("saved.tar");
        let plan = self.store.plan_save(&names, &[]).expect("plan");
        plan.write(File::create(&path).expect("create")).expect("save");
        path
    }
}

fn other_store() -> (tempfile::TempDir, ImageStore) {
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    (root, store)
}

fn load(store: &ImageStore, path: &Path) -> Vec<davit_image::LoadedImage> {
    store.load(File::open(path).expect("open"), &[]).expect("load")
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(paths::program_or_name(program))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect(program);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn skopeo_copy(from: &str, to: &str, more: &[&str]) {
    run("skopeo", &[&["--insecure-policy", "copy"][..], more, &[from, to]].concat());
}

#[tokio::test]
async fn root_registry_item3_saved_images_load_with_the_same_digests() {
    let test = "root_registry_item3_saved_images_load_with_the_same_digests";
    let Some(fixture) = fixture(test) else { return };
    let digest = fixture.app().await;
    fixture.store.tag("app:1", &name("app:2")).expect("tag");
    let saved = fixture.save(&["app"]);
    let listed = run("tar", &["-tf", saved.to_str().expect("text")]);
    assert!(listed.contains("manifest.json") && listed.contains("oci-layout"), "{listed}");
    let script = "import sys, tarfile; print(len(tarfile.open(sys.argv[1]).getnames()))";
    let counted = run("python3", &["-c", script, saved.to_str().expect("text")]);
    assert_eq!(counted.trim(), listed.lines().count().to_string());

    let (root, store) = other_store();
    let loaded = load(&store, &saved);
    let names: Vec<_> = loaded.iter().filter_map(|image| image.name.clone()).collect();
    assert_eq!(names, ["app:1", "app:2"]);
    assert!(loaded.iter().all(|image| image.id == digest));
    let image = store.resolve("app:2").expect("resolve");
    assert_eq!((image.id, image.layers.len()), (digest.clone(), 3));
    // By ID it has no name, and comes back without one.
    let saved = fixture.save(&[digest.as_str()]);
    let (_root, nameless) = other_store();
    assert_eq!(load(&nameless, &saved)[0].name, None);
    assert!(nameless.resolve(digest.as_str()).expect("dangling").repo_tags.is_empty());
    for left in ["image/load", "image/partial", "image/ingest"] {
        assert_eq!(fs::read_dir(root.path().join(left)).expect(left).count(), 0, "{left}");
    }
}

#[tokio::test]
async fn root_registry_item3_archives_go_to_skopeo_and_come_back() {
    let test = "root_registry_item3_archives_go_to_skopeo_and_come_back";
    let Some(fixture) = fixture(test) else { return };
    if !lacks(test, "skopeo", paths::program("skopeo").is_some()) {
        return;
    }
    let digest = fixture.app().await;
    let saved = fixture.save(&["app:1"]);
    let place = |name: &str| fixture.root.path().join(name).display().to_string();
    // Our archive, as both kinds it is, into a registry: the digest of the OCI one is ours.
    let target = format!("docker://{}", fixture.registry.name("copied:1"));
    let plain = ["--dest-tls-verify=false"];
    let exact = ["--dest-tls-verify=false", "--preserve-digests"];
    skopeo_copy(&format!("oci-archive:{}", saved.display()), &target, &exact);
    let pulled = name(&fixture.registry.name("copied:1"));
    let (_root, store) = other_store();
    let pulled = store.pull(&pulled, PullOptions::default(), |_| {}).await.expect("pull");
    assert_eq!(pulled.digest, digest);
    skopeo_copy(&format!("docker-archive:{}", saved.display()), &target, &plain);
    // What skopeo writes loads here.
    let source = format!("docker://{}", fixture.registry.name("app:1"));
    let from = ["--src-tls-verify=false"];
    let exact = ["--src-tls-verify=false", "--preserve-digests"];
    let (docker, oci) = (place("docker.tar"), place("oci.tar"));
    skopeo_copy(&source, &format!("docker-archive:{docker}:old/app:7"), &from);
    skopeo_copy(&source, &format!("oci-archive:{oci}:new/app:8"), &exact);
    let (_root, store) = other_store();
    let loaded = load(&store, Path::new(&docker));
    assert_eq!(loaded[0].name.as_deref(), Some("old/app:7"));
    let loaded = load(&store, Path::new(&oci));
    assert_eq!((loaded[0].name.as_deref(), &loaded[0].id), (Some("new/app:8"), &digest));
    let (a, b) =
        (store.resolve("old/app:7").expect("old"), store.resolve("new/app:8").expect("new"));
    assert_eq!(a.layers, b.layers);
}

#[tokio::test]
async fn root_registry_item3_bad_archives_are_refused_and_leave_nothing() {
    let test = "root_registry_item3_bad_archives_are_refused_and_leave_nothing";
    let Some(fixture) = fixture(test) else { return };
    fixture.app().await;
    let mut bytes = fs::read(fixture.save(&["app:1"])).expect("read");
    let (root, store) = other_store();
    let refused = |bytes: Vec<u8>| store.load(std::io::Cursor::new(bytes), &[]).expect_err("bad");
    let truncated = refused(bytes[..bytes.len() / 2].to_vec());
    assert!(!truncated.to_string().is_empty());
    let empty = refused(Tar::new().file("x", 0o644, b"y").finish());
    assert_eq!(empty.kind(), Kind::InvalidParameter);
    refused(Tar::new().file("../index.json", 0o644, b"{}").finish());
    refused(b"no archive".repeat(100));
    // A flipped byte in a blob.
    let at = bytes.windows(2).position(|pair| pair == [0x1f, 0x8b]).expect("a gzip layer") + 20;
    bytes[at] ^= 1;
    let error = format!("{:#}", refused(bytes));
    assert!(error.contains("of the archive is sha256:"), "{error}");
    assert!(store.list().expect("list").is_empty());
    store.discard_unfinished().expect("discard");
    for left in ["image/load", "image/partial", "image/ingest", "image/blobs/sha256"] {
        assert_eq!(fs::read_dir(root.path().join(left)).expect(left).count(), 0, "{left}");
    }
}

#[tokio::test]
async fn root_registry_item3_commit_keeps_what_a_container_changed() {
    let test = "root_registry_item3_commit_keeps_what_a_container_changed";
    let Some(fixture) = fixture(test) else { return };
    fixture.app().await;
    let image = fixture.store.resolve("app:1").expect("resolve");
    let id = ContainerId::from_bytes([5; 32]);
    let layer = fixture.store.create_container_layer(&id, &image).expect("container layer");
    let merged = layer.merged.to_str().expect("utf-8");
    let lower: Vec<_> = layer.lower.iter().map(|lower| lower.display().to_string()).collect();
    let script = format!(
        "cd {} && mount -t overlay overlay -o lowerdir={},upperdir={},workdir={} {merged} && cd / && \
         rm {merged}/etc/old && rm -r {merged}/gone && mkdir {merged}/gone && echo n > {merged}/gone/new && \
         echo x > {merged}/etc/added && ln {merged}/etc/added {merged}/etc/linked && \
         chown 12:34 {merged}/etc/passwd && umount {merged}",
        layer.layers_dir.display(),
        lower.join(":"),
        layer.upper.display(),
        layer.work.display()
    );
    let done = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .stdin(Stdio::null())
        .status()
        .expect("unshare");
    assert!(done.success(), "overlay mount with these layers");
    let options = CommitOptions {
        author: "me".to_owned(),
        comment: "why".to_owned(),
        changes: vec!["ENV A=1".to_owned(), "CMD [\"x\"]".to_owned()],
        config: RunConfig { working_dir: "/w".to_owned(), ..RunConfig::default() },
        created_by: "sh".to_owned(),
        name: Some(name("made:1")),
    };
    let made = fixture.store.commit(&id, Some(&image.manifest), &options).expect("commit");
    let image = fixture.store.resolve("made:1").expect("resolve");
    assert_eq!((&image.id, image.layers.len()), (&made, 4));
    assert_eq!(image.config.config.env, Some(vec!["A=1".to_owned()]));
    assert_eq!(
        (image.config.author.as_str(), image.config.config.working_dir.as_str()),
        ("me", "/w")
    );
    let history = fixture.store.history("made:1").expect("history");
    assert_eq!((history.len(), history[0].comment.as_str()), (4, "why"));

    // The layer's own tar, as others read it, and its unpacked tree.
    let saved = fixture.save(&["made:1"]);
    let (_root, other) = other_store();
    assert_eq!(load(&other, &saved)[0].id, made);
    let top = fixture.root.path().join("overlay2").join(image.layers[3].directory()).join("diff");
    assert!(
        fs::symlink_metadata(top.join("etc/old")).expect("whiteout").file_type().is_char_device()
    );
    assert_eq!(fs::read(top.join("gone/new")).expect("new"), b"n\n");
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let (a, b) = (fs::metadata(top.join("etc/added")), fs::metadata(top.join("etc/linked")));
    assert_eq!(a.expect("added").ino(), b.expect("linked").ino());
    assert_eq!(fs::metadata(top.join("etc/passwd")).expect("passwd").uid(), 12);
    let again = ContainerId::from_bytes([6; 32]);
    fixture.store.create_container_layer(&again, &image).expect("a container of it");
    assert!(fixture.store.changes(&again).expect("changes").is_empty());
    let bad = CommitOptions { changes: vec!["RUN x".to_owned()], ..CommitOptions::default() };
    fixture.store.commit(&id, Some(&image.manifest), &bad).expect_err("no such change");
}

#[tokio::test]
async fn root_item3_import_makes_an_image_of_a_tar() {
    if !needs_root("root_item3_import_makes_an_image_of_a_tar") {
        return;
    }
    let (_root, store) = other_store();
    let tar = Tar::new().file("bin/sh", 0o755, b"shell").finish();
    let options = ImportOptions {
        message: "from a test".to_owned(),
        changes: vec!["CMD [\"sh\"]".to_owned()],
        name: Some(name("imported:1")),
        ..ImportOptions::default()
    };
    let plain = store.import(std::io::Cursor::new(tar.clone()), &options).expect("plain");
    let image = store.resolve("imported:1").expect("resolve");
    assert_eq!(image.id, plain);
    assert_eq!(image.config.config.cmd, Some(vec!["sh".to_owned()]));
    assert_eq!(store.history("imported:1").expect("history")[0].comment, "from a test");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar).expect("gzip");
    let packed = packed.finish().expect("gzip");
    store.import(std::io::Cursor::new(packed), &options).expect("compressed");
    assert_eq!(store.resolve("imported:1").expect("resolve").layers, image.layers);
    let error = store.import(std::io::Cursor::new(b"no tar".repeat(200)), &options);
    error.expect_err("no tar");
}

#[tokio::test]
async fn root_item3_a_load_and_pulls_of_one_layer_do_not_disturb_each_other() {
    if !needs_root("root_item3_a_load_and_pulls_of_one_layer_do_not_disturb_each_other") {
        return;
    }
    let files = repository(&vec![7; 20 << 20]);
    let server = Server::start(move |request, _| found(&files, &request.path));
    let source = format!("{}/team/app:latest", server.address);
    let (root, store) = other_store();
    store.pull(&name(&source), PullOptions::default(), |_| {}).await.expect("pull");
    let saved = root.path().join("saved.tar");
    let plan = store.plan_save(std::slice::from_ref(&source), &[]).expect("plan");
    plan.write(File::create(&saved).expect("create")).expect("save");
    drop(plan);
    for _ in 0..3 {
        let (_root, store) = other_store();
        let loading = {
            let (store, saved) = (store.clone(), saved.clone());
            tokio::task::spawn_blocking(move || load(&store, &saved))
        };
        let pulled = store.pull(&name(&source), PullOptions::default(), |_| {}).await;
        let loaded = loading.await.expect("load");
        assert_eq!(loaded[0].id, pulled.expect("pull").digest);
        store.resolve(&source).expect("resolve");
    }
}
