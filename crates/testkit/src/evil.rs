//! Images that are broken, or that try to write outside their own root.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tar::EntryType;

use crate::oci::{Blob, Image, LAYER_GZIP, Layer};
use crate::rootfs::{Owner, Tar};

/// A file that appears on the host if an image escapes.
pub const ESCAPED: &str = "tmp/davit-escaped";

/// The broken images, in the registry as `evil/<name>`.
pub const NAMES: [&str; 7] = [
    "wrong-layer-digest",
    "wrong-config-digest",
    "wrong-manifest-digest",
    "truncated-gzip",
    "dotdot",
    "absolute-symlink",
    "hardlink-outside",
];

/// Makes the image `name`.
pub fn image(name: &str) -> Result<Image> {
    let mut layer = Layer::gzip(&contents(name)?)?;
    if name == "truncated-gzip" {
        let half = layer.blob.data.len() / 2;
        layer.blob = Blob::new(LAYER_GZIP, layer.blob.data[..half].to_vec());
    }
    // Its own command makes the config, and so the image, differ from the others.
    Image::new(vec![layer], &json!({ "Cmd": ["/bin/sh"], "Labels": { "evil": name } }))
}

/// Damages the registry's copy of what was pushed, where that is the image's point.
pub fn damage(name: &str, image: &Image, storage: &Path) -> Result<()> {
    match name {
        // The time field of the gzip header: the data still inflates.
        "wrong-layer-digest" => change(storage, &image.layers[0].blob.digest, |data| {
            data[4] ^= 1;
        }),
        "wrong-config-digest" => change(storage, &image.config.digest, |data| {
            replace(data, b"2026-01-01", b"2026-01-02");
        }),
        // A space after the opening brace's place keeps the JSON and its length.
        "wrong-manifest-digest" => change(storage, &image.manifest.digest, |data| {
            replace(data, b"\"schemaVersion\":2", b"\"schemaversion\":2");
        }),
        _ => Ok(()),
    }
}

fn contents(name: &str) -> Result<Vec<u8>> {
    let file = Owner(0o644, 0, 0);
    let mut tar = Tar::new();
    tar.dir("bin", Owner(0o755, 0, 0))?;
    // Incompressible enough for the truncation to hit data, not the trailer; different per name.
    let noise: Vec<u8> = (0..200_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .chain(name.bytes())
        .collect();
    tar.file("bin/noise", file, &noise)?;
    let up = "../".repeat(12);
    match name {
        "dotdot" => tar.file(&format!("{up}{ESCAPED}"), file, b"x")?,
        "absolute-symlink" => {
            tar.symlink("outside", "/")?;
            tar.symlink("above", &up)?;
            tar.file(&format!("outside/{ESCAPED}"), file, b"x")?;
            tar.file(&format!("above/{ESCAPED}"), file, b"x")?;
        }
        "hardlink-outside" => {
            let target = format!("{up}etc/hostname");
            tar.entry(EntryType::Link, "stolen", Some(&target), file, b"")?;
        }
        _ => {}
    }
    tar.finish()
}

fn change(storage: &Path, digest: &str, edit: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let hex = digest.strip_prefix("sha256:").context("a sha256 digest")?;
    let path = storage.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut data = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let before = data.clone();
    edit(&mut data);
    ensure!(data != before && data.len() == before.len(), "{digest} was not damaged");
    fs::write(&path, data).with_context(|| format!("write {}", path.display()))
}

fn replace(data: &mut [u8], from: &[u8], to: &[u8]) {
    if let Some(at) = data.windows(from.len()).position(|window| window == from) {
        data[at..at + to.len()].copy_from_slice(to);
    }
}
