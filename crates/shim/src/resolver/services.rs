//! Numbers of services that have names.

use std::collections::HashMap;

const SERVICES: &str = "/etc/services";

/// What the host's list of services says: ports by name and protocol.
#[derive(Debug, Default)]
pub(super) struct Services {
    ports: HashMap<(String, String), u16>,
}

impl Services {
    /// Reads the host's list. Without one, services have no names.
    pub(super) fn read() -> Self {
        Self::from_text(&std::fs::read_to_string(SERVICES).unwrap_or_default())
    }

    fn from_text(text: &str) -> Self {
        let mut ports = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(name), Some(number)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = number.split_once('/') else { continue };
            let Ok(port) = port.parse() else { continue };
            for name in [name].into_iter().chain(words) {
                ports.entry((name.to_lowercase(), protocol.to_lowercase())).or_insert(port);
            }
        }
        Self { ports }
    }

    /// The port of a service, which may be called by its number.
    pub(super) fn port(&self, service: &str, protocol: &str) -> Option<u16> {
        let named = || self.ports.get(&(service.to_owned(), protocol.to_owned())).copied();
        service.parse().ok().or_else(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_number_name_and_alias() {
        let text = "# list\nhttp\t\t80/tcp\t\twww web\t# pages\ndomain 53/udp\nbad\nworse x/tcp\n";
        let services = Services::from_text(text);
        let found = [("http", "tcp"), ("www", "tcp"), ("8080", "udp"), ("domain", "udp")];
        let ports = found.map(|(name, protocol)| services.port(name, protocol));
        assert_eq!(ports, [Some(80), Some(80), Some(8080), Some(53)]);
        for (name, protocol) in [("http", "udp"), ("pages", "tcp"), ("worse", "tcp"), ("", "tcp")] {
            assert_eq!(services.port(name, protocol), None, "{name}");
        }
    }
}
