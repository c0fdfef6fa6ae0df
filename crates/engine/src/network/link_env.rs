//! The variables by which a container learns of those it is linked to, as Docker had them before
//! there were names. Pure.

/// A linked container.
#[derive(Debug)]
pub(crate) struct Linked<'a> {
    pub(crate) alias: &'a str,
    /// `/PARENT/ALIAS`
    pub(crate) name: String,
    pub(crate) ip: String,
    /// The ports it exposes, such as `80/tcp`.
    pub(crate) ports: Vec<&'a str>,
    pub(crate) env: &'a [String],
}

/// One exposed port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Port<'a> {
    number: u16,
    protocol: &'a str,
}

/// `ALIAS_PORT`, `ALIAS_PORT_80_TCP`, ..., `ALIAS_NAME`, `ALIAS_ENV_X`.
pub(crate) fn variables(linked: &Linked<'_>) -> Vec<String> {
    let alias = linked.alias.replace('-', "_").to_uppercase();
    let mut ports: Vec<Port<'_>> =
        linked.ports.iter().filter_map(|text| Port::read(text)).collect();
    ports.sort_unstable();
    let url = |port: &Port<'_>| format!("{}://{}:{}", port.protocol, linked.ip, port.number);
    let mut found = Vec::new();
    if let Some(first) = ports.first() {
        found.push(format!("{alias}_PORT={}", url(first)));
    }
    for range in ranges(&ports).filter(|range| range.len() > 1) {
        for (end, port) in [("START", range.first()), ("END", range.last())] {
            let Some(port) = port else { continue };
            // Every variable of a range begins with the name of its first port.
            let first = format!("{alias}_PORT_{}", range[0].label());
            found.push(format!("{first}_{end}={}", url(port)));
            found.push(format!("{first}_PORT_{end}={}", port.number));
            if end == "START" {
                found.push(format!("{first}_ADDR={}", linked.ip));
                found.push(format!("{first}_PROTO={}", port.protocol));
            }
        }
    }
    for port in &ports {
        let prefix = format!("{alias}_PORT_{}", port.label());
        found.push(format!("{prefix}={}", url(port)));
        found.push(format!("{prefix}_ADDR={}", linked.ip));
        found.push(format!("{prefix}_PORT={}", port.number));
        found.push(format!("{prefix}_PROTO={}", port.protocol));
    }
    found.push(format!("{alias}_NAME={}", linked.name));
    // What every image has is no news.
    let told = linked.env.iter().filter_map(|entry| entry.split_once('='));
    let told = told.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
    found.extend(told.map(|(name, value)| format!("{alias}_ENV_{name}={value}")));
    found
}

/// Runs of ports with consecutive numbers and the same protocol.
fn ranges<'a, 'p>(ports: &'a [Port<'p>]) -> impl Iterator<Item = &'a [Port<'p>]> {
    ports.chunk_by(|one, other| {
        one.protocol == other.protocol && one.number.checked_add(1) == Some(other.number)
    })
}

impl<'a> Port<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some(Self { number: number.parse().ok()?, protocol })
    }

    /// `80_TCP`
    fn label(&self) -> String {
        format!("{}_{}", self.number, self.protocol.to_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_name_and_environment_are_told() {
        let env = ["PATH=/bin", "MODE=fast", "odd"].map(str::to_owned);
        let linked = Linked {
            alias: "my-db",
            name: "/web/my-db".to_owned(),
            ip: "172.17.0.5".to_owned(),
            ports: vec!["5432/tcp"],
            env: &env,
        };
        assert_eq!(
            variables(&linked),
            [
                "MY_DB_PORT=tcp://172.17.0.5:5432",
                "MY_DB_PORT_5432_TCP=tcp://172.17.0.5:5432",
                "MY_DB_PORT_5432_TCP_ADDR=172.17.0.5",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_MODE=fast",
            ]
        );
    }

    #[test]
    fn a_range_has_a_start_and_an_end() {
        let linked = Linked {
            alias: "db",
            name: "/web/db".to_owned(),
            ip: "10.0.0.2".to_owned(),
            ports: vec!["6380/tcp", "6379/tcp", "7000/udp"],
            env: &[],
        };
        let found = variables(&linked);
        for expected in [
            "DB_PORT=tcp://10.0.0.2:6379",
            "DB_PORT_6379_TCP_START=tcp://10.0.0.2:6379",
            "DB_PORT_6379_TCP_PORT_START=6379",
            "DB_PORT_6379_TCP_END=tcp://10.0.0.2:6380",
            "DB_PORT_6379_TCP_PORT_END=6380",
            "DB_PORT_7000_UDP=udp://10.0.0.2:7000",
        ] {
            assert!(found.iter().any(|one| one == expected), "{expected} in {found:?}");
        }
        assert!(!found.iter().any(|one| one.starts_with("DB_PORT_7000_UDP_START")), "{found:?}");
    }
}
