//! Pushes: to a real registry, and to a small server that breaks.

use std::fs;
use std::sync::{Arc, Mutex};

use davit_image::{ImageStore, Progress, PullOptions, PushOptions, RegistryAuth};
use davit_types::{Kind, Platform, Reference, Result};
use serde_json::json;

use crate::auth::{Answer, Server, found, repository};
use crate::support::registry::{INDEX, Image, Registry, gzip, plain, zstd};
use crate::support::{Tar, lacks, needs_root};

fn can_run(test: &str) -> bool {
    needs_root(test) && lacks(test, "docker-registry", Registry::is_installed())
}

fn name(text: &str) -> Reference {
    Reference::parse_familiar(text).expect("reference")
}

async fn push(store: &ImageStore, to: &str, options: PushOptions) -> (Result<()>, Vec<Progress>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let report = move |line| seen.lock().expect("lock").push(line);
    let result = store.push(&name(to), options, report).await;
    let lines = lines.lock().expect("lock").clone();
    (result, lines)
}

fn has(lines: &[Progress], status: &str) -> usize {
    lines.iter().filter(|line| line.status == status).count()
}

fn layers() -> Vec<crate::support::registry::Layer> {
    let tar = |name: &str| Tar::new().file(name, 0o644, name.as_bytes()).finish();
    vec![gzip(&tar("a")), zstd(&tar("b")), plain(&tar("c"))]
}

#[tokio::test]
async fn root_registry_item1_what_was_pulled_is_pushed_byte_for_byte() {
    if !can_run("root_registry_item1_what_was_pulled_is_pushed_byte_for_byte") {
        return;
    }
    let (here, there) = (Registry::start(), Registry::start());
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    let source = here.push_image("from", "1", &Image::new(layers())).await;
    let pulled = store.pull(&name(&here.name("from:1")), PullOptions::default(), |_| {}).await;
    let digest = pulled.expect("pull").digest;
    assert_eq!(digest.as_str(), source["digest"]);

    let (far, near) = (there.name("to/app:2"), here.name("other:1"));
    for target in [&far, &near] {
        store.tag(&here.name("from:1"), &name(target)).expect("tag");
    }
    let (result, lines) = push(&store, &far, PushOptions::default()).await;
    result.expect("push");
    let refers = format!("The push refers to repository [{}]", there.name("to/app"));
    assert_eq!(lines[0].status, refers);
    assert_eq!(has(&lines, "Pushed"), 3, "{lines:?}");
    let size = &source["size"];
    assert_eq!(lines[lines.len() - 1].status, format!("2: digest: {digest} size: {size}"));
    for layer in layers() {
        let digest = crate::support::registry::digest(&layer.compressed);
        assert_eq!(fs::read(there.blob_file(&digest)).expect("blob"), layer.compressed);
    }
    let (result, lines) = push(&store, &far, PushOptions::default()).await;
    result.expect("push again");
    assert_eq!(has(&lines, "Layer already exists"), 3, "{lines:?}");
    let (result, lines) = push(&store, &near, PushOptions::default()).await;
    result.expect("push to another repository");
    assert_eq!(has(&lines, "Mounted from from"), 3, "{lines:?}");

    let other = tempfile::tempdir().expect("a directory");
    let other = ImageStore::open(other.path()).expect("open store");
    let pulled = other.pull(&name(&far), PullOptions::default(), |_| {}).await.expect("pull");
    assert_eq!(pulled.digest, digest);
    let (result, _) = push(&store, &there.name("nosuch:1"), PushOptions::default()).await;
    let error = result.expect_err("no such tag");
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(error.message(), format!("tag does not exist: {}", there.name("nosuch:1")));
}

#[tokio::test]
async fn root_registry_item1_an_index_is_pushed_whole_or_its_platform_alone() {
    if !can_run("root_registry_item1_an_index_is_pushed_whole_or_its_platform_alone") {
        return;
    }
    let (here, there) = (Registry::start(), Registry::start());
    let mut entries = Vec::new();
    for architecture in ["arm64", "amd64"] {
        let tar = Tar::new().file(architecture, 0o644, b"x").finish();
        let image = Image { architecture, ..Image::new(vec![gzip(&tar)]) };
        let mut descriptor = here.push_image("multi", architecture, &image).await;
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        entries.push(descriptor);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let index = here.push_manifest("multi", "latest", INDEX, &index).await;
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    let from = here.name("multi:latest");
    let pull = |platform: &str| {
        let platform = Some(Platform::parse(platform).expect("platform"));
        let options = PullOptions { platform, ..PullOptions::default() };
        let (store, from) = (store.clone(), name(&from));
        async move { store.pull(&from, options, |_| {}).await.expect("pull") }
    };
    pull("linux/amd64").await;
    let to = there.name("multi:latest");
    store.tag(&from, &name(&to)).expect("tag");
    let (result, lines) = push(&store, &to, PushOptions::default()).await;
    result.expect("push what is here");
    let aux = lines.iter().find_map(|line| line.aux.clone()).expect("a note");
    assert_eq!(aux["manifestPushedInsteadOfIndex"], true);
    assert_eq!(aux["selectedManifest"]["digest"], entries[1]["digest"]);
    assert_eq!(aux["originalIndex"]["digest"], index["digest"]);

    pull("linux/arm64").await;
    let (result, lines) = push(&store, &to, PushOptions::default()).await;
    result.expect("push all");
    let told = format!("latest: digest: {}", index["digest"].as_str().expect("text"));
    assert!(lines.iter().any(|line| line.status.starts_with(&told)), "{lines:?}");
    let s390x = Some(Platform::parse("linux/s390x").expect("platform"));
    let (result, _) =
        push(&store, &to, PushOptions { platform: s390x, ..Default::default() }).await;
    assert_eq!(result.expect_err("not here").kind(), Kind::NotFound);
}

/// What the breaking server has got.
#[derive(Default)]
struct Session {
    bytes: Vec<u8>,
    opened: usize,
    failed: bool,
}

#[tokio::test]
async fn root_item1_a_broken_upload_goes_on_where_it_broke() {
    if !needs_root("root_item1_a_broken_upload_goes_on_where_it_broke") {
        return;
    }
    let noise: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).rotate_left(at % 31).to_le_bytes())
        .collect();
    let files = repository(&noise);
    let layer = files.values().map(|(bytes, _)| bytes.clone()).max_by_key(Vec::len).expect("layer");
    assert!(layer.len() > 9 << 20, "more than a chunk");
    let from = Server::start(move |request, _| found(&files, &request.path));
    let sessions: Arc<Mutex<[Session; 2]>> = Arc::default();
    let got = Arc::clone(&sessions);
    let to = Server::start(move |request, _| {
        let mut sessions = got.lock().expect("lock");
        // The layer's session and the config's.
        let which = usize::from(request.path.contains("/uploads/1"));
        let session = &mut sessions[which];
        let place = format!("/v2/team/app/blobs/uploads/{which}");
        let held = |session: &Session| format!("0-{}", session.bytes.len().saturating_sub(1));
        match request.method.as_str() {
            "HEAD" => Answer::new("404 Not Found"),
            "POST" => {
                let next = sessions[0].opened.min(1);
                sessions[0].opened += 1;
                Answer::new("202 Accepted")
                    .header("Location", format!("/v2/team/app/blobs/uploads/{next}"))
            }
            "GET" => Answer::new("204 No Content")
                .header("Location", place)
                .header("Range", held(session)),
            "PATCH" => {
                // Once, only half of a later chunk arrives before the server fails.
                if !session.bytes.is_empty() && !std::mem::replace(&mut session.failed, true) {
                    let half = request.raw.len() / 2;
                    session.bytes.extend_from_slice(&request.raw[..half]);
                    return Answer::new("500 Internal Server Error");
                }
                let start = request.headers["content-range"].split('-').next().map(str::to_owned);
                assert_eq!(start, Some(session.bytes.len().to_string()));
                session.bytes.extend_from_slice(&request.raw);
                Answer::new("202 Accepted").header("Location", place)
            }
            _ => Answer::new("201 Created"),
        }
    });
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    let source = format!("{}/team/app", from.address);
    store.pull(&name(&source), PullOptions::default(), |_| {}).await.expect("pull");
    let target = format!("{}/team/app:latest", to.address);
    store.tag(&source, &name(&target)).expect("tag");
    push(&store, &target, PushOptions::default()).await.0.expect("push");
    let sessions = sessions.lock().expect("lock");
    assert!(
        sessions.iter().any(|session| session.bytes == layer),
        "the layer arrived once and whole"
    );
    let resumed = to.seen().iter().filter(|request| request.method == "GET").count();
    assert_eq!(resumed, 1);
}

#[tokio::test]
async fn root_item1_a_push_asks_for_a_token_that_may_push() {
    if !needs_root("root_item1_a_push_asks_for_a_token_that_may_push") {
        return;
    }
    let files = repository(b"x");
    let from = Server::start(move |request, _| found(&files, &request.path));
    let to = Server::start(|request, own| {
        if request.path.starts_with("/token") {
            return Answer::new("200 OK").body(r#"{"token":"t"}"#);
        }
        if request.headers.get("authorization").is_none_or(|value| value != "Bearer t") {
            let challenge = format!(r#"Bearer realm="http://{own}/token",service="reg""#);
            return Answer::new("401 Unauthorized").header("WWW-Authenticate", challenge);
        }
        match request.method.as_str() {
            "HEAD" => Answer::new("200 OK"),
            _ => Answer::new("403 Forbidden"),
        }
    });
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    let source = format!("{}/team/app", from.address);
    store.pull(&name(&source), PullOptions::default(), |_| {}).await.expect("pull");
    let target = format!("{}/mine/app:latest", to.address);
    store.tag(&source, &name(&target)).expect("tag");
    let auth = RegistryAuth { username: "u".into(), password: "p".into(), ..Default::default() };
    let options = PushOptions { auth: Some(auth.clone()), ..Default::default() };
    let (result, lines) = push(&store, &target, options).await;
    let error = format!("{:#}", result.expect_err("the manifest is refused"));
    assert!(error.contains("push access denied"), "{error}");
    assert_eq!(has(&lines, "Layer already exists"), 1);
    let tokens: Vec<_> =
        to.seen().into_iter().filter(|request| request.path.starts_with("/token")).collect();
    assert!(tokens[0].path.ends_with("scope=repository%3Amine%2Fapp%3Apull%2Cpush"), "{tokens:?}");
    assert_eq!(tokens[0].headers["authorization"], "Basic dTpw");

    let login = RegistryAuth { server_address: to.address.clone(), ..auth };
    davit_image::login(&login, &davit_image::RegistryHosts::default())
        .await
        .expect_err("403 on /v2/");
}
