//! Published ports: from `HostConfig.PortBindings` to requests, from bindings to what is shown. Pure.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use davit_api::container::{Config, HostConfig, Port, PortBinding, PortMap};
use davit_monitor::resolver::Ports;
use davit_network::{PortBinding as Bound, PortRequest, Protocol};
use davit_types::{Error, Result};

/// What is to be published.
///
/// # Errors
/// A port, address or protocol that makes no sense.
pub(crate) fn requests(config: &Config, host_config: &HostConfig) -> Result<Vec<PortRequest>> {
    let mut requests = Vec::new();
    let empty = vec![PortBinding::default()];
    for (port, bindings) in host_config.port_bindings.iter().flatten() {
        let (container_port, protocol) = parse_port(port)?;
        let bindings = bindings.as_ref().filter(|list| !list.is_empty()).unwrap_or(&empty);
        for binding in bindings {
            requests.push(PortRequest {
                host_ip: parse_ip(&binding.host_ip)?,
                host_port: parse_range(&binding.host_port)?,
                container_port,
                protocol,
            });
        }
    }
    if host_config.publish_all_ports {
        for port in config.exposed_ports.keys() {
            let (container_port, protocol) = parse_port(port)?;
            let published = |request: &PortRequest| {
                request.container_port == container_port && request.protocol == protocol
            };
            if !requests.iter().any(published) {
                requests.push(PortRequest {
                    host_ip: None,
                    host_port: None,
                    container_port,
                    protocol,
                });
            }
        }
    }
    Ok(requests)
}

/// The ports that others may look up: those exposed or published, as few runs.
pub(crate) fn known(config: &Config, host_config: &HostConfig) -> Vec<Ports> {
    let published = host_config.port_bindings.iter().flatten().map(|(port, _)| port);
    let named = config.exposed_ports.keys().chain(published);
    let mut ports: Vec<(String, u16)> = named
        .filter_map(|port| parse_port(port).ok())
        .map(|(port, protocol)| (protocol.to_string(), port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let follows = |one: &(String, u16), other: &(String, u16)| {
        one.0 == other.0 && one.1.checked_add(1) == Some(other.1)
    };
    ports
        .chunk_by(follows)
        .filter_map(|run| {
            let ((protocol, first), (_, last)) = (run.first()?, run.last()?);
            Some(Ports { protocol: protocol.clone(), first: *first, last: *last })
        })
        .collect()
}

/// `80/tcp`, `80`.
pub(crate) fn parse_port(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().map_err(|_| Error::invalid(format!("invalid port: {text:?}")))?;
    Ok((port, protocol.parse()?))
}

fn parse_ip(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.trim_matches(['[', ']'])
        .parse()
        .map(Some)
        .map_err(|_| Error::invalid(format!("invalid host IP address: {text}")))
}

fn parse_range(text: &str) -> Result<Option<RangeInclusive<u16>>> {
    let invalid = || Error::invalid(format!("invalid host port: {text:?}"));
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from, to) {
        ("" | "0", _) => Ok(None),
        (from, to) => {
            let (from, to) =
                (from.parse().map_err(|_| invalid())?, to.parse().map_err(|_| invalid())?);
            if from > to { Err(invalid()) } else { Ok(Some(from..=to)) }
        }
    }
}

/// `NetworkSettings.Ports` of a running container: exposed ports are `null` unless published.
pub(crate) fn port_map(config: &Config, bound: &[Bound]) -> PortMap {
    let mut map: PortMap = config.exposed_ports.keys().map(|port| (port.clone(), None)).collect();
    let mut bound = bound.to_vec();
    bound.sort_by_key(|binding| (binding.host_ip, binding.host_port));
    for binding in bound {
        let key = format!("{}/{}", binding.container_port, binding.protocol);
        map.entry(key).or_default().get_or_insert_default().push(PortBinding {
            host_ip: binding.host_ip.to_string(),
            // Zero: served at the container's own address.
            host_port: match binding.host_port {
                0 => String::new(),
                port => port.to_string(),
            },
        });
    }
    map
}

/// The ports as the list of containers shows them.
pub(crate) fn listed_ports(ports: &PortMap) -> Vec<Port> {
    let mut list = Vec::new();
    for (key, bindings) in ports {
        let (port, kind) = key.split_once('/').unwrap_or((key, "tcp"));
        let private_port = port.parse().unwrap_or(0);
        let entry = |ip: &str, public_port: u16| Port {
            ip: ip.to_owned(),
            private_port,
            public_port,
            kind: kind.to_owned(),
        };
        match bindings {
            None => list.push(entry("", 0)),
            Some(bindings) => list.extend(
                bindings
                    .iter()
                    .map(|binding| entry(&binding.host_ip, binding.host_port.parse().unwrap_or(0))),
            ),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use davit_api::lenient::Empty;

    use super::*;

    fn bindings(ip: &str, port: &str) -> Option<Vec<PortBinding>> {
        Some(vec![PortBinding { host_ip: ip.into(), host_port: port.into() }])
    }

    #[test]
    fn bindings_become_requests() {
        let ports: PortMap = [
            ("80/tcp".to_owned(), bindings("", "8080")),
            ("81/tcp".to_owned(), bindings("127.0.0.1", "8000-8010")),
            ("90/udp".to_owned(), Some(Vec::new())),
        ]
        .into();
        let host_config = HostConfig {
            port_bindings: Some(ports),
            publish_all_ports: true,
            ..HostConfig::default()
        };
        let mut config = Config::default();
        config.exposed_ports.insert("80/tcp".into(), Empty);
        config.exposed_ports.insert("7/tcp".into(), Empty);
        let requests = requests(&config, &host_config).expect("valid");
        assert_eq!(requests.len(), 4);
        assert_eq!(requests[0].host_port, Some(8080..=8080));
        assert_eq!(requests[1].host_ip, Some("127.0.0.1".parse().expect("address")));
        assert_eq!((requests[2].host_port.clone(), requests[2].protocol), (None, Protocol::Udp));
        assert_eq!((requests[3].container_port, requests[3].host_port.clone()), (7, None));
    }

    #[test]
    fn bad_ports_are_refused() {
        for (port, binding) in
            [("80/zzz", bindings("", "")), ("x/tcp", None), ("80", bindings("", "9-8"))]
        {
            let host_config = HostConfig {
                port_bindings: Some([(port.to_owned(), binding)].into()),
                ..HostConfig::default()
            };
            assert!(requests(&Config::default(), &host_config).is_err(), "{port}");
        }
    }

    #[test]
    fn known_ports_are_few_runs() {
        let mut config = Config::default();
        for port in ["80/tcp", "81/tcp", "81/udp", "443"] {
            config.exposed_ports.insert(port.into(), Empty);
        }
        let bindings = (82..=5000).map(|port| (format!("{port}/tcp"), None)).collect();
        let host_config = HostConfig { port_bindings: Some(bindings), ..HostConfig::default() };
        let found = known(&config, &host_config);
        let run = |protocol: &str, first, last| Ports { protocol: protocol.into(), first, last };
        assert_eq!(found, [run("tcp", 80, 5000), run("udp", 81, 81)]);
    }

    #[test]
    fn exposed_ports_are_null_and_published_ones_listed_by_address() {
        let mut config = Config::default();
        config.exposed_ports.insert("9/tcp".into(), Empty);
        let bound = |ip: &str| Bound {
            host_ip: ip.parse().expect("address"),
            host_port: 8088,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let map = port_map(&config, &[bound("::"), bound("0.0.0.0")]);
        assert_eq!(map["9/tcp"], None);
        let listed = listed_ports(&map);
        let shown: Vec<_> =
            listed.iter().map(|p| (p.ip.as_str(), p.private_port, p.public_port)).collect();
        assert_eq!(shown, [("0.0.0.0", 80, 8088), ("::", 80, 8088), ("", 9, 0)]);
    }
}
