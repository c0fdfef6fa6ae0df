//! A container's share of the network: joined before its process exists, given back after it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use davit_network::{Mode, NetworkInfo, Sandbox, SandboxSpec};
use davit_types::{Context, Error, Result};

use super::ports;
use crate::container::{Container, Snapshot};
use crate::engine::Inner;
use crate::spec::Namespace;

/// What a container gets for a network.
#[derive(Debug)]
pub(crate) struct Join {
    /// Its network namespace.
    pub(crate) namespace: Namespace,
    /// The sandbox, when it has one of its own.
    pub(crate) sandbox: Option<Sandbox>,
    /// The network, unless it is another container's.
    pub(crate) network: Option<NetworkInfo>,
    /// The container whose network, hosts and resolv.conf it shares.
    pub(crate) donor: Option<Arc<Container>>,
}

/// Gets a container its network. Blocks.
///
/// # Errors
/// The network or donor is unknown, a port is taken.
pub(crate) fn join(inner: &Inner, snapshot: &Snapshot) -> Result<Join> {
    let mode = snapshot.host_config.network_mode.as_str();
    if let Some(donor) = mode.strip_prefix("container:") {
        let donor = running_donor(inner, donor, "network")?;
        let namespace = Namespace::Path(namespace_path(&donor, "net")?);
        return Ok(Join { namespace, sandbox: None, network: None, donor: Some(donor) });
    }
    let name = if snapshot.record.config.network_disabled { "none" } else { mode };
    let failed = || "failed to set up container networking";
    let network = inner.networks.get(name).context(failed)?;
    if network.driver == "host" {
        let namespace = Namespace::Host;
        return Ok(Join { namespace, sandbox: None, network: Some(network), donor: None });
    }
    let sandbox_mode = if network.driver == "bridge" { Mode::Bridge } else { Mode::None };
    let spec = SandboxSpec {
        name: snapshot.name().to_owned(),
        mode: sandbox_mode,
        ports: ports::requests(&snapshot.record.config, &snapshot.host_config)?,
        mac: desired_mac(snapshot),
        sysctls: Vec::new(),
    };
    let id = snapshot.record.id.as_str();
    let sandbox = inner.networks.create_sandbox(id, &spec).context(failed)?;
    let namespace = Namespace::Path(sandbox.key.clone());
    Ok(Join { namespace, sandbox: Some(sandbox), network: Some(network), donor: None })
}

/// Another container whose namespace is to be shared.
pub(crate) fn running_donor(inner: &Inner, id: &str, what: &str) -> Result<Arc<Container>> {
    let donor = inner.containers.find(id)?;
    if donor.snapshot().record.state.word() != "running" {
        return Err(Error::conflict(format!(
            "cannot join {what} namespace of a non running container: {}",
            donor.id
        )));
    }
    Ok(donor)
}

/// A namespace of a running container.
pub(crate) fn namespace_path(container: &Container, kind: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(format!("/proc/{}/ns/{kind}", container.pid()?)))
}

fn desired_mac(snapshot: &Snapshot) -> Option<String> {
    snapshot
        .record
        .network_settings
        .networks
        .values()
        .map(|endpoint| endpoint.desired_mac_address.clone())
        .find(|mac| !mac.is_empty())
}

/// Notes in the record what [`join`] gave.
pub(crate) fn connect(snapshot: &mut Snapshot, join: &Join) -> Result<()> {
    let settings = &mut snapshot.record.network_settings;
    let (id, key) = match &join.sandbox {
        Some(sandbox) => (sandbox.id.clone(), sandbox.key.display().to_string()),
        None if join.network.is_some() => {
            (crate::random::id()?.to_string(), "/var/run/docker/netns/default".to_owned())
        }
        None => (String::new(), String::new()),
    };
    (settings.sandbox_id, settings.sandbox_key) = (id, key);
    let bound = join.sandbox.as_ref().map_or(&[][..], |sandbox| &sandbox.ports);
    settings.ports = match &join.sandbox {
        Some(sandbox) if sandbox.endpoint.is_some() => {
            ports::port_map(&snapshot.record.config, bound)
        }
        _ => BTreeMap::new(),
    };
    if let (Some(network), Some(entry)) = (&join.network, settings.networks.values_mut().next()) {
        let endpoint = &mut entry.settings;
        endpoint.network_id.clone_from(&network.id);
        match join.sandbox.as_ref().and_then(|sandbox| sandbox.endpoint.as_ref()) {
            Some(given) => {
                endpoint.endpoint_id.clone_from(&given.endpoint_id);
                endpoint.gateway = given.gateway.to_string();
                endpoint.ip_address = given.ip.to_string();
                endpoint.ip_prefix_len = given.prefix_len;
                endpoint.mac_address.clone_from(&given.mac);
            }
            None => endpoint.endpoint_id = crate::random::id()?.to_string(),
        }
    }
    if let (Some(network), 1) = (&join.network, settings.networks.len()) {
        // The key is the network's name, even if the user gave its id.
        let entry = settings.networks.pop_first().map(|(_, entry)| entry).unwrap_or_default();
        settings.networks.insert(network.name.clone(), entry);
    }
    snapshot.record.davit_sandbox.clone_from(&join.sandbox);
    Ok(())
}

/// Clears in the record what ended with the run.
pub(crate) fn disconnect(snapshot: &mut Snapshot) {
    let settings = &mut snapshot.record.network_settings;
    settings.sandbox_id.clear();
    settings.sandbox_key.clear();
    settings.ports.clear();
    for endpoint in settings.networks.values_mut().map(|entry| &mut entry.settings) {
        endpoint.endpoint_id.clear();
        endpoint.gateway.clear();
        endpoint.ip_address.clear();
        endpoint.mac_address.clear();
        endpoint.ip_prefix_len = 0;
    }
    snapshot.record.davit_sandbox = None;
}
