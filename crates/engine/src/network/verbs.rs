//! `GET /networks` and `GET /networks/{id}`.

use std::collections::BTreeMap;

use davit_api::Filters;
use davit_api::filters::NETWORKS;
use davit_api::network::{
    ConfigReference, EndpointResource, Ipam, IpamConfig, IpamStatus, Network, NetworkStatus,
    SubnetStatus,
};
use davit_network::NetworkInfo;
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
                && filters.exact_match("type", "builtin")
                && filters.match_labels(&BTreeMap::new())
                // Predefined networks are never dangling.
                && (!filters.contains("dangling") || !dangling)
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

fn api_network(info: &NetworkInfo) -> Network {
    let subnet = info.subnet.map(|subnet| {
        vec![IpamConfig {
            subnet: subnet.to_string(),
            gateway: info.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            ..IpamConfig::default()
        }]
    });
    Network {
        name: info.name.clone(),
        id: info.id.clone(),
        created: jiff::Timestamp::try_from(info.created).map(Into::into).unwrap_or_default(),
        scope: "local".to_owned(),
        driver: info.driver.clone(),
        enable_ipv4: true,
        enable_ipv6: false,
        ipam: Ipam { driver: "default".to_owned(), options: None, config: subnet },
        internal: false,
        attachable: false,
        ingress: false,
        config_from: ConfigReference::default(),
        config_only: false,
        options: Some(info.options.clone()),
        labels: Some(BTreeMap::new()),
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
            let address = if settings.ip_address.is_empty() {
                String::new()
            } else {
                format!("{}/{}", settings.ip_address, settings.ip_prefix_len)
            };
            let resource = EndpointResource {
                name: snapshot.name().to_owned(),
                endpoint_id: settings.endpoint_id.clone(),
                mac_address: settings.mac_address.clone(),
                ipv4_address: address,
                ipv6_address: String::new(),
            };
            endpoints.insert(container.id.to_string(), resource);
        }
    }
    endpoints
}

fn subnets(info: &NetworkInfo) -> BTreeMap<String, SubnetStatus> {
    let Some(subnet) = info.subnet else { return BTreeMap::new() };
    let size = 1_u64 << (32 - u32::from(subnet.prefix_len()));
    let status = SubnetStatus {
        ips_in_use: info.addresses_in_use,
        dynamic_ips_available: size.saturating_sub(info.addresses_in_use),
    };
    BTreeMap::from([(subnet.to_string(), status)])
}
