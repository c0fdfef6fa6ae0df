//! Mirrors, rewritten names, certificates: how registries are reached.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use davit_image::{ImageStore, Proxies, PullOptions, RegistryAuth, RegistryHosts, RegistryRule};
use davit_types::{Reference, Result};

use crate::auth::{Answer, Server, found, repository};
use crate::support::registry::{Image, Registry, free_port, gzip};
use crate::support::{Tar, lacks, needs_root};

async fn pull(root: &Path, name: &str, hosts: RegistryHosts) -> Result<()> {
    let store = ImageStore::open(root).expect("open store");
    let reference = Reference::parse_familiar(name).expect("reference");
    let auth = RegistryAuth { username: "u".into(), password: "p".into(), ..Default::default() };
    let options =
        PullOptions { hosts: Arc::new(hosts), auth: Some(auth), ..PullOptions::default() };
    store.pull(&reference, options, |_| {}).await?;
    store.resolve(name).map(drop)
}

fn rule(registry: &str, rule: RegistryRule) -> RegistryHosts {
    RegistryHosts { rules: BTreeMap::from([(registry.to_owned(), rule)]), ..Default::default() }
}

#[tokio::test]
async fn root_item4_a_mirror_of_docker_hub_is_asked_first_and_gets_no_credentials() {
    let test = "root_item4_a_mirror_of_docker_hub_is_asked_first_and_gets_no_credentials";
    if !needs_root(test) {
        return;
    }
    let files = repository(b"x");
    let mirror = Server::start(move |request, _| found(&files, &request.path));
    let root = tempfile::tempdir().expect("a directory");
    let hub_mirrors = vec![format!("http://{}/", mirror.address)];
    let hosts = RegistryHosts { hub_mirrors, ..RegistryHosts::default() };
    // There is no way to Docker Hub from here, and none is needed.
    pull(root.path(), "team/app", hosts).await.expect("from the mirror");
    assert!(mirror.seen().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[tokio::test]
async fn root_item4_mirrors_that_fail_are_passed_over() {
    if !needs_root("root_item4_mirrors_that_fail_are_passed_over") {
        return;
    }
    let files = repository(b"x");
    let documents = files.clone();
    let own = Server::start(move |request, _| found(&files, &request.path));
    let empty = Server::start(|_, _| Answer::new("404 Not Found"));
    let busy = Server::start(|_, _| Answer::new("503 Service Unavailable"));
    // Has the documents under another name, but not the layer.
    let half = Server::start(move |request, _| {
        match request
            .path
            .strip_prefix("/v2/proxy/app/")
            .filter(|_| !request.path.contains("/blobs/"))
        {
            Some(rest) => found(&documents, &format!("/v2/team/app/{rest}")),
            None => Answer::new("404 Not Found"),
        }
    });
    let down = format!("http://127.0.0.1:{}", free_port());
    let mut mirrors = vec![down];
    mirrors.extend([&empty, &busy, &half].map(|server| format!("http://{}", server.address)));
    let rewrite = BTreeMap::from([("team/".to_owned(), "proxy/".to_owned())]);
    let hosts = rule(&own.address, RegistryRule { mirrors, rewrite, ..RegistryRule::default() });
    let root = tempfile::tempdir().expect("a directory");
    pull(root.path(), &format!("{}/team/app", own.address), hosts).await.expect("pull");
    let asked = |server: &Server| server.seen().len();
    assert!(asked(&empty) > 0 && asked(&busy) > 0);
    assert!(half.seen().iter().any(|request| request.path == "/v2/proxy/app/manifests/latest"));
    let own = own.seen();
    assert!(own.iter().all(|request| request.path.contains("/blobs/")), "{own:?}");
    assert!(!own.is_empty());
}

#[tokio::test]
async fn root_registry_item4_authorities_of_a_registry_are_trusted() {
    let test = "root_registry_item4_authorities_of_a_registry_are_trusted";
    if !needs_root(test) || !lacks(test, "docker-registry", Registry::is_installed()) {
        return;
    }
    // The same image twice, behind TLS with a certificate of its own and without.
    let (own, mirror) = (Registry::start(), Registry::start_tls());
    let tar = Tar::new().file("x", 0o644, b"x").finish();
    own.push_image("team/app", "latest", &Image::new(vec![gzip(&tar)])).await;
    let places = ["docker/registry/v2"]
        .map(|part| (own.storage.path().join(part), mirror.storage.path().join(part)));
    for (from, to) in places {
        fs::create_dir_all(to.parent().expect("parent")).expect("directory");
        let copied = std::process::Command::new("cp").arg("-a").args([&from, &to]).status();
        assert!(copied.expect("cp").success());
    }
    let address = mirror.address.replace("127.0.0.1", "localhost");
    let mirrors = vec![format!("https://{address}")];
    let gone = format!("127.0.0.1:{}", free_port());
    let name = format!("{gone}/team/app");
    let certificate = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image/data/authority.crt");
    let root = tempfile::tempdir().expect("a directory");
    let rule_of_own = RegistryRule { mirrors, ..RegistryRule::default() };
    let hosts = rule(&gone, rule_of_own);
    pull(root.path(), &name, hosts.clone()).await.expect_err("its authority is unknown");

    let certificates = tempfile::tempdir().expect("a directory");
    let folder = certificates.path().join(&address);
    fs::create_dir(&folder).expect("folder");
    fs::copy(&certificate, folder.join("ca.crt")).expect("copy");
    let trusting =
        RegistryHosts { certificates: vec![certificates.path().to_owned()], ..hosts.clone() };
    pull(root.path(), &name, trusting).await.expect("with a folder of certificates");
    let mut by_rule = hosts;
    let ca = Some(certificate);
    by_rule.rules.insert(address, RegistryRule { ca, ..RegistryRule::default() });
    let root = tempfile::tempdir().expect("a directory");
    pull(root.path(), &name, by_rule).await.expect("with a rule's file");
}

/// The registry is addressed as 0.0.0.0, which is this machine and no loopback address.
#[tokio::test]
async fn root_item1_proxies_are_used_but_for_those_left_out() {
    if !needs_root("root_item1_proxies_are_used_but_for_those_left_out") {
        return;
    }
    let (files, behind) = (repository(b"x"), repository(b"x"));
    let registry = Server::start(move |request, _| found(&files, &request.path));
    let port = registry.address.rsplit(':').next().expect("port").to_owned();
    let host = format!("0.0.0.0:{port}");
    let beginning = format!("http://{host}");
    let proxy = Server::start(move |request, _| match request.path.strip_prefix(&beginning) {
        Some(path) => found(&behind, path),
        None => Answer::new("502 Bad Gateway"),
    });
    let address = format!("http://me:word@{}", proxy.address);
    let hosts = |none: &str, insecure: bool| RegistryHosts {
        insecure: insecure.then(|| host.clone()).into_iter().collect(),
        proxies: Proxies { http: address.clone(), https: address.clone(), none: none.to_owned() },
        ..RegistryHosts::default()
    };
    let name = format!("{host}/team/app");
    for (none, proxied) in [("", true), ("0.0.0.0", false), ("x.example, 0.0.0.0/8", false)] {
        let (before, straight) = (proxy.seen().len(), registry.seen().len());
        let root = tempfile::tempdir().expect("a directory");
        pull(root.path(), &name, hosts(none, true)).await.expect("pull");
        assert_eq!(proxy.seen().len() > before, proxied, "{none}");
        assert_eq!(registry.seen().len() > straight, !proxied, "{none}");
    }
    let seen = proxy.seen();
    let shown = seen.iter().map(|request| request.headers.get("proxy-authorization"));
    assert!(shown.into_iter().all(|shown| shown.is_some_and(|it| it == "Basic bWU6d29yZA==")));

    // TLS is tunnelled; this proxy makes no tunnels.
    let root = tempfile::tempdir().expect("a directory");
    pull(root.path(), &name, hosts("", false)).await.expect_err("no tunnel");
    let asked =
        |request: &crate::auth::Request| request.method == "CONNECT" && request.path == host;
    assert!(proxy.seen().iter().any(asked), "{:?}", proxy.seen());

    // Loopback is never asked for.
    let before = proxy.seen().len();
    let root = tempfile::tempdir().expect("a directory");
    pull(root.path(), &format!("{}/team/app", registry.address), hosts("", true))
        .await
        .expect("pull");
    assert_eq!(proxy.seen().len(), before);
}
