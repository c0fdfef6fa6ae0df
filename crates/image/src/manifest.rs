//! Manifests and indexes: the documents between a tag and its layers.
//!
//! They are kept and served as raw bytes; this reads out of them what a pull and a start need.

use davit_types::{Context as _, Digest, Error, Kind, Platform, Result};
use serde::Deserialize;

use crate::image::Descriptor;

/// Media types asked for, the wanted ones first.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*";

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A manifest or an index, read.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Manifest),
}

/// A list of manifests, one per platform.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    #[serde(default)]
    pub(crate) manifests: Vec<IndexEntry>,
}

/// One manifest of an index.
#[derive(Debug, Deserialize)]
pub(crate) struct IndexEntry {
    #[serde(flatten)]
    pub(crate) descriptor: Descriptor,
    pub(crate) platform: Option<Platform>,
}

/// One platform's image: its config and layers, bottom first.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

/// What tells the kinds apart when no media type does.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Outline {
    schema_version: u32,
    media_type: String,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document and says what it really is. The content decides; the type the registry
    /// gives it must not contradict.
    pub(crate) fn parse(bytes: &[u8], served_as: &str) -> Result<(Self, &'static str)> {
        let outline: Outline = serde_json::from_slice(bytes).context(|| "parse manifest")?;
        if outline.schema_version == 1 || served_as.starts_with(SCHEMA_1) {
            return Err(schema_1());
        }
        let is_docker = [outline.media_type.as_str(), served_as].iter().any(|kind| {
            kind.starts_with("application/vnd.docker.") && !kind.ends_with("octet-stream")
        });
        match (outline.config, outline.manifests) {
            (Some(_), None) => {
                let manifest: Manifest =
                    serde_json::from_slice(bytes).context(|| "parse manifest")?;
                manifest.check()?;
                let kind = if is_docker { DOCKER_MANIFEST } else { OCI_MANIFEST };
                Ok((Self::Manifest(manifest), kind))
            }
            (None, Some(_)) => {
                let index = serde_json::from_slice(bytes).context(|| "parse manifest list")?;
                Ok((Self::Index(index), if is_docker { DOCKER_LIST } else { OCI_INDEX }))
            }
            // Both would be read differently by different clients (CVE-2021-41190).
            _ => Err(Error::invalid("document is neither a manifest nor a manifest list")),
        }
    }
}

impl Index {
    /// The entries that run on `platform`, the best first.
    pub(crate) fn matching(&self, platform: &Platform) -> Vec<&IndexEntry> {
        let rank = |entry: &IndexEntry| platform.rank(entry.platform.as_ref()?);
        let mut found: Vec<_> =
            self.manifests.iter().filter_map(|entry| Some((rank(entry)?, entry))).collect();
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, entry)| entry).collect()
    }
}

impl Manifest {
    fn check(&self) -> Result<()> {
        let kind = self.config.media_type.as_str();
        if matches!(kind, OCI_CONFIG | DOCKER_CONFIG | "" | "application/octet-stream") {
            return Ok(());
        }
        Err(Error::invalid(format!("config media type {kind:?} is not that of an image")))
    }
}

fn schema_1() -> Error {
    Error::new(
        Kind::NotImplemented,
        format!(
            "media type {SCHEMA_1:?} is not supported, please rebuild the image as \
             {DOCKER_MANIFEST:?} or {OCI_MANIFEST:?}"
        ),
    )
}

/// Checks that a descriptor's digest is of the kind that can be verified here.
pub(crate) fn require_sha256(digest: &Digest) -> Result<()> {
    if digest.algorithm() == "sha256" {
        return Ok(());
    }
    Err(Error::invalid(format!("digest {digest}: only sha256 is supported")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_sha256([byte; 32])
    }

    #[test]
    fn documents_are_told_apart_by_content() {
        let descriptor = format!(r#"{{"digest":"{}","size":1}}"#, digest(1));
        let manifest = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[]}}"#);
        let (document, kind) = Document::parse(manifest.as_bytes(), "").expect("a manifest");
        assert!(matches!(document, Document::Manifest(_)) && kind == OCI_MANIFEST);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let (document, kind) = Document::parse(index.as_bytes(), DOCKER_LIST).expect("an index");
        assert!(matches!(document, Document::Index(_)) && kind == DOCKER_LIST);

        let both = format!(r#"{{"schemaVersion":2,"config":{descriptor},"manifests":[]}}"#);
        assert!(Document::parse(both.as_bytes(), "").is_err());
        let old = Document::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#, "").expect_err("old");
        assert_eq!(old.kind(), Kind::NotImplemented);
        let chart =
            r#"{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"D","size":1}"#
                .replace('D', digest(1).as_str());
        let chart = format!(r#"{{"schemaVersion":2,"config":{chart}}}"#);
        assert!(Document::parse(chart.as_bytes(), "").is_err());
    }

    #[test]
    fn the_best_platform_of_an_index_comes_first() {
        let entry = |byte, platform: &str| IndexEntry {
            descriptor: Descriptor {
                media_type: String::new(),
                digest: digest(byte),
                size: 1,
                urls: Vec::new(),
            },
            platform: Platform::parse(platform).ok(),
        };
        let index = Index {
            manifests: vec![
                entry(1, "linux/arm64"),
                entry(2, "linux/amd64"),
                entry(3, "linux/amd64/v3"),
                entry(4, "linux/amd64/v4"),
                entry(5, ""),
            ],
        };
        let found = |platform: &str| {
            let platform = Platform::parse(platform).expect(platform);
            let found = index.matching(&platform).into_iter();
            found.map(|entry| entry.descriptor.digest.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found("linux/amd64/v3"), [digest(3), digest(2)]);
        assert_eq!(found("linux/amd64"), [digest(2)]);
        assert!(found("linux/s390x").is_empty());
    }
}
