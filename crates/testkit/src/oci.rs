//! OCI images in memory: layers from tar streams, a config and a manifest over them.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Media type of a gzip layer.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Bytes with their type and digest.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Media type.
    pub media_type: &'static str,
    /// `sha256:...` of the data.
    pub digest: String,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Blob {
    /// Computes the digest.
    pub fn new(media_type: &'static str, data: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&data), data }
    }

    /// The OCI descriptor.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.data.len() })
    }
}

/// A layer: the compressed blob, and the digest of what is in it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What a registry serves.
    pub blob: Blob,
    /// Digest of the tar stream.
    pub diff_id: String,
}

impl Layer {
    /// Compresses a tar stream.
    pub fn gzip(tar: &[u8]) -> Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(tar)?;
        let blob = Blob::new(LAYER_GZIP, encoder.finish()?);
        Ok(Self { blob, diff_id: digest(tar) })
    }
}

/// An image as a registry holds it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Bottom first.
    pub layers: Vec<Layer>,
    /// The config.
    pub config: Blob,
    /// The manifest.
    pub manifest: Blob,
}

impl Image {
    /// An image of `layers` for this machine, whose containers are configured by `config` (`Cmd`,
    /// `Env` and so on).
    pub fn new(layers: Vec<Layer>, config: &Value) -> Result<Self> {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let created = "2026-01-01T00:00:00Z";
        let history: Vec<Value> = (0..layers.len())
            .map(|number| json!({ "created": created, "created_by": format!("layer {number}") }))
            .collect();
        let document = json!({
            "created": created,
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        let config = Blob::new(CONFIG, serde_json::to_vec(&document)?);
        let descriptors: Vec<Value> = layers.iter().map(|layer| layer.blob.descriptor()).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": descriptors,
        });
        let manifest = Blob::new(MANIFEST, serde_json::to_vec(&manifest)?);
        Ok(Self { layers, config, manifest })
    }
}

/// `sha256:` and the hexadecimal digest of `data`.
pub fn digest(data: &[u8]) -> String {
    let hex: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// This machine's architecture in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
