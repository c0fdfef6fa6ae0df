//! A container's share of the network: joined before its process exists, given back after it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use davit_api::container::EndpointSettings;
use davit_network::{Endpoint, EndpointSpec, NetworkInfo, Sandbox, SandboxSpec};
use davit_types::{Context, Error, Kind, Result};

use super::ports;
use crate::container::{Container, EndpointRecord, Snapshot};
use crate::engine::Inner;
use crate::spec::Namespace;

const INTERFACE_OPTION: &str = "com.docker.network.endpoint.ifname";
const SYSCTLS_OPTION: &str = "com.docker.network.endpoint.sysctls";

/// What a container gets for a network.
#[derive(Debug)]
pub(crate) struct Join {
    /// Its network namespace.
    pub(crate) namespace: Namespace,
    /// The sandbox, when it has one of its own.
    pub(crate) sandbox: Option<Sandbox>,
    /// The networks, unless they are another container's.
    pub(crate) networks: Vec<Joined>,
    /// The container whose network, hosts and resolv.conf it shares.
    pub(crate) donor: Option<Arc<Container>>,
}

/// A network that a container joins.
#[derive(Debug)]
pub(crate) struct Joined {
    /// What it is called in the container's record: a name, or an id.
    key: String,
    pub(crate) info: NetworkInfo,
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
        return Ok(Join { namespace, sandbox: None, networks: Vec::new(), donor: Some(donor) });
    }
    let failed = || "failed to set up container networking";
    let networks = wanted_networks(inner, snapshot).context(failed)?;
    if networks.iter().any(|joined| joined.info.driver == "host") {
        let namespace = Namespace::Host;
        return Ok(Join { namespace, sandbox: None, networks, donor: None });
    }
    let records = &snapshot.record.network_settings.networks;
    let endpoints = networks
        .iter()
        .filter(|joined| joined.info.driver != "null")
        .map(|joined| {
            let record = records.get(&joined.key).cloned().unwrap_or_default();
            endpoint_spec(&joined.info, &record)
        })
        .collect::<Result<Vec<EndpointSpec>>>()
        .context(failed)?;
    let spec = SandboxSpec {
        name: snapshot.name().to_owned(),
        endpoints,
        ports: ports::requests(&snapshot.record.config, &snapshot.host_config)?,
        sysctls: Vec::new(),
    };
    let id = snapshot.record.id.as_str();
    let sandbox = inner.networks.create_sandbox(id, &spec).context(failed)?;
    let namespace = Namespace::Path(sandbox.key.clone());
    Ok(Join { namespace, sandbox: Some(sandbox), networks, donor: None })
}

/// The networks in the order of the interfaces: the one that the mode names first.
fn wanted_networks(inner: &Inner, snapshot: &Snapshot) -> Result<Vec<Joined>> {
    let mode = match snapshot.host_config.network_mode.as_str() {
        _ if snapshot.record.config.network_disabled => "none",
        mode => mode,
    };
    let records = &snapshot.record.network_settings.networks;
    let mut joined = Vec::new();
    for key in records.keys() {
        joined.push(Joined { key: key.clone(), info: usable(inner.networks.get(key)?)? });
    }
    if joined.is_empty() && records.is_empty() && !snapshot.record.networks_left {
        joined.push(Joined { key: mode.to_owned(), info: usable(inner.networks.get(mode)?)? });
    }
    let first =
        |joined: &Joined| joined.key == mode || joined.info.name == mode || joined.info.id == mode;
    joined.sort_by_key(|joined| !first(joined));
    Ok(joined)
}

/// A network that is only a configuration has no containers.
pub(crate) fn usable(info: NetworkInfo) -> Result<NetworkInfo> {
    if info.definition.config_only {
        return Err(Error::new(
            Kind::Forbidden,
            "cannot create endpoint on configuration-only network",
        ));
    }
    Ok(info)
}

/// What a container's record wants of an endpoint.
///
/// # Errors
/// It can't be had on this network, or makes no sense.
pub(crate) fn endpoint_spec(info: &NetworkInfo, record: &EndpointRecord) -> Result<EndpointSpec> {
    let EndpointRecord { settings, desired_mac_address, .. } = record;
    let has_aliases = settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty());
    if info.is_default_bridge && has_aliases {
        return Err(Error::invalid(
            "invalid endpoint settings:\nnetwork-scoped aliases are only supported for \
             user-defined networks",
        ));
    }
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    if !ipam.link_local_ips.is_empty() {
        return Err(Error::invalid("link-local addresses of endpoints are not supported"));
    }
    let none = BTreeMap::new();
    let options = settings.driver_opts.as_ref().unwrap_or(&none);
    Ok(EndpointSpec {
        network: info.id.clone(),
        ipv4: address(&ipam.ipv4_address)?,
        ipv6: address(&ipam.ipv6_address)?,
        mac: (!desired_mac_address.is_empty()).then(|| desired_mac_address.clone()),
        priority: settings.gw_priority,
        interface: options.get(INTERFACE_OPTION).cloned(),
        sysctls: options.get(SYSCTLS_OPTION).map_or(Ok(Vec::new()), |text| sysctls(text))?,
    })
}

fn address<T: std::str::FromStr>(text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid =
        |_| Error::invalid(format!("invalid endpoint settings:\ninvalid IP address: {text}"));
    text.parse().map(Some).map_err(invalid)
}

/// `net.ipv4.conf.IFNAME.x=1,...`
fn sysctls(text: &str) -> Result<Vec<(String, String)>> {
    text.split(',')
        .map(|setting| match setting.split_once('=') {
            Some((name, value)) if name.starts_with("net.") && name.contains(".IFNAME.") => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(Error::invalid(format!("invalid sysctl of an endpoint: {setting:?}"))),
        })
        .collect()
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

/// Notes in the record what [`join`] gave.
pub(crate) fn connect(snapshot: &mut Snapshot, join: &Join) -> Result<()> {
    let hostname = snapshot.record.config.hostname.clone();
    let (name, id) = (snapshot.name().to_owned(), snapshot.record.id.clone());
    let settings = &mut snapshot.record.network_settings;
    let (sandbox_id, key) = match &join.sandbox {
        Some(sandbox) => (sandbox.id.clone(), sandbox.key.display().to_string()),
        None if !join.networks.is_empty() => {
            (crate::random::id()?.to_string(), "/var/run/docker/netns/default".to_owned())
        }
        None => (String::new(), String::new()),
    };
    (settings.sandbox_id, settings.sandbox_key) = (sandbox_id, key);
    for joined in &join.networks {
        // The key is the network's name, even if the user gave its id.
        let mut entry = settings.networks.remove(&joined.key).unwrap_or_default();
        let endpoint = &mut entry.settings;
        endpoint.network_id.clone_from(&joined.info.id);
        let names = [name.as_str(), id.short(), hostname.as_str()];
        note_names(endpoint, &joined.info, names);
        let given = join.sandbox.iter().flat_map(|sandbox| &sandbox.endpoints);
        match given.into_iter().find(|given| given.network_id == joined.info.id) {
            Some(given) => note_endpoint(endpoint, given),
            None => endpoint.endpoint_id = crate::random::id()?.to_string(),
        }
        settings.networks.insert(joined.info.name.clone(), entry);
    }
    note_sandbox(snapshot, join.sandbox.as_ref());
    Ok(())
}

/// The names that a container answers to on a network of the user's.
pub(crate) fn note_names(
    endpoint: &mut EndpointSettings,
    info: &NetworkInfo,
    [name, short_id, hostname]: [&str; 3],
) {
    if info.is_predefined {
        return;
    }
    let mut names = vec![name.to_owned()];
    names.extend(endpoint.aliases.iter().flatten().cloned());
    names.extend([short_id.to_owned(), hostname.to_owned()]);
    let mut known = std::collections::BTreeSet::new();
    names.retain(|name| !name.is_empty() && known.insert(name.clone()));
    endpoint.dns_names = Some(names);
}

/// Notes what an endpoint was given.
pub(crate) fn note_endpoint(settings: &mut EndpointSettings, given: &Endpoint) {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    settings.endpoint_id.clone_from(&given.endpoint_id);
    settings.gateway = text(given.gateway);
    settings.ip_address = text(given.ipv4.map(|net| net.addr()));
    settings.ip_prefix_len = given.ipv4.map_or(0, |net| net.prefix_len());
    settings.ipv6_gateway = text(given.ipv6_gateway);
    settings.global_ipv6_address = text(given.ipv6.map(|net| net.addr()));
    settings.global_ipv6_prefix_len = given.ipv6.map_or(0, |net| net.prefix_len());
    settings.mac_address.clone_from(&given.mac);
}

/// Notes the sandbox as it is now, and its ports.
pub(crate) fn note_sandbox(snapshot: &mut Snapshot, sandbox: Option<&Sandbox>) {
    snapshot.record.network_settings.ports = match sandbox {
        Some(sandbox) if !sandbox.endpoints.is_empty() => {
            ports::port_map(&snapshot.record.config, &sandbox.ports)
        }
        _ => BTreeMap::new(),
    };
    snapshot.record.davit_sandbox = sandbox.cloned();
}

/// Clears in the record what ended with the run.
pub(crate) fn disconnect(snapshot: &mut Snapshot) {
    let settings = &mut snapshot.record.network_settings;
    settings.sandbox_id.clear();
    settings.sandbox_key.clear();
    settings.ports.clear();
    for endpoint in settings.networks.values_mut().map(|entry| &mut entry.settings) {
        forget_endpoint(endpoint);
    }
    snapshot.record.davit_sandbox = None;
}

/// Clears what an endpoint was given.
pub(crate) fn forget_endpoint(endpoint: &mut EndpointSettings) {
    endpoint.endpoint_id.clear();
    endpoint.gateway.clear();
    endpoint.ip_address.clear();
    endpoint.ip_prefix_len = 0;
    endpoint.ipv6_gateway.clear();
    endpoint.global_ipv6_address.clear();
    endpoint.global_ipv6_prefix_len = 0;
    endpoint.mac_address.clear();
}
