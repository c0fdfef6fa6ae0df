//! `GET /networks` and `GET /networks/{id}`.

use std::collections::BTreeMap;

use davit_api::Filters;
use davit_api::filters::NETWORKS;
use davit_api::network::{
    ConfigReference, EndpointResource, Ipam, IpamConfig, IpamStatus, Network, NetworkStatus,
    SubnetStatus,
};
use davit_network::{IpNet, NetworkInfo, Subnet};
use davit_types::Result;
use regex_lite::Regex;

use crate::Engine;
use crate::engine::Inner;

impl Engine {
    /// The networks that pass the filters.
    ///
    /// # Errors
    /// An unknown filter.
    pub fn networks(&self, filters: &Filters) -> Result<Vec<Network>> {
        filters.check(NETWORKS)?;
        let dangling = filters.truth("dangling", false)?;
        let patterns = |key: &str| -> Vec<Regex> {
            filters.get(key).filter_map(|text| Regex::new(text).ok()).collect()
        };
        let (names, ids) = (patterns("name"), patterns("id"));
        let inner = self.inner();
        let passes = |network: &NetworkInfo| {
            let any = |patterns: &[Regex], text: &str| {
                patterns.iter().any(|pattern| pattern.is_match(text))
            };
            (!filters.contains("name") || any(&names, &network.name))
                && (!filters.contains("id") || any(&ids, &network.id))
                && filters.exact_match("driver", &network.driver)
                && filters.exact_match("scope", "local")
                && filters.exact_match("type", kind(network))
                && filters.match_labels(&network.definition.labels)
                && (!filters.contains("dangling") || is_dangling(inner, network) == dangling)
        };
        let networks = inner.networks.list();
        Ok(networks.iter().filter(|network| passes(network)).map(api_network).collect())
    }

    /// All about a network, its containers included.
    ///
    /// # Errors
    /// There is no such network.
    pub fn inspect_network(&self, name: &str) -> Result<Network> {
        let info = self.inner().networks.get(name)?;
        let mut network = api_network(&info);
        network.containers = Some(endpoints(self.inner(), &info));
        network.status = Some(NetworkStatus { ipam: IpamStatus { subnets: subnets(&info) } });
        Ok(network)
    }
}

/// Predefined or somebody's.
fn kind(info: &NetworkInfo) -> &'static str {
    if info.is_predefined { "builtin" } else { "custom" }
}

/// Somebody's, and no container is on it.
fn is_dangling(inner: &Inner, info: &NetworkInfo) -> bool {
    !info.is_predefined && endpoints(inner, info).is_empty()
}

fn api_network(info: &NetworkInfo) -> Network {
    let definition = &info.definition;
    let text = |address: Option<std::net::IpAddr>| {
        address.map(|address| address.to_string()).unwrap_or_default()
    };
    let config = |subnet: &Subnet| IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: text(subnet.gateway),
        auxiliary_addresses: subnet
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    };
    let subnets: Vec<IpamConfig> = definition.subnets.iter().map(config).collect();
    Network {
        name: info.name.clone(),
        id: info.id.clone(),
        created: jiff::Timestamp::try_from(definition.created).map(Into::into).unwrap_or_default(),
        scope: "local".to_owned(),
        driver: info.driver.clone(),
        enable_ipv4: definition.ipv4,
        enable_ipv6: definition.ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: definition.ipam_options.clone(),
            config: (!subnets.is_empty()).then_some(subnets),
        },
        internal: definition.internal,
        attachable: definition.attachable,
        ingress: false,
        config_from: ConfigReference { network: definition.config_from.clone() },
        config_only: definition.config_only,
        options: Some(definition.options.clone()),
        labels: Some(definition.labels.clone()),
        containers: None,
        status: None,
    }
}

/// The running containers on a network.
fn endpoints(inner: &Inner, info: &NetworkInfo) -> BTreeMap<String, EndpointResource> {
    let mut endpoints = BTreeMap::new();
    for container in inner.containers.all() {
        let snapshot = container.snapshot();
        for endpoint in snapshot.record.network_settings.networks.values() {
            let settings = &endpoint.settings;
            if settings.network_id != info.id || settings.endpoint_id.is_empty() {
                continue;
            }
            let with_prefix = |ip: &str, length: u8| match ip {
                "" => String::new(),
                ip => format!("{ip}/{length}"),
            };
            let resource = EndpointResource {
                name: snapshot.name().to_owned(),
                endpoint_id: settings.endpoint_id.clone(),
                mac_address: settings.mac_address.clone(),
                ipv4_address: with_prefix(&settings.ip_address, settings.ip_prefix_len),
                ipv6_address: with_prefix(
                    &settings.global_ipv6_address,
                    settings.global_ipv6_prefix_len,
                ),
            };
            endpoints.insert(container.id.to_string(), resource);
        }
    }
    endpoints
}

fn subnets(info: &NetworkInfo) -> BTreeMap<String, SubnetStatus> {
    let status = |(subnet, ips_in_use, dynamic_ips_available): &(IpNet, u64, u64)| {
        let (ips_in_use, dynamic_ips_available) = (*ips_in_use, *dynamic_ips_available);
        (subnet.to_string(), SubnetStatus { ips_in_use, dynamic_ips_available })
    };
    info.usage.iter().map(status).collect()
}
