//! `GET /containers/{id}/json`: the records, in the API's form.

use std::sync::Arc;

use davit_api::container::{
    ContainerState, InspectResponse, NetworkSettings, RootFs, Snapshot as SnapshotName, Storage,
};
use davit_api::image::Descriptor;
use davit_types::Result;

use super::record::Snapshot;
use super::{Container, blocking, mounts};
use crate::engine::Inner;
use crate::network::links;
use crate::{Engine, time};

impl Engine {
    /// All about a container; with `size` also how much it takes on disk.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn inspect(&self, name: &str, size: bool) -> Result<InspectResponse> {
        let container = self.inner().containers.find(name)?;
        let snapshot = container.snapshot();
        let mut response = response(&container, &snapshot);
        if let Some(links) = links::shown(self.inner(), &snapshot) {
            response.host_config.links = (!links.is_empty()).then_some(links);
        }
        if size {
            let (rw, root) = sizes(self.inner(), &container).await;
            response.size_rw = Some(rw);
            response.size_root_fs = Some(root);
        }
        Ok(response)
    }
}

fn response(container: &Container, snapshot: &Snapshot) -> InspectResponse {
    let record = &snapshot.record;
    let execs = container.execs();
    InspectResponse {
        id: record.id.to_string(),
        created: record.created,
        path: record.path.clone(),
        args: record.args.clone(),
        state: state(snapshot),
        image: record.image.clone(),
        resolv_conf_path: record.resolv_conf_path.clone(),
        hostname_path: record.hostname_path.clone(),
        hosts_path: record.hosts_path.clone(),
        log_path: record.log_path.clone(),
        name: record.name.clone(),
        restart_count: i64::from(record.restart_count),
        driver: record.driver.clone(),
        platform: record.os.clone(),
        mount_label: record.mount_label.clone(),
        process_label: record.process_label.clone(),
        app_armor_profile: record.app_armor_profile.clone(),
        exec_ids: (!execs.is_empty()).then_some(execs),
        host_config: snapshot.host_config.clone(),
        storage: Some(Storage {
            root_fs: RootFs { snapshot: SnapshotName { name: record.driver.clone() } },
        }),
        size_rw: None,
        size_root_fs: None,
        mounts: mounts::mount_points(&record.mount_points),
        config: record.config.clone(),
        network_settings: network_settings(snapshot),
        image_manifest_descriptor: manifest_descriptor(snapshot),
    }
}

fn state(snapshot: &Snapshot) -> ContainerState {
    let state = &snapshot.record.state;
    ContainerState {
        status: state.word().to_owned(),
        running: state.running,
        paused: state.paused,
        restarting: state.restarting,
        oom_killed: state.oom_killed,
        dead: state.dead,
        pid: i64::from(state.pid),
        exit_code: i64::from(state.exit_code),
        error: state.error.clone(),
        started_at: time::api(state.started_at),
        finished_at: time::api(state.finished_at),
        health: None,
    }
}

fn network_settings(snapshot: &Snapshot) -> NetworkSettings {
    let settings = &snapshot.record.network_settings;
    NetworkSettings {
        sandbox_id: settings.sandbox_id.clone(),
        sandbox_key: settings.sandbox_key.clone(),
        ports: settings.ports.clone(),
        networks: settings
            .networks
            .iter()
            .map(|(name, endpoint)| (name.clone(), endpoint.settings.clone()))
            .collect(),
    }
}

/// The manifest with its platform, as list and inspect show it.
pub(crate) fn manifest_descriptor(snapshot: &Snapshot) -> Option<Descriptor> {
    snapshot.record.image_manifest.clone().map(|descriptor| Descriptor {
        platform: Some(snapshot.record.image_platform.clone()),
        ..descriptor
    })
}

/// Bytes of the writable layer, and of the whole root.
pub(crate) async fn sizes(inner: &Arc<Inner>, container: &Arc<Container>) -> (i64, i64) {
    let (inner, container) = (Arc::clone(inner), Arc::clone(container));
    let sizes = blocking(move || {
        let layer = inner.images.layer_size(&container.id)?;
        // The image may be gone: then only the layer is known.
        let image = inner.images.resolve(&container.snapshot().record.image);
        Ok((layer, image.map_or(0, |image| image.unpacked_size)))
    });
    let (layer, image) = sizes.await.unwrap_or_default();
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    (signed(layer), signed(layer + image))
}
