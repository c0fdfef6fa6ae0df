//! Save, load and import of images, and commit of containers.

use std::io::BufWriter;
use std::sync::Arc;

use davit_image::{CommitOptions, ImportOptions, LoadedImage, RunConfig};
use davit_types::{Digest, Error, Platform, Reference, Result};
use tokio::sync::mpsc;

use crate::Engine;
use crate::container::blocking;
use crate::container::streams::{CHUNK, Chunks, Receiver, Sender};
use crate::options::CommitContainerOptions;

impl Engine {
    /// The images as one tar.
    ///
    /// # Errors
    /// No such image, or parts of it that are not here. What fails later ends the stream.
    pub async fn save_images(
        &self,
        names: Vec<String>,
        platforms: Vec<Platform>,
    ) -> Result<Chunks> {
        let inner = Arc::clone(self.inner());
        let asked = names.clone();
        let plan = blocking(move || inner.images.plan_save(&names, &platforms)).await?;
        for name in asked {
            if let Ok(image) = self.inner().images.resolve(&name) {
                super::verbs::publish(self.inner(), "save", image.id.as_str(), &name);
            }
        }
        let (sender, chunks) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let writer = BufWriter::with_capacity(CHUNK, Sender(sender.clone()));
            if let Err(error) = plan.write(writer) {
                // Nobody to take it means that the client has gone.
                drop(sender.blocking_send(Err(error)));
            }
        });
        Ok(chunks)
    }

    /// Brings in the images of a tar.
    ///
    /// # Errors
    /// A broken archive, or one without images.
    pub async fn load_images(
        &self,
        body: Chunks,
        platforms: Vec<Platform>,
    ) -> Result<Vec<LoadedImage>> {
        let inner = Arc::clone(self.inner());
        let loaded = blocking(move || inner.images.load(Receiver::new(body), &platforms)).await?;
        for image in &loaded {
            let name = image.name.as_deref().unwrap_or(image.id.as_str());
            super::verbs::publish(self.inner(), "load", image.id.as_str(), name);
        }
        Ok(loaded)
    }

    /// Makes an image of a tar of a file system.
    ///
    /// # Errors
    /// A broken tar, a bad name, an instruction that makes no sense.
    pub async fn import_image(&self, body: Chunks, options: ImportOptions) -> Result<Digest> {
        let inner = Arc::clone(self.inner());
        let name = options.name.as_ref().map(Reference::familiar);
        let id = blocking(move || inner.images.import(Receiver::new(body), &options)).await?;
        let name = name.unwrap_or_else(|| id.to_string());
        super::verbs::publish(self.inner(), "import", id.as_str(), &name);
        Ok(id)
    }

    /// Makes an image of what a container changed.
    ///
    /// # Errors
    /// No such container, an instruction that makes no sense, an image that is gone.
    pub async fn commit(&self, name: &str, options: CommitContainerOptions) -> Result<Digest> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let snapshot = container.snapshot();
        let state = &snapshot.record.state;
        let pauses = options.pause && state.running && !state.paused;
        if pauses {
            self.pause(name).await?;
        }
        let parent = snapshot.record.image_manifest.as_ref().map(|descriptor| {
            let digest = Digest::parse(&descriptor.digest)?;
            Ok::<_, Error>(davit_image::Descriptor {
                media_type: descriptor.media_type.clone(),
                digest,
                size: u64::try_from(descriptor.size).unwrap_or(0),
                urls: Vec::new(),
            })
        });
        let created_by = [&[snapshot.record.path.clone()][..], &snapshot.record.args].concat();
        let own = run_config(&snapshot.record.config);
        let config = match &options.config {
            Some(asked) => merged(run_config(asked), own),
            None => own,
        };
        let commit = CommitOptions {
            author: options.author,
            comment: options.comment,
            changes: options.changes,
            config,
            created_by: created_by.join(" "),
            name: options.name,
        };
        let id = container.id.clone();
        let made = blocking(move || {
            let parent = parent.transpose()?;
            inner.images.commit(&id, parent.as_ref(), &commit)
        })
        .await;
        if pauses {
            self.unpause(name).await?;
        }
        let made = made?;
        let attributes =
            [("comment", snapshot.record.image.clone()), ("imageID", made.to_string())];
        self.inner().publish(&snapshot, "commit", &attributes[1..]);
        Ok(made)
    }
}

/// What was asked for, and the container's own where nothing was.
fn merged(mut asked: RunConfig, own: RunConfig) -> RunConfig {
    fn fill<T>(asked: &mut Option<T>, own: Option<T>) {
        if asked.is_none() {
            *asked = own;
        }
    }
    if asked.entrypoint.is_none() {
        asked.entrypoint = own.entrypoint;
        fill(&mut asked.cmd, own.cmd);
    }
    for (asked, own) in [
        (&mut asked.user, own.user),
        (&mut asked.working_dir, own.working_dir),
        (&mut asked.stop_signal, own.stop_signal),
    ] {
        if asked.is_empty() {
            *asked = own;
        }
    }
    let names: Vec<String> = asked.env.iter().flatten().map(|entry| variable(entry)).collect();
    let missing = own.env.into_iter().flatten().filter(|entry| !names.contains(&variable(entry)));
    asked.env.get_or_insert_default().extend(missing);
    for (key, value) in own.labels.into_iter().flatten() {
        asked.labels.get_or_insert_default().entry(key).or_insert(value);
    }
    for (asked, own) in
        [(&mut asked.exposed_ports, own.exposed_ports), (&mut asked.volumes, own.volumes)]
    {
        for (key, value) in own.into_iter().flatten() {
            asked.get_or_insert_default().entry(key).or_insert(value);
        }
    }
    fill(&mut asked.stop_timeout, own.stop_timeout);
    fill(&mut asked.healthcheck, own.healthcheck);
    fill(&mut asked.shell, own.shell);
    fill(&mut asked.on_build, own.on_build);
    asked
}

fn variable(entry: &str) -> String {
    entry.split('=').next().unwrap_or(entry).to_owned()
}

fn run_config(config: &davit_api::container::Config) -> RunConfig {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let empty = serde_json::json!({});
    let keys = |map: Vec<String>| {
        let map: std::collections::BTreeMap<_, _> =
            map.into_iter().map(|key| (key, empty.clone())).collect();
        (!map.is_empty()).then_some(map)
    };
    RunConfig {
        user: config.user.clone(),
        exposed_ports: keys(config.exposed_ports.keys().cloned().collect()),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: keys(config.volumes.iter().flatten().map(|(key, _)| key.clone()).collect()),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        healthcheck: config.healthcheck.as_ref().map(|health| davit_image::HealthConfig {
            test: some(&health.test),
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        }),
        shell: some(&config.shell),
        on_build: some(&config.on_build),
    }
}
