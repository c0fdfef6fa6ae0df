//! Signing in and broken connections, against a small HTTP server that the test writes itself.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use davit_image::{ImageStore, PullOptions, RegistryAuth};
use davit_types::{Kind, Reference};
use serde_json::json;

use crate::support::registry::{MANIFEST, digest, gzip, install_tls_provider};
use crate::support::{Tar, needs_root};

/// A request as the server saw it; header names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// The body's bytes.
    pub(crate) raw: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Close the connection after this many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Answer {
    pub(crate) fn new(status: &'static str) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

type Handler = dyn Fn(&Request, &str) -> Answer + Send + Sync;

pub(crate) struct Server {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves until the test program ends. The handler also gets the server's own address.
    pub(crate) fn start(
        handler: impl Fn(&Request, &str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        install_tls_provider();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let (own, log) = (address.clone(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, own, log) = (Arc::clone(&handler), own.clone(), Arc::clone(&log));
                std::thread::spawn(move || serve(stream, &own, &log, &*handler));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("lock").clone()
    }
}

fn serve(stream: TcpStream, own: &str, log: &Mutex<Vec<Request>>, handler: &Handler) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader) {
        log.lock().expect("lock").push(request.clone());
        let answer = handler(&request, own);
        let mut head =
            format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let body = if request.method == "HEAD" { &[][..] } else { &answer.body };
        let sent = &body[..answer.cut.unwrap_or(body.len()).min(body.len())];
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent)).is_err() {
            return;
        }
        if answer.cut.is_some() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let text = String::from_utf8_lossy(&body).into_owned();
    Some(Request { method, path, headers, body: text, raw: body })
}

/// A repository `team/app` with one image, as the documents and blobs by path.
pub(crate) fn repository(data: &[u8]) -> HashMap<String, (Vec<u8>, &'static str)> {
    let layer = gzip(&Tar::new().file("data", 0o644, data).finish());
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
    });
    let config = serde_json::to_vec(&config).expect("json");
    let describe = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "config": describe(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": [describe(&layer.compressed, layer.media_type)],
    });
    let manifest = serde_json::to_vec(&manifest).expect("json");
    let base = "/v2/team/app";
    HashMap::from([
        (format!("{base}/manifests/latest"), (manifest.clone(), MANIFEST)),
        (format!("{base}/manifests/{}", digest(&manifest)), (manifest, MANIFEST)),
        (format!("{base}/blobs/{}", digest(&config)), (config, "application/octet-stream")),
        (
            format!("{base}/blobs/{}", digest(&layer.compressed)),
            (layer.compressed, "application/octet-stream"),
        ),
    ])
}

pub(crate) fn found(files: &HashMap<String, (Vec<u8>, &'static str)>, path: &str) -> Answer {
    match files.get(path) {
        Some((bytes, kind)) => Answer::new("200 OK")
            .header("Content-Type", *kind)
            .header("Docker-Content-Digest", digest(bytes))
            .body(bytes.clone()),
        None => Answer::new("404 Not Found"),
    }
}

async fn pull(server: &Server, auth: Option<RegistryAuth>) -> davit_types::Result<()> {
    let root = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(root.path()).expect("open store");
    let name = format!("{}/team/app", server.address);
    let reference = Reference::parse_familiar(&name).expect("reference");
    let options = PullOptions { auth, ..PullOptions::default() };
    store.pull(&reference, options, |_| {}).await?;
    store.resolve(&name).map(drop)
}

fn token_server(request: &Request, own: &str) -> Option<Answer> {
    if request.path.starts_with("/token") {
        return Some(Answer::new("200 OK").body(r#"{"token":"t0k3n"}"#));
    }
    let authorized =
        request.headers.get("authorization").is_some_and(|value| value == "Bearer t0k3n");
    let challenge = format!(
        r#"Bearer realm="http://{own}/token",service="reg",scope="repository:team/app:pull""#
    );
    (!authorized).then(|| Answer::new("401 Unauthorized").header("WWW-Authenticate", challenge))
}

#[tokio::test]
async fn root_token_is_fetched_once_and_used_for_everything() {
    if !needs_root("root_token_is_fetched_once_and_used_for_everything") {
        return;
    }
    let files = repository(b"x");
    let server = Server::start(move |request, own| {
        token_server(request, own).unwrap_or_else(|| found(&files, &request.path))
    });
    pull(&server, None).await.expect("anonymous");
    let auth = RegistryAuth { username: "u".into(), password: "p".into(), ..Default::default() };
    pull(&server, Some(auth)).await.expect("with password");
    let auth = RegistryAuth { identity_token: "refresh me".into(), ..Default::default() };
    pull(&server, Some(auth)).await.expect("with identity token");

    let seen = server.seen();
    let tokens: Vec<_> = seen.iter().filter(|request| request.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 3);
    assert_eq!(tokens[0].path, "/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(tokens[0].headers.get("authorization"), None);
    assert_eq!(tokens[1].headers["authorization"], "Basic dTpw");
    assert_eq!(tokens[2].method, "POST");
    assert!(tokens[2].body.contains("grant_type=refresh_token&service=reg"));
    assert!(tokens[2].body.contains("refresh_token=refresh+me"), "{}", tokens[2].body);
}

#[tokio::test]
async fn basic_auth_is_asked_for_by_dockers_words() {
    let files = repository(b"x");
    let server = Server::start(move |request, _| {
        if request.headers.get("authorization").is_some_and(|value| value == "Basic dTpw") {
            return found(&files, &request.path);
        }
        let answer = Answer::new("401 Unauthorized");
        answer.header("WWW-Authenticate", "Basic realm=\"reg\"")
    });
    let error = pull(&server, None).await.expect_err("no credentials");
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(format!("{error:#}").ends_with("no basic auth credentials"), "{error:#}");
    let wrong = RegistryAuth { username: "u".into(), password: "no".into(), ..Default::default() };
    let error = pull(&server, Some(wrong)).await.expect_err("wrong password");
    let text = format!(
        "pull access denied for {}/team/app, repository does not exist or may require 'docker \
         login': denied: requested access to the resource is denied",
        server.address
    );
    assert_eq!((format!("{error:#}"), error.kind()), (text, Kind::NotFound));
}

#[tokio::test]
async fn root_broken_download_is_resumed_where_it_broke() {
    if !needs_root("root_broken_download_is_resumed_where_it_broke") {
        return;
    }
    let noise: Vec<u8> =
        (0..200_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let files = repository(&noise);
    let server = Server::start(move |request, _| {
        let mut answer = found(&files, &request.path);
        if answer.body.len() < 100_000 {
            return answer;
        }
        let total = answer.body.len();
        if let Some(range) = request.headers.get("range") {
            let start = range.trim_start_matches("bytes=").trim_end_matches('-');
            let start: usize = start.parse().expect("a start");
            answer.status = "206 Partial Content";
            answer.body.drain(..start);
            answer = answer.header("Content-Range", format!("bytes {start}-{}/{total}", total - 1));
        }
        answer.cut = Some(total / 3 + 1);
        answer
    });
    pull(&server, None).await.expect("in three pieces");
    let ranges =
        server.seen().iter().filter(|request| request.headers.contains_key("range")).count();
    assert_eq!(ranges, 2);
}

#[tokio::test]
async fn root_authorization_does_not_follow_to_another_host() {
    if !needs_root("root_authorization_does_not_follow_to_another_host") {
        return;
    }
    let files = repository(b"x");
    let blobs = files.clone();
    let storage = Server::start(move |request, _| found(&blobs, &request.path));
    let elsewhere = storage.address.clone();
    let server = Server::start(move |request, own| {
        if let Some(challenge) = token_server(request, own) {
            return challenge;
        }
        if request.path.contains("/blobs/") {
            let place = format!("http://{elsewhere}{}", request.path);
            return Answer::new("307 Temporary Redirect").header("Location", place);
        }
        found(&files, &request.path)
    });
    pull(&server, None).await.expect("pull over a redirect");
    let followed = storage.seen();
    assert_eq!(followed.len(), 2, "config and layer");
    assert!(followed.iter().all(|request| !request.headers.contains_key("authorization")));
}

#[tokio::test]
async fn old_manifests_are_refused_in_clear_words() {
    let server = Server::start(|_, _| {
        let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        Answer::new("200 OK").header("Content-Type", kind).body(r#"{"schemaVersion":1}"#)
    });
    let error = pull(&server, None).await.expect_err("schema 1");
    assert_eq!(error.kind(), Kind::NotImplemented);
    assert!(
        format!("{error:#}").contains("is not supported, please rebuild the image"),
        "{error:#}"
    );
}
