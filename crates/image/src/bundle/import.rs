//! `docker import`: a tar of a file system becomes an image of one layer.

use std::io::{self, Read};

use davit_types::{Context as _, Digest, Platform, Reference, Result};
use serde_json::json;

use super::change;
use super::commit::{assemble, new_layer, run_config};
use super::scratch::Scratch;
use crate::config::RunConfig;
use crate::image::Descriptor;
use crate::pull::layer::decompress;
use crate::store::ImageStore;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What an import adds to the tar.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Free text for the history.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// What it runs on; the host's when absent.
    pub platform: Option<Platform>,
    /// The image's name; without one it is dangling.
    pub name: Option<Reference>,
}

impl ImageStore {
    /// Makes an image of a tar, plain or compressed.
    ///
    /// # Errors
    /// A broken tar, an instruction that makes no sense, a failing file system.
    pub fn import(
        &self,
        reader: impl Read + Send + 'static,
        options: &ImportOptions,
    ) -> Result<Digest> {
        let mut config = RunConfig::default();
        for line in &options.changes {
            change::apply(&mut config, line)?;
        }
        let mut scratch = Scratch::new(&self.inner)?;
        let layer = new_layer(&mut scratch, |out| {
            let mut plain = decompress(reader)?;
            io::copy(&mut plain, out).context(|| "read the tar").map(drop)
        })?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let now = jiff::Timestamp::now().to_string();
        let mut document = json!({
            "created": now,
            "architecture": platform.architecture,
            "os": platform.os,
            "config": run_config(&config)?,
            "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
            "history": [{ "created": now, "comment": options.message }],
        });
        if !platform.variant.is_empty() {
            document["variant"] = platform.variant.into();
        }
        let document = serde_json::to_vec(&document).context(|| "encode image config")?;
        let blob = Descriptor {
            media_type: LAYER.to_owned(),
            digest: layer.file.digest.clone(),
            size: layer.file.size,
            urls: Vec::new(),
        };
        let made = assemble(document, vec![blob], vec![Some(layer.file.path)], false)?;
        let id = made.target.digest.clone();
        made.publish(self, options.name.as_ref())?;
        Ok(id)
    }
}
