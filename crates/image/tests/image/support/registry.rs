//! Debian's docker-registry on a port of its own, and images made and pushed by hand.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use davit_testkit::paths;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Installed, or unpacked into the tests' cache.
const PROGRAM: &str = "docker-registry";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A running registry; it ends with this value.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
    pub(crate) storage: tempfile::TempDir,
    client: reqwest::Client,
}

impl Registry {
    /// Whether there is one to run.
    pub(crate) fn is_installed() -> bool {
        paths::program(PROGRAM).is_some()
    }

    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Speaks TLS as `localhost`.
    pub(crate) fn start_tls() -> Self {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/image/data/localhost");
        Self::start_with(&format!("  tls:\n    certificate: {data}.crt\n    key: {data}.key\n"))
    }

    fn start_with(more: &str) -> Self {
        let storage = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {address}\n{more}",
            storage.path().display()
        );
        let file = storage.path().join("config.yml");
        std::fs::write(&file, config).expect("write config");
        let child = Command::new(paths::program_or_name(PROGRAM))
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start docker-registry");
        let started = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "registry does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        let client = reqwest::Client::builder().no_proxy();
        install_tls_provider();
        Self { child, address, storage, client: client.build().expect("client") }
    }

    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    pub(crate) async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.address);
        let opened = self.client.post(url).send().await.expect("open upload");
        let place = opened.headers()["Location"].to_str().expect("text").to_owned();
        let separator = if place.contains('?') { '&' } else { '?' };
        let url = format!("{place}{separator}digest={digest}");
        let done = self.client.put(url).body(bytes.to_vec()).send().await.expect("upload");
        assert_eq!(done.status(), 201, "blob not taken");
        json!({ "digest": digest, "size": bytes.len() })
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        manifest: &Value,
    ) -> Value {
        let bytes = serde_json::to_vec(manifest).expect("json");
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.address);
        let request = self.client.put(url).header("Content-Type", kind).body(bytes.clone());
        let done = request.send().await.expect("push manifest");
        assert_eq!(done.status(), 201, "{}", done.text().await.unwrap_or_default());
        json!({ "mediaType": kind, "digest": digest(&bytes), "size": bytes.len() })
    }

    /// Pushes an image of these layers; returns the descriptor of its manifest.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str, image: &Image<'_>) -> Value {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let mut descriptor = self.push_blob(repository, &layer.compressed).await;
            descriptor["mediaType"] = json!(layer.media_type);
            layers.push(descriptor);
        }
        let config = json!({
            "architecture": image.architecture, "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": { "Cmd": ["true"] },
            "rootfs": { "type": "layers", "diff_ids": image.layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>() },
            "history": image.layers.iter().map(|_| json!({ "created_by": "made by a test" })).collect::<Vec<_>>(),
        });
        let config = serde_json::to_vec(&config).expect("json");
        let mut descriptor = self.push_blob(repository, &config).await;
        descriptor["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": image.media_type, "config": descriptor, "layers": layers,
        });
        self.push_manifest(repository, tag, image.media_type, &manifest).await
    }

    /// Where the registry keeps a blob, to spoil it.
    pub(crate) fn blob_file(&self, digest: &str) -> std::path::PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let root = self.storage.path().join("docker/registry/v2/blobs/sha256");
        root.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An image to push.
pub(crate) struct Image<'a> {
    pub(crate) layers: Vec<Layer>,
    pub(crate) architecture: &'a str,
    pub(crate) media_type: &'a str,
}

impl Image<'_> {
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        Image { layers, architecture: "amd64", media_type: MANIFEST }
    }
}

/// A layer to push.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) compressed: Vec<u8>,
    pub(crate) diff_id: String,
    pub(crate) media_type: &'static str,
}

pub(crate) fn gzip(tar: &[u8]) -> Layer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).expect("gzip");
    Layer {
        compressed: encoder.finish().expect("gzip"),
        diff_id: digest(tar),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
    }
}

pub(crate) fn zstd(tar: &[u8]) -> Layer {
    Layer {
        compressed: zstd::encode_all(tar, 3).expect("zstd"),
        diff_id: digest(tar),
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

pub(crate) fn plain(tar: &[u8]) -> Layer {
    Layer {
        compressed: tar.to_vec(),
        diff_id: digest(tar),
        media_type: "application/vnd.oci.image.layer.v1.tar",
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    davit_types::Digest::from_sha256(Sha256::digest(bytes)).to_string()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("address").port()
}

/// The test's own HTTP client needs the provider named as well.
pub(crate) fn install_tls_provider() {
    rustls::crypto::ring::default_provider().install_default().ok();
}
