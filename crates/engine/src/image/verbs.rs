//! Pull, inspect, history, tag, remove and prune of images.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_api::Filters;
use davit_api::filters::IMAGES_PRUNE;
use davit_api::image::{
    DeleteResponse, HistoryItem, ImageConfig, ImageInspect, ImageMetadata, ImageRootFs,
    ImagesPruneResponse,
};
use davit_api::lenient::Empty;
use davit_image::{Image, Progress, PullOptions, Pulled, RegistryAuth, Removed, RunConfig};
use davit_types::{Platform, Reference, Result};

use crate::container::{blocking, until};
use crate::engine::Inner;
use crate::options::RemoveImageOptions;
use crate::{Engine, error, time};

impl Engine {
    /// Pulls an image, or all tags when `reference` has neither tag nor digest. Dropping the future gives the pull up.
    ///
    /// # Errors
    /// Docker's texts for what the registry does not have or does not give.
    pub async fn pull_image(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<RegistryAuth>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Pulled> {
        let asked = Reference::parse(reference)?;
        let all_tags = asked.tag().is_none() && asked.digest().is_none();
        let reference = if all_tags { asked } else { Reference::parse_familiar(reference)? };
        let options = PullOptions {
            platform: platform.filter(|text| !text.is_empty()).map(Platform::parse).transpose()?,
            auth,
            hosts: Arc::clone(&self.inner().registries),
            all_tags,
        };
        let pulled = self.inner().images.pull(&reference, options, progress).await?;
        let name = reference.familiar_name();
        publish(self.inner(), "pull", &reference.familiar(), &name);
        Ok(pulled)
    }

    /// All about an image, for one platform if asked.
    ///
    /// # Errors
    /// There is no such image, or not for that platform.
    pub async fn inspect_image(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageInspect> {
        let images = &self.inner().images;
        let image = match platform {
            Some(platform) => images.resolve_platform(name, platform)?,
            None => images.resolve(name)?,
        };
        Ok(inspect(&image))
    }

    /// The steps that made an image, newest first.
    ///
    /// # Errors
    /// There is no such image.
    pub async fn image_history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        let entries = self.inner().images.history(name)?;
        let item = |entry: davit_image::HistoryEntry| HistoryItem {
            comment: entry.comment,
            created: entry.created,
            created_by: entry.created_by,
            id: entry.id,
            size: i64::try_from(entry.size).unwrap_or(i64::MAX),
            tags: (!entry.tags.is_empty()).then_some(entry.tags),
        };
        Ok(entries.into_iter().map(item).collect())
    }

    /// Puts a further name on an image; one that exists moves.
    ///
    /// # Errors
    /// There is no such image, or the name is invalid.
    pub async fn tag_image(&self, source: &str, repository: &str, tag: &str) -> Result<()> {
        let text =
            if tag.is_empty() { repository.to_owned() } else { format!("{repository}:{tag}") };
        let target = Reference::parse_familiar(&text)?;
        let (inner, source) = (Arc::clone(self.inner()), source.to_owned());
        let familiar = target.familiar();
        let digest = blocking(move || inner.images.tag(&source, &target)).await?;
        publish(self.inner(), "tag", digest.as_str(), &familiar);
        Ok(())
    }

    /// Removes a name of an image, and the image with its last name.
    ///
    /// # Errors
    /// There is no such image, or somebody needs it (409).
    pub async fn remove_image(
        &self,
        name: &str,
        options: RemoveImageOptions,
    ) -> Result<Vec<DeleteResponse>> {
        let (inner, name) = (Arc::clone(self.inner()), name.to_owned());
        blocking(move || remove(&inner, &name, options)).await
    }

    /// Removes images without a name, or with `dangling=false` all that no container uses.
    ///
    /// # Errors
    /// An unknown filter, or another prune is at work.
    pub async fn prune_images(&self, filters: &Filters) -> Result<ImagesPruneResponse> {
        filters.check(IMAGES_PRUNE)?;
        let (dangling_only, until) = (filters.truth("dangling", true)?, until(filters)?);
        let Ok(_guard) = self.inner().pruning_images.try_lock() else {
            return Err(error::prune_running());
        };
        let users = super::users(self.inner());
        let mut response = ImagesPruneResponse::default();
        let mut deleted = Vec::new();
        for image in self.inner().images.list()? {
            let is_used = users.iter().any(|user| user.image_id == image.id.as_str());
            let labels = image.config.config.labels.clone().unwrap_or_default();
            let made = image.created.parse::<jiff::Timestamp>().ok();
            let made = made.and_then(|time| time::from_api(time.into())).unwrap_or(0);
            if is_used
                || (dangling_only && !image.repo_tags.is_empty())
                || until.is_some_and(|until| made >= until)
                || !filters.match_labels(&labels)
            {
                continue;
            }
            let names = if image.repo_tags.is_empty() {
                vec![image.id.to_string()]
            } else {
                image.repo_tags.clone()
            };
            for name in names {
                let options = RemoveImageOptions { force: false, no_prune: false };
                // In use by a container that was made meanwhile: then it stays.
                if let Ok(removed) = self.remove_image(&name, options).await {
                    if removed.iter().any(|entry| !entry.deleted.is_empty()) {
                        response.space_reclaimed += image.size;
                    }
                    deleted.extend(removed);
                }
            }
        }
        if until.is_none() && !filters.contains("label") && !filters.contains("label!") {
            // Downloads that no pull finished belong to nothing.
            let inner = Arc::clone(self.inner());
            response.space_reclaimed += blocking(move || inner.images.discard_unfinished()).await?;
        }
        response.images_deleted = (!deleted.is_empty()).then_some(deleted);
        Ok(response)
    }
}

fn remove(inner: &Inner, name: &str, options: RemoveImageOptions) -> Result<Vec<DeleteResponse>> {
    let id = inner.images.resolve(name)?.id;
    let users = super::users(inner);
    let removed = inner.images.remove(name, options.force, !options.no_prune, &users)?;
    let mut responses = Vec::new();
    for step in removed {
        let mut response = DeleteResponse::default();
        match step {
            Removed::Untagged(name) => {
                publish(inner, "untag", id.as_str(), &name);
                response.untagged = name;
            }
            Removed::Deleted(digest) => {
                publish(inner, "delete", &digest, &digest);
                response.deleted = digest;
            }
        }
        responses.push(response);
    }
    Ok(responses)
}

pub(super) fn publish(inner: &Inner, action: &str, id: &str, name: &str) {
    let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    inner.events.publish("image", action, id, attributes);
}

fn inspect(image: &Image) -> ImageInspect {
    let config = &image.config;
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        comment: last_comment(image),
        created: image.created.parse::<jiff::Timestamp>().ok().map(Into::into),
        author: config.author.clone(),
        config: Some(run_config(&config.config)),
        architecture: image.platform.architecture.clone(),
        variant: image.platform.variant.clone(),
        os: image.platform.os.clone(),
        os_version: config.os_version.clone(),
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        root_fs: ImageRootFs {
            kind: "layers".to_owned(),
            layers: image.layers.iter().map(ToString::to_string).collect(),
        },
        metadata: ImageMetadata {
            last_tag_time: image
                .last_tagged
                .as_deref()
                .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                .map(Into::into),
        },
        descriptor: Some(super::descriptor(&image.target)),
        manifests: None,
    }
}

/// The config's own comment, or that of the last step.
fn last_comment(image: &Image) -> String {
    let config = &image.config;
    match config.comment.as_str() {
        "" => config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        comment => comment.to_owned(),
    }
}

fn run_config(config: &RunConfig) -> ImageConfig {
    let keys = |map: &Option<BTreeMap<String, serde_json::Value>>| {
        map.iter().flatten().map(|(key, _)| (key.clone(), Empty)).collect()
    };
    ImageConfig {
        user: config.user.clone(),
        exposed_ports: keys(&config.exposed_ports),
        env: config.env.clone().unwrap_or_default(),
        entrypoint: config.entrypoint.clone().unwrap_or_default(),
        cmd: config.cmd.clone().unwrap_or_default(),
        volumes: keys(&config.volumes),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone().unwrap_or_default(),
        stop_signal: config.stop_signal.clone(),
        args_escaped: false,
        healthcheck: config.healthcheck.as_ref().map(|health| davit_api::container::HealthConfig {
            test: health.test.clone().unwrap_or_default(),
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        }),
        on_build: config.on_build.clone().unwrap_or_default(),
        shell: config.shell.clone().unwrap_or_default(),
    }
}
