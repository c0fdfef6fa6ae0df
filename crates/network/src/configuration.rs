//! Configuration-only networks: what other networks are made from (`--config-from`). Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use davit_types::{Error, Kind, Result};

use crate::definition::{NetworkRequest, Subnet, SubnetRequest, Wish};
use crate::net::Net;

/// The request with what the network that it names has configured.
///
/// # Errors
/// There is no such configuration, or more is asked for than goes with one.
pub(crate) fn configured(
    request: &NetworkRequest,
    networks: &BTreeMap<String, Arc<Net>>,
) -> Result<NetworkRequest> {
    if request.config_only && (request.internal || request.attachable) {
        return Err(forbidden(
            "configuration network can only contain network specific fields. Network operator \
             fields like [ ingress | internal | attachable | scope ] are not supported.",
        ));
    }
    let name = &request.config_from;
    if name.is_empty() {
        return Ok(request.clone());
    }
    check_bare(request)?;
    let missing = || Error::not_found(format!("configuration network {name:?} does not exist"));
    let named = |net: &&Arc<Net>| net.definition.name == *name || net.definition.id == *name;
    let found = networks.values().find(named).ok_or_else(missing)?;
    let definition = &found.definition;
    if !definition.config_only {
        return Err(forbidden(&format!("{name} is not a configuration network")));
    }
    Ok(NetworkRequest {
        ipv4: definition.ipv4,
        ipv6: definition.ipv6,
        options: definition.options.clone(),
        labels: definition.labels.clone(),
        ipam_options: definition.ipam_options.clone(),
        subnets: definition.subnets.iter().map(asked).collect(),
        config_from: definition.name.clone(),
        ..request.clone()
    })
}

/// Nothing may be configured beside a configuration.
fn check_bare(request: &NetworkRequest) -> Result<()> {
    if request.config_only {
        return Err(forbidden(
            "a configuration network cannot depend on another configuration network",
        ));
    }
    let has_options = request.ipam_options.as_ref().is_some_and(|options| !options.is_empty());
    let has_subnets = request.subnets.iter().any(|subnet| *subnet != SubnetRequest::default());
    if request.ipv6 || !request.labels.is_empty() || has_options || has_subnets {
        return Err(forbidden(
            "user specified configurations are not supported if the network depends on a \
             configuration network",
        ));
    }
    if !request.options.is_empty() {
        return Err(forbidden(
            "network driver options are not supported if the network depends on a configuration \
             network",
        ));
    }
    Ok(())
}

/// A configuration stays as long as a network was made from it.
///
/// # Errors
/// One was.
pub(crate) fn check_unused(net: &Net, networks: &BTreeMap<String, Arc<Net>>) -> Result<()> {
    let name = &net.definition.name;
    let uses = |other: &Arc<Net>| other.definition.config_from == *name;
    if net.definition.config_only && networks.values().any(uses) {
        return Err(forbidden(&format!("configuration network {name:?} is in use")));
    }
    Ok(())
}

/// A subnet as it was asked for, nothing chosen.
pub(crate) fn template(wish: Wish) -> Subnet {
    let Wish { subnet, range, gateway, auxiliary } = wish;
    Subnet { subnet, range, gateway, auxiliary, chosen: false }
}

fn asked(subnet: &Subnet) -> SubnetRequest {
    let text = |address: Option<IpAddr>| address.map(|ip| ip.to_string()).unwrap_or_default();
    let auxiliary = subnet.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string()));
    SubnetRequest {
        subnet: subnet.subnet.to_string(),
        range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: text(subnet.gateway),
        auxiliary: auxiliary.collect(),
    }
}

fn forbidden(message: &str) -> Error {
    Error::new(Kind::Forbidden, message.to_owned())
}
