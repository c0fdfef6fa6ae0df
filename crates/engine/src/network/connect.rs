//! Connecting containers to networks, and disconnecting them, whether they run or not.
//!
//! The record never has an endpoint that the kernel lacks: it is written after an interface was
//! made and before one is taken away. What the kernel has beyond the records is swept at the next
//! start.

use std::sync::Arc;

use davit_api::network::{NetworkConnectRequest, NetworkDisconnectRequest};
use davit_network::{Endpoint, NetworkInfo, Sandbox};
use davit_types::{Error, Kind, Result};

use super::endpoint::{
    endpoint_spec, forget_endpoint, note_endpoint, note_names, note_sandbox, usable,
};
use super::files::{edit_hosts, update_resolv_conf};
use super::ports;
use crate::container::{Container, EndpointRecord, Snapshot, blocking, detached, publish_network};
use crate::engine::Inner;
use crate::store::Durability;
use crate::{Engine, error};

impl Engine {
    /// Connects a container to a network; a running one gets its interface at once.
    ///
    /// # Errors
    /// Either is unknown, it is connected already (403), or can't be.
    pub async fn connect_network(&self, network: &str, body: NetworkConnectRequest) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let info = usable(inner.networks.get(network)?)?;
        let container = inner.containers.find(&body.container)?;
        let record = EndpointRecord::wanted(body.endpoint_config.unwrap_or_default());
        detached(async move {
            let _guard = Arc::clone(&container.transition).lock_owned().await;
            container.check_present()?;
            blocking(move || connect(&inner, &container, &info, record)).await
        })
        .await
    }

    /// Disconnects a container from a network.
    ///
    /// # Errors
    /// Either is unknown, or it is not connected.
    pub async fn disconnect_network(
        &self,
        network: &str,
        body: NetworkDisconnectRequest,
    ) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let info = inner.networks.get(network)?;
        let container = inner.containers.find(&body.container)?;
        detached(async move {
            let _guard = Arc::clone(&container.transition).lock_owned().await;
            container.check_present()?;
            blocking(move || disconnect(&inner, &container, &info)).await
        })
        .await
    }
}

fn connect(
    inner: &Inner,
    container: &Container,
    info: &NetworkInfo,
    mut record: EndpointRecord,
) -> Result<()> {
    let snapshot = container.snapshot();
    check_kind(&snapshot, info)?;
    check_private(inner, &snapshot, info)?;
    let spec = endpoint_spec(info, &record)?;
    let name = snapshot.name().to_owned();
    let names = [name.as_str(), snapshot.record.id.short(), &snapshot.record.config.hostname];
    record.settings.network_id.clone_from(&info.id);
    note_names(&mut record.settings, info, names);
    forget_endpoint(&mut record.settings);
    if snapshot.record.davit_sandbox.is_none() {
        container.change(|snapshot| insert(snapshot, info, record));
        return container.save(Durability::Durable);
    }
    let wanted = ports::requests(&snapshot.record.config, &snapshot.host_config)?;
    let id = container.id.as_str();
    let sandbox = inner.networks.connect(id, &spec, &wanted)?;
    let given = sandbox.endpoints.iter().find(|given| given.network_id == info.id).cloned();
    if let Some(given) = &given {
        note_endpoint(&mut record.settings, given);
    }
    container.change(|snapshot| {
        insert(snapshot, info, record);
        note_sandbox(snapshot, Some(&sandbox));
    });
    if let Err(failure) = container.save(Durability::Durable) {
        container.change(|now| {
            now.record.network_settings.clone_from(&snapshot.record.network_settings);
            now.record.davit_sandbox.clone_from(&snapshot.record.davit_sandbox);
        });
        if let Err(undo) = inner.networks.disconnect(id, &info.id, &wanted) {
            tracing::warn!(id, error = %error::chain(&undo), "undo a connection");
        }
        return Err(failure);
    }
    announce(inner, container, (&snapshot, given.as_ref()), (info, "connect"));
    Ok(())
}

fn insert(snapshot: &mut Snapshot, info: &NetworkInfo, record: EndpointRecord) {
    let networks = &mut snapshot.record.network_settings.networks;
    networks.retain(|key, _| *key != info.id);
    networks.insert(info.name.clone(), record);
    snapshot.record.networks_left = false;
}

fn disconnect(inner: &Inner, container: &Container, info: &NetworkInfo) -> Result<()> {
    let snapshot = container.snapshot();
    check_kind(&snapshot, info)?;
    let networks = &snapshot.record.network_settings.networks;
    let key = [&info.name, &info.id].into_iter().find(|key| networks.contains_key(*key));
    let Some(key) = key.cloned() else {
        let (id, name) = (&container.id, &info.name);
        return Err(Error::internal(format!("container {id} is not connected to network {name}")));
    };
    let sandbox = snapshot.record.davit_sandbox.as_ref();
    let given = sandbox.and_then(|sandbox| {
        sandbox.endpoints.iter().find(|given| given.network_id == info.id).cloned()
    });
    container.change(|snapshot| {
        snapshot.record.network_settings.networks.remove(&key);
        snapshot.record.networks_left = snapshot.record.network_settings.networks.is_empty();
        if let Some(sandbox) = &mut snapshot.record.davit_sandbox {
            sandbox.endpoints.retain(|given| given.network_id != info.id);
        }
    });
    let done = container.save(Durability::Durable).and_then(|()| {
        let Some(given) = &given else { return Ok(()) };
        let wanted = ports::requests(&snapshot.record.config, &snapshot.host_config)?;
        let left = inner.networks.disconnect(container.id.as_str(), &info.id, &wanted)?;
        settle(container, &left)?;
        announce(inner, container, (&snapshot, Some(given)), (info, "disconnect"));
        Ok(())
    });
    if done.is_err() && given.is_some() {
        container.change(|now| {
            now.record.network_settings.clone_from(&snapshot.record.network_settings);
            now.record.davit_sandbox.clone_from(&snapshot.record.davit_sandbox);
            now.record.networks_left = snapshot.record.networks_left;
        });
    }
    done
}

/// Notes what is left of a sandbox.
fn settle(container: &Container, left: &Sandbox) -> Result<()> {
    container.change(|snapshot| note_sandbox(snapshot, Some(left)));
    container.save(Durability::Durable)
}

/// Tells the container, by its file of hosts, and everybody else.
fn announce(
    inner: &Inner,
    container: &Container,
    (before, endpoint): (&Snapshot, Option<&Endpoint>),
    (info, action): (&NetworkInfo, &str),
) {
    let snapshot = container.snapshot();
    inner.resolver.update(inner, &snapshot);
    let edited = endpoint.map(|endpoint| edit_hosts(&snapshot, endpoint, action == "connect"));
    let edited = edited.unwrap_or(Ok(())).and(update_resolv_conf(inner, before, &snapshot));
    if let Err(failure) = edited {
        tracing::warn!(id = %container.id, error = %error::chain(&failure), "edit its files");
    }
    publish_network(inner, &snapshot, &info.id, action);
}

/// Neither the host's network nor another container's can be combined with others.
fn check_kind(snapshot: &Snapshot, info: &NetworkInfo) -> Result<()> {
    let mode = snapshot.host_config.network_mode.as_str();
    if info.driver == "host" || mode == "host" {
        return Err(Error::new(
            Kind::InvalidParameter,
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    if mode.starts_with("container:") {
        return Err(Error::new(
            Kind::InvalidParameter,
            "container sharing network namespace with another container or host cannot be \
             connected to any other network",
        ));
    }
    Ok(())
}

/// `none` stands alone.
fn check_private(inner: &Inner, snapshot: &Snapshot, info: &NetworkInfo) -> Result<()> {
    let networks = &snapshot.record.network_settings.networks;
    let is_none = |name: &String| inner.networks.get(name).is_ok_and(|net| net.driver == "null");
    let others = networks.keys().any(|key| *key != info.name && *key != info.id);
    if others && (info.driver == "null" || networks.keys().any(is_none)) {
        return Err(Error::new(
            Kind::InvalidParameter,
            "container cannot be connected to multiple networks with one of the networks in \
             private (none) mode",
        ));
    }
    Ok(())
}
