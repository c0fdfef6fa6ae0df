//! `docker pull`: resolve the reference, fetch the documents, get every missing layer at once,
//! publish.

mod fetch;
pub(crate) mod layer;
mod share;
mod stream;

use std::collections::HashSet;
use std::sync::Arc;

use davit_types::{Context as _, Digest, Error, Kind, Platform, Reference, Result};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

pub(crate) use share::Downloads;

use crate::config::ImageConfig;
use crate::image::{Descriptor, LayerId, Progress, PullOptions, Pulled};
use crate::layer::init_layer_id;
use crate::manifest::{Document, Index, Manifest};
use crate::registry::{Access, Registry};
use crate::store::{BlobPins, ImageStore, LayerPins, layer_ids};

/// Where progress goes.
pub(crate) type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// An image's documents, fetched and checked.
struct Resolved {
    target: Descriptor,
    manifest: Manifest,
    layers: Vec<LayerId>,
    /// All documents by digest, those already here too.
    documents: Vec<(Digest, Vec<u8>)>,
}

impl ImageStore {
    /// Pulls an image. What is reported is Docker's progress, line by line; nothing is reported
    /// when the image can't be found. Dropping the future cancels the pull.
    ///
    /// # Errors
    /// Docker's texts: unknown image or denied access (`NotFound`), no manifest for the platform
    /// (`NotFound`), a registry that does not answer, content that is not what its digest says.
    /// What was downloaded stays for the next try, until [`ImageStore::discard_unfinished`].
    pub async fn pull(
        &self,
        reference: &Reference,
        options: PullOptions,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Pulled> {
        if reference.registry() == "docker.io" && reference.repository() == "library/scratch" {
            return Err(Error::new(Kind::Forbidden, "'scratch' is a reserved name"));
        }
        let report: Report = Arc::new(progress);
        let registry = Arc::new(Registry::new(
            reference,
            options.auth.as_ref(),
            &options.hosts,
            Access::Pull,
        )?);
        if !options.all_tags {
            return self.pull_one(&registry, reference, &options, &report).await;
        }
        let mut last = None;
        for tag in registry.tags().await? {
            let reference = reference.with_tag(&tag)?;
            last = Some(self.pull_one(&registry, &reference, &options, &report).await?);
        }
        let name = reference.familiar_name();
        last.ok_or_else(|| Error::not_found(format!("repository {name} has no tags")))
    }

    async fn pull_one(
        &self,
        registry: &Arc<Registry>,
        reference: &Reference,
        options: &PullOptions,
        report: &Report,
    ) -> Result<Pulled> {
        let resolved = self.resolve_remote(registry, reference, options).await?;
        let digest = resolved.target.digest.clone();
        let shown = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        report(Progress {
            status: format!("Pulling from {}", reference.repository()),
            id: Some(shown),
            ..Progress::default()
        });
        let mut pinned = resolved.layers.clone();
        pinned.push(init_layer_id(&resolved.layers));
        let pins = LayerPins::new(&self.inner, &pinned);
        let blobs = resolved.manifest.layers.iter().map(|blob| blob.digest.clone());
        let blob_pins = BlobPins::new(&self.inner, blobs);
        let pulled = self.pull_layers(registry, &resolved, report).await;
        if let Err(error) = pulled {
            drop((pins, blob_pins));
            if is_full(&error) {
                // What is kept for the next try must not keep the disk full.
                let store = self.clone();
                let work = move || store.discard_unfinished();
                tokio::task::spawn_blocking(work).await.context(|| "free space")??;
            }
            return Err(error);
        }
        let name = match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()).to_string(),
            None => reference.to_string(),
        };
        let unchanged = self.publish(name, resolved).await?;
        drop((pins, blob_pins));
        let what = if unchanged { "Image is up to date for" } else { "Downloaded newer image for" };
        let status_line = format!("Status: {what} {}", reference.familiar());
        for status in [format!("Digest: {digest}"), status_line.clone()] {
            report(Progress { status, ..Progress::default() });
        }
        Ok(Pulled { digest, status_line })
    }

    async fn publish(&self, name: String, resolved: Resolved) -> Result<bool> {
        let store = self.clone();
        let work = move || {
            let Resolved { target, manifest, layers, documents } = resolved;
            let blobs: Vec<Digest> = manifest.layers.into_iter().map(|blob| blob.digest).collect();
            // Now rather than at the first container's start.
            store.init_layer(&layers)?;
            store.inner.publish(&name, target, &documents, &layers, &blobs)
        };
        tokio::task::spawn_blocking(work).await.context(|| "publish image")?
    }

    async fn pull_layers(
        &self,
        registry: &Arc<Registry>,
        resolved: &Resolved,
        report: &Report,
    ) -> Result<()> {
        // Layers that are here may have come compressed in another way, or lost their blob. They
        // are looked at before the others come, so no blob is asked for twice.
        let both = resolved.layers.iter().zip(&resolved.manifest.layers);
        let bare: Vec<&Descriptor> = both
            .filter(|(layer, blob)| self.inner.has_layer(layer) && !self.inner.has_blob(blob))
            .map(|(_, blob)| blob)
            .filter(|blob| blob.urls.is_empty())
            .collect();
        for blob in bare {
            layer::fetch_blob(&self.inner, registry, blob).await?;
        }
        if resolved.layers.iter().all(|layer| self.inner.has_layer(layer)) {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let layers: Vec<(&LayerId, &Descriptor)> = resolved
            .layers
            .iter()
            .zip(&resolved.manifest.layers)
            .filter(|(layer, _)| seen.insert(*layer))
            .collect();
        let mut missing = Vec::new();
        for (layer, blob) in layers {
            if self.inner.has_layer(layer) {
                share::report_layer(report, blob, "Already exists", true);
            } else {
                share::report_layer(report, blob, "Pulling fs layer", false);
                missing.push((layer, blob));
            }
        }
        let failed = CancellationToken::new();
        let pulls = missing.iter().map(|(layer, blob)| async {
            let pull = share::follow(&self.inner, registry, layer, blob, report);
            // The first failure ends the others, and each waits until nothing of it is left.
            let result = tokio::select! {
                result = pull => result,
                () = failed.cancelled() => Err(Error::internal("cancelled")),
            };
            if result.is_err() {
                failed.cancel();
                self.inner.downloads.settled(layer).await;
            }
            result
        });
        let results = join_all(pulls).await;
        let (cancelled, real): (Vec<_>, Vec<_>) = results
            .into_iter()
            .filter_map(Result::err)
            .partition(|error| error.message() == "cancelled");
        real.into_iter().chain(cancelled).next().map_or(Ok(()), Err)
    }

    async fn resolve_remote(
        &self,
        registry: &Registry,
        reference: &Reference,
        options: &PullOptions,
    ) -> Result<Resolved> {
        let (target, document, bytes) = self
            .resolve_target(registry, reference)
            .await
            .context(|| format!("failed to resolve reference \"{reference}\""))
            .map_err(unwrap_denied)?;
        let mut documents = vec![(target.digest.clone(), bytes)];
        let (manifest, from_index) = match document {
            Document::Manifest(manifest) => (manifest, false),
            Document::Index(index) => {
                let descriptor = choose(&index, options.platform.as_ref())?;
                let bytes = self.document(registry, &descriptor, true).await?;
                let (document, _) = Document::parse(&bytes, &descriptor.media_type)?;
                documents.push((descriptor.digest, bytes));
                match document {
                    Document::Manifest(manifest) => (manifest, true),
                    Document::Index(_) => {
                        return Err(Error::invalid("manifest list inside a manifest list"));
                    }
                }
            }
        };
        let raw_config = self.document(registry, &manifest.config, false).await?;
        let config = ImageConfig::parse(&raw_config)?;
        if let Some(wanted) = options.platform.as_ref().filter(|_| !from_index)
            && wanted.rank(&config.platform()).is_none()
        {
            return Err(no_match(wanted));
        }
        let layers = layer_ids(&config)?;
        if layers.len() != manifest.layers.len() {
            return Err(Error::invalid(format!(
                "manifest has {} layers, image config has {}",
                manifest.layers.len(),
                layers.len()
            )));
        }
        documents.push((manifest.config.digest.clone(), raw_config));
        Ok(Resolved { target, manifest, layers, documents })
    }

    /// What the reference points to. HEAD first: it does not count against Docker Hub's limits,
    /// and often the document is here already.
    async fn resolve_target(
        &self,
        registry: &Registry,
        reference: &Reference,
    ) -> Result<(Descriptor, Document, Vec<u8>)> {
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Some(digest.clone()),
            (None, tag) => registry.digest_of(tag.unwrap_or("latest")).await?,
        };
        if let Some(digest) = &wanted {
            crate::manifest::require_sha256(digest)?;
            if let Ok(bytes) = self.inner.blob(digest) {
                let (document, media_type) = Document::parse(&bytes, "")?;
                return Ok((descriptor(media_type, digest.clone(), &bytes), document, bytes));
            }
        }
        let name = wanted.as_ref().map(Digest::as_str).or(reference.tag()).unwrap_or("latest");
        let served = registry.manifest(name).await?;
        if wanted.as_ref().is_some_and(|wanted| *wanted != served.digest) {
            return Err(Error::internal(format!(
                "manifest verification failed for digest {name}: got {}",
                served.digest
            )));
        }
        let (document, media_type) = Document::parse(&served.bytes, &served.media_type)?;
        let bytes = served.bytes.to_vec();
        Ok((descriptor(media_type, served.digest, &bytes), document, bytes))
    }

    /// A manifest or config, from here or from the registry.
    async fn document(
        &self,
        registry: &Registry,
        descriptor: &Descriptor,
        is_manifest: bool,
    ) -> Result<Vec<u8>> {
        crate::manifest::require_sha256(&descriptor.digest)?;
        if let Ok(bytes) = self.inner.blob(&descriptor.digest) {
            return Ok(bytes);
        }
        if !is_manifest {
            return Ok(registry.document(descriptor).await?.to_vec());
        }
        let served = registry.manifest(descriptor.digest.as_str()).await?;
        if served.digest != descriptor.digest {
            return Err(Error::internal(format!(
                "manifest verification failed for digest {}: got {}",
                descriptor.digest, served.digest
            )));
        }
        Ok(served.bytes.to_vec())
    }
}

/// Whether the disk is full; errors of shared downloads are text only.
fn is_full(error: &Error) -> bool {
    format!("{error:#}").to_ascii_lowercase().contains("no space left on device")
}

fn descriptor(media_type: &str, digest: Digest, bytes: &[u8]) -> Descriptor {
    let media_type = media_type.to_owned();
    Descriptor { media_type, digest, size: bytes.len() as u64, urls: Vec::new() }
}

fn choose(index: &Index, platform: Option<&Platform>) -> Result<Descriptor> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let chosen = index.matching(&wanted).into_iter().next();
    chosen.map(|entry| entry.descriptor.clone()).ok_or_else(|| no_match(&wanted))
}

fn no_match(wanted: &Platform) -> Error {
    Error::not_found(format!(
        "no matching manifest for {wanted} in the manifest list entries: no match for platform in \
         manifest: not found"
    ))
}

/// Docker says "pull access denied" without anything in front of it.
fn unwrap_denied(error: Error) -> Error {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    match cause.filter(|cause| cause.starts_with("pull access denied")) {
        Some(denied) => Error::not_found(denied),
        None => error,
    }
}
