//! `docker push`: what a name points to, byte for byte, into a registry.

mod upload;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use davit_types::{Digest, Error, Platform, Reference, Result};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::image::{Descriptor, Progress, PushOptions};
use crate::manifest::{Document, Manifest};
use crate::pull::Report;
use crate::registry::{Access, Registry};
use crate::store::{BlobPins, ImageStore, Inner};
use upload::Upload;

/// What one name's push sends.
struct Plan {
    /// Manifests, then the index over them if there is one: the last gets the tag.
    documents: Vec<(Descriptor, Vec<u8>)>,
    configs: Vec<Descriptor>,
    layers: Vec<Descriptor>,
    /// The index that is not pushed because parts of it are not here.
    instead_of: Option<Descriptor>,
}

impl ImageStore {
    /// Pushes the image that `reference` names, or all tags of the repository. Progress is Docker's.
    ///
    /// # Errors
    /// No such name, a registry that refuses or does not answer, content that is not here.
    pub async fn push(
        &self,
        reference: &Reference,
        options: PushOptions,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<()> {
        let names = self.inner.names_to_push(reference, options.all_tags)?;
        let report: Report = Arc::new(progress);
        let registry =
            Registry::new(reference, options.auth.as_ref(), &options.hosts, Access::Push)?;
        report(Progress {
            status: format!("The push refers to repository [{}]", reference.name()),
            ..Progress::default()
        });
        for (tag, target) in names {
            let plan = self.inner.plan_push(&target, options.platform.as_ref())?;
            self.push_one(&registry, reference, &tag, plan, &report).await?;
        }
        Ok(())
    }

    async fn push_one(
        &self,
        registry: &Registry,
        reference: &Reference,
        tag: &str,
        plan: Plan,
        report: &Report,
    ) -> Result<()> {
        let blobs = plan.layers.iter().chain(&plan.configs);
        let pinned = blobs.clone().map(|blob| blob.digest.clone());
        let _pins = BlobPins::new(&self.inner, pinned);
        let layers = plan.layers.len();
        let uploads = blobs.enumerate().map(|(at, blob)| async move {
            let elsewhere = self.inner.repositories_with(reference, &blob.digest);
            let report = (at < layers).then_some(report);
            Upload { inner: &self.inner, registry, blob, elsewhere: &elsewhere, report }.run().await
        });
        try_join_all(uploads).await?;
        let last = plan.documents.len().saturating_sub(1);
        for (at, (descriptor, bytes)) in plan.documents.into_iter().enumerate() {
            let bytes = Bytes::from(bytes);
            if at < last {
                if !registry.has_manifest(&descriptor.digest).await? {
                    let name = descriptor.digest.as_str();
                    registry.put_manifest(name, &descriptor.media_type, bytes).await?;
                }
                continue;
            }
            registry.put_manifest(tag, &descriptor.media_type, bytes).await?;
            report(Progress {
                status: format!("{tag}: digest: {} size: {}", descriptor.digest, descriptor.size),
                ..Progress::default()
            });
            if let Some(index) = &plan.instead_of {
                report(Progress {
                    aux: Some(json!({
                        "manifestPushedInsteadOfIndex": true,
                        "originalIndex": index,
                        "selectedManifest": descriptor,
                    })),
                    ..Progress::default()
                });
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Tags and what they point to.
    fn names_to_push(
        &self,
        reference: &Reference,
        all_tags: bool,
    ) -> Result<Vec<(String, Descriptor)>> {
        let mut found: Vec<(String, Descriptor)> = self
            .tagged()
            .into_iter()
            .filter(|(name, _)| name.name() == reference.name())
            .filter_map(|(name, target)| Some((name.tag()?.to_owned(), target)))
            .filter(|(tag, _)| all_tags || reference.tag() == Some(tag))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        if !found.is_empty() {
            return Ok(found);
        }
        let shown = reference.familiar();
        Err(Error::not_found(match all_tags {
            true => format!("An image does not exist locally with the tag: {shown}"),
            false => format!("tag does not exist: {shown}"),
        }))
    }

    fn plan_push(&self, target: &Descriptor, platform: Option<&Platform>) -> Result<Plan> {
        let bytes = self.blob(&target.digest)?;
        let (document, kind) = Document::parse(&bytes, &target.media_type)?;
        let described = |kind: &str| Descriptor { media_type: kind.to_owned(), ..target.clone() };
        let mut plan = Plan {
            documents: Vec::new(),
            configs: Vec::new(),
            layers: Vec::new(),
            instead_of: None,
        };
        let index = match document {
            Document::Manifest(manifest) => {
                plan.add(described(kind), bytes, manifest);
                return Ok(plan);
            }
            Document::Index(index) => index,
        };
        let mut missing = platform.is_some();
        let mut here = Vec::new();
        for entry in &index.manifests {
            match self.manifest_here(&entry.descriptor) {
                Some(found) => here.push((entry, found)),
                None => missing = true,
            }
        }
        if !missing {
            for (entry, (bytes, manifest)) in here {
                plan.add(entry.descriptor.clone(), bytes, manifest);
            }
            plan.documents.push((described(kind), bytes));
            return Ok(plan);
        }
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let rank = |found: &Option<Platform>| wanted.rank(found.as_ref()?);
        let ranked = here.into_iter().filter_map(|(entry, found)| {
            let rank = rank(&entry.platform);
            (rank.is_some() || platform.is_none()).then_some((rank.is_none(), rank, entry, found))
        });
        let best = ranked.min_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let Some((_, _, entry, (bytes, manifest))) = best else {
            return Err(Error::not_found(format!(
                "image {} has no content for {wanted} here",
                target.digest
            )));
        };
        plan.add(entry.descriptor.clone(), bytes, manifest);
        plan.instead_of = platform.is_none().then(|| described(kind));
        Ok(plan)
    }

    /// A manifest with all that belongs to it, if it is here.
    pub(crate) fn manifest_here(&self, descriptor: &Descriptor) -> Option<(Vec<u8>, Manifest)> {
        let bytes = self.blob(&descriptor.digest).ok()?;
        let (document, _) = Document::parse(&bytes, &descriptor.media_type).ok()?;
        let Document::Manifest(manifest) = document else { return None };
        self.has_blob(&manifest.config).then_some((bytes, manifest))
    }

    /// Other repositories of the same registry whose images have this blob.
    fn repositories_with(&self, reference: &Reference, blob: &Digest) -> Vec<String> {
        let mut found = BTreeSet::new();
        for (name, target) in self.tagged() {
            if name.registry() == reference.registry()
                && name.repository() != reference.repository()
                && self.blobs_of(&target.digest).contains(blob)
            {
                found.insert(name.repository().to_owned());
            }
        }
        found.into_iter().collect()
    }
}

impl Plan {
    fn add(&mut self, descriptor: Descriptor, bytes: Vec<u8>, manifest: Manifest) {
        let known: HashSet<Digest> =
            self.layers.iter().chain(&self.configs).map(|blob| blob.digest.clone()).collect();
        let mut seen = known;
        if seen.insert(manifest.config.digest.clone()) {
            self.configs.push(manifest.config);
        }
        let layers = manifest.layers.into_iter();
        // Foreign layers stay where they are.
        let ours = layers.filter(|layer| layer.urls.is_empty());
        self.layers.extend(ours.filter(|layer| seen.insert(layer.digest.clone())));
        self.documents.push((descriptor, bytes));
    }
}
