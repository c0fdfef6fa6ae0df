//! Who is called what, as the daemon has said. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use davit_monitor::resolver::{Container, Endpoint};

use super::services::Services;

/// All names of all networks.
#[derive(Debug, Default)]
pub(super) struct Tables {
    containers: BTreeMap<String, Container>,
    endpoints: BTreeMap<String, Endpoint>,
    /// Endpoints by network and name in lower case.
    names: BTreeMap<(String, String), BTreeSet<String>>,
    /// Endpoints by network and address.
    addresses: BTreeMap<(String, IpAddr), String>,
    services: Services,
}

/// Somebody who serves a port.
#[derive(Debug, PartialEq)]
pub(super) struct Service {
    /// The full name.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) addresses: Vec<IpAddr>,
}

impl Tables {
    pub(super) fn new(services: Services) -> Self {
        Self { services, ..Self::default() }
    }

    pub(super) fn set_container(&mut self, container: Container) {
        self.containers.insert(container.id.clone(), container);
    }

    pub(super) fn forget_container(&mut self, id: &str) {
        self.containers.remove(id);
    }

    pub(super) fn container(&self, id: &str) -> Option<&Container> {
        self.containers.get(id)
    }

    pub(super) fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.forget_endpoint(&endpoint.id);
        let Endpoint { id, network, .. } = &endpoint;
        for name in &endpoint.names {
            let key = (network.clone(), name.to_lowercase());
            self.names.entry(key).or_default().insert(id.clone());
        }
        for address in &endpoint.addresses {
            self.addresses.insert((network.clone(), *address), id.clone());
        }
        self.endpoints.insert(id.clone(), endpoint);
    }

    pub(super) fn forget_endpoint(&mut self, id: &str) {
        let Some(endpoint) = self.endpoints.remove(id) else { return };
        for name in &endpoint.names {
            let key = (endpoint.network.clone(), name.to_lowercase());
            if let Some(ids) = self.names.get_mut(&key) {
                ids.remove(id);
                if ids.is_empty() {
                    self.names.remove(&key);
                }
            }
        }
        for address in &endpoint.addresses {
            let key = (endpoint.network.clone(), *address);
            if self.addresses.get(&key).is_some_and(|other| other == id) {
                self.addresses.remove(&key);
            }
        }
    }

    pub(super) fn endpoint_ids(&self) -> impl Iterator<Item = &String> {
        self.endpoints.keys()
    }

    /// The addresses of a name in lower case without its final dot, as `container` sees it; `None`
    /// if there is nobody of that name.
    pub(super) fn addresses(&self, container: &Container, name: &str) -> Option<Vec<IpAddr>> {
        let found = self.find(container, name)?;
        Some(found.into_iter().flat_map(|endpoint| endpoint.addresses.iter().copied()).collect())
    }

    /// Who serves `_SERVICE._PROTOCOL.NAME`, or `_PORT._PROTOCOL.NAME`; `None` if there is nobody
    /// of that name.
    pub(super) fn services(&self, container: &Container, name: &str) -> Option<Vec<Service>> {
        let mut labels = name.splitn(3, '.');
        let (Some(service), Some(protocol), Some(name)) =
            (labels.next()?.strip_prefix('_'), labels.next()?.strip_prefix('_'), labels.next())
        else {
            return None;
        };
        let found = self.find(container, name)?;
        let Some(port) = self.services.port(service, protocol) else { return Some(Vec::new()) };
        let serves = |endpoint: &&Endpoint| {
            let mut ports = endpoint.ports.iter();
            ports.any(|one| one.protocol == protocol && (one.first..=one.last).contains(&port))
        };
        let service = |endpoint: &Endpoint| {
            let addresses = endpoint.addresses.clone();
            Some(Service { host: full_name(endpoint)?, port, addresses })
        };
        Some(found.into_iter().filter(serves).filter_map(service).collect())
    }

    fn find(&self, container: &Container, name: &str) -> Option<Vec<&Endpoint>> {
        let target = container.links.iter().find(|(alias, _)| alias.to_lowercase() == name);
        if let Some(found) = target.and_then(|(_, target)| self.named(container, target)) {
            return Some(found);
        }
        self.named(container, name)
    }

    fn named(&self, container: &Container, name: &str) -> Option<Vec<&Endpoint>> {
        let found = container.networks.iter().find_map(|network| self.on(network, name));
        found.or_else(|| {
            // NAME.NETWORK; both may have dots.
            name.match_indices('.').find_map(|(at, _)| {
                let (host, network_name) = (&name[..at], &name[at + 1..]);
                let networks = container.networks.iter();
                networks
                    .filter_map(|network| Some((network, self.on(network, host)?)))
                    .find(|(network, _)| self.is_called(network, network_name))
                    .map(|(_, found)| found)
            })
        })
    }

    fn on(&self, network: &str, name: &str) -> Option<Vec<&Endpoint>> {
        let ids = self.names.get(&(network.to_owned(), name.to_lowercase()))?;
        Some(ids.iter().filter_map(|id| self.endpoints.get(id)).collect())
    }

    fn is_called(&self, network: &str, name: &str) -> bool {
        let mut endpoints = self.endpoints.values();
        endpoints.any(|one| one.network == network && one.network_name.to_lowercase() == name)
    }

    /// The full name of an address.
    pub(super) fn name_of(&self, container: &Container, address: IpAddr) -> Option<String> {
        container.networks.iter().find_map(|network| {
            let endpoint = self.endpoints.get(self.addresses.get(&(network.clone(), address))?)?;
            full_name(endpoint)
        })
    }
}

fn full_name(endpoint: &Endpoint) -> Option<String> {
    Some(format!("{}.{}", endpoint.names.first()?, endpoint.network_name))
}

#[cfg(test)]
mod tests {
    use davit_monitor::resolver::Ports;

    use super::*;

    fn endpoint(id: &str, network: &str, names: &[&str], addresses: &[&str]) -> Endpoint {
        Endpoint {
            id: id.to_owned(),
            network: network.to_owned(),
            network_name: format!("{network}.Net"),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|ip| ip.parse().expect("an address")).collect(),
            ports: vec![Ports { protocol: "tcp".to_owned(), first: 80, last: 82 }],
        }
    }

    fn ips(texts: &[&str]) -> Option<Vec<IpAddr>> {
        Some(texts.iter().map(|ip| ip.parse().expect("an address")).collect())
    }

    #[test]
    fn names_are_seen_on_ones_own_networks_only() {
        let mut tables = Tables::default();
        tables.set_endpoint(endpoint("e1", "a", &["Web", "al"], &["10.0.0.2", "fd00::2"]));
        tables.set_endpoint(endpoint("e2", "a", &["al"], &["10.0.0.3"]));
        tables.set_endpoint(endpoint("e3", "b", &["web"], &["10.1.0.2"]));
        let on = |networks: &[&str]| Container {
            networks: networks.iter().map(|network| (*network).to_owned()).collect(),
            links: [("db".to_owned(), "web".to_owned())].into(),
            ..Container::default()
        };
        let (a, b) = (on(&["a"]), on(&["b", "a"]));
        assert_eq!(tables.addresses(&a, "web"), ips(&["10.0.0.2", "fd00::2"]));
        assert_eq!(tables.addresses(&a, "al"), ips(&["10.0.0.2", "fd00::2", "10.0.0.3"]));
        assert_eq!(tables.addresses(&b, "web"), ips(&["10.1.0.2"]));
        assert_eq!(tables.addresses(&b, "db"), ips(&["10.1.0.2"]));
        assert_eq!(tables.addresses(&b, "web.a.net"), ips(&["10.0.0.2", "fd00::2"]));
        assert_eq!(tables.addresses(&a, "web.b.net"), None);
        assert_eq!(tables.addresses(&a, "nosuch"), None);
        let address = "10.0.0.2".parse().expect("an address");
        assert_eq!(tables.name_of(&a, address).as_deref(), Some("Web.a.Net"));
        assert_eq!(tables.name_of(&on(&["b"]), address), None);

        let served = |container: &Container, name: &str| {
            let services = tables.services(container, name)?;
            Some(services.into_iter().map(|one| (one.host, one.port)).collect::<Vec<_>>())
        };
        assert_eq!(served(&a, "_80._tcp.web"), Some(vec![("Web.a.Net".to_owned(), 80)]));
        assert_eq!(served(&b, "_82._tcp.db"), Some(vec![("web.b.Net".to_owned(), 82)]));
        for known in ["_83._tcp.web", "_80._udp.web", "_x._tcp.web"] {
            assert_eq!(served(&a, known), Some(Vec::new()), "{known}");
        }
        assert_eq!(served(&a, "_80._tcp.nosuch"), None);
        assert_eq!(served(&a, "web"), None);

        tables.forget_endpoint("e1");
        assert_eq!(tables.addresses(&a, "web"), None);
        assert_eq!(tables.addresses(&a, "al"), ips(&["10.0.0.3"]));
        assert_eq!(tables.name_of(&a, address), None);
    }
}
