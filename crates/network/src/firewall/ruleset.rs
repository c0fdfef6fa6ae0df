//! What should be in the table: a pure function of the settings and the published ports.
//!
//! ```text
//! prerouting  ─┐ destination is a local address                      ┌ map "published_at"
//! output      ─┴─────────────────────────────▶ chain "publish" dnat ─┼ map "published"
//!                                                                    └ map "published_ranges"
//! forward       to the bridge: what is established, published, or from a sibling; nothing else
//! postrouting   masquerade: leaving traffic, loopback sources, siblings by way of the host
//! ```
//! The first map is for ports of one host address, the second for those of all. Neighbouring ports
//! that keep their number share one element of the third however many they are, as the address alone
//! is rewritten. Single ports are kept out of that one: a range map takes as long for a change as it
//! has elements, the others are hash tables.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use crate::sandbox::{PortBinding, Protocol};

/// Loopback addresses.
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// A map of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Map {
    /// Host address, protocol and port to address and port.
    At,
    /// Protocol and port to address and port.
    Any,
    /// Host address, protocol and port, each a range, to an address.
    Ranges,
}

/// What the rules depend on beside the ports.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) table: String,
    pub(crate) bridge: String,
    pub(crate) subnet: Ipv4Net,
    /// Containers may talk to each other.
    pub(crate) icc: bool,
    /// Leaving traffic gets the host's address.
    pub(crate) masquerade: bool,
}

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) table: String,
    pub(crate) chains: Vec<Chain>,
    /// Of all maps.
    pub(crate) elements: Vec<Element>,
}

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// Absent: only jumped to.
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// Where a chain is called from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hook {
    pub(crate) kind: &'static str,
    pub(crate) point: Point,
    pub(crate) priority: i32,
}

/// A netfilter hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    Prerouting,
    Forward,
    Output,
    Postrouting,
}

/// If all matches hold, the action is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) matches: Vec<Match>,
    pub(crate) action: Action,
}

/// A condition of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Match {
    From(String),
    NotFrom(String),
    To(String),
    NotTo(String),
    Source(Ipv4Net),
    Destination(Ipv4Net),
    /// The destination is an address of this host.
    LocalDestination,
    /// Belongs to a connection that was let through.
    Established,
    /// Its connection's destination was rewritten.
    Published,
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Drop,
    Jump(&'static str),
    Masquerade,
    /// The destination is looked up.
    Rewrite(Map),
}

/// An entry of one of the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    /// Absent: all of them.
    pub(crate) host: Option<Ipv4Addr>,
    pub(crate) protocol: Protocol,
    /// More than one only if they are the container's as well.
    pub(crate) host_ports: RangeInclusive<u16>,
    pub(crate) container: Ipv4Addr,
    /// The first one.
    pub(crate) container_port: u16,
}

/// The table that serves `published`, ports by the containers' addresses.
pub(crate) fn ruleset(
    settings: &Settings,
    published: &BTreeMap<Ipv4Addr, Vec<PortBinding>>,
) -> Ruleset {
    Ruleset {
        table: settings.table.clone(),
        chains: vec![
            guard(settings),
            publish(),
            prerouting(),
            output(),
            forward(settings),
            postrouting(settings),
        ],
        elements: published.iter().flat_map(|(ip, ports)| elements(*ip, ports)).collect(),
    }
}

/// The maps' entries for the ports of the container at `ip`. Only a function of its arguments:
/// what was added is found again to be deleted.
pub(crate) fn elements(ip: Ipv4Addr, ports: &[PortBinding]) -> Vec<Element> {
    let mut sorted: Vec<&PortBinding> = ports.iter().collect();
    sorted.sort_by_key(|port| (port.host_ip, port.protocol, port.host_port));
    let mut elements: Vec<Element> = Vec::new();
    for port in sorted {
        let IpAddr::V4(host) = port.host_ip else { continue };
        let element = Element {
            host: (!host.is_unspecified()).then_some(host),
            protocol: port.protocol,
            host_ports: port.host_port..=port.host_port,
            container: ip,
            container_port: port.container_port,
        };
        match elements.last_mut() {
            Some(last) if last.continues(&element) => {
                last.host_ports = *last.host_ports.start()..=port.host_port;
            }
            _ => elements.push(element),
        }
    }
    elements
}

/// `route_localnet` on the bridge, which published loopback addresses need, must not open the
/// host's own loopback services to containers.
fn guard(settings: &Settings) -> Chain {
    let bridge = settings.bridge.clone();
    let rules = vec![rule([Match::From(bridge), Match::Destination(LOOPBACK)], Action::Drop)];
    chain("guard", "filter", Point::Prerouting, -300, rules)
}

fn publish() -> Chain {
    let rules = Map::ALL.map(|map| rule([], Action::Rewrite(map))).to_vec();
    Chain { name: "publish", hook: None, rules }
}

fn prerouting() -> Chain {
    // From the wire only a forged packet has a loopback destination.
    let forged = [Match::NotFrom("lo".to_owned()), Match::Destination(LOOPBACK)];
    let rules = vec![
        rule(forged, Action::Accept),
        rule([Match::LocalDestination], Action::Jump("publish")),
    ];
    chain("prerouting", "nat", Point::Prerouting, -100, rules)
}

fn output() -> Chain {
    let rules = vec![rule([Match::LocalDestination], Action::Jump("publish"))];
    chain("output", "nat", Point::Output, -100, rules)
}

fn forward(settings: &Settings) -> Chain {
    let to = || Match::To(settings.bridge.clone());
    let from = || Match::From(settings.bridge.clone());
    let siblings = if settings.icc { Action::Accept } else { Action::Drop };
    let rules = vec![
        rule([to(), Match::Established], Action::Accept),
        rule([to(), Match::Published], Action::Accept),
        rule([from(), to()], siblings),
        rule([from()], Action::Accept),
        rule([to()], Action::Drop),
    ];
    chain("forward", "filter", Point::Forward, 0, rules)
}

fn postrouting(settings: &Settings) -> Chain {
    let subnet = || Match::Source(settings.subnet);
    let to = || Match::To(settings.bridge.clone());
    let mut rules = vec![
        // The host itself, by way of 127.0.0.1.
        rule([Match::Source(LOOPBACK), to()], Action::Masquerade),
        // A sibling, or the container itself: the answer has to come back through the host.
        rule([subnet(), to(), Match::Published], Action::Masquerade),
    ];
    if settings.masquerade {
        let leaves = Match::NotTo(settings.bridge.clone());
        rules.push(rule([subnet(), leaves], Action::Masquerade));
    }
    chain("postrouting", "nat", Point::Postrouting, 100, rules)
}

fn chain(
    name: &'static str,
    kind: &'static str,
    point: Point,
    priority: i32,
    rules: Vec<Rule>,
) -> Chain {
    Chain { name, hook: Some(Hook { kind, point, priority }), rules }
}

fn rule<const N: usize>(matches: [Match; N], action: Action) -> Rule {
    Rule { matches: matches.to_vec(), action }
}

impl Map {
    /// In the order they are looked up.
    pub(crate) const ALL: [Self; 3] = [Self::At, Self::Any, Self::Ranges];

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::At => "published_at",
            Self::Any => "published",
            Self::Ranges => "published_ranges",
        }
    }
}

impl Element {
    /// The map it belongs to.
    pub(crate) fn map(&self) -> Map {
        match self.host {
            _ if self.host_ports.start() != self.host_ports.end() => Map::Ranges,
            Some(_) => Map::At,
            None => Map::Any,
        }
    }

    fn keeps_port(&self) -> bool {
        self.container_port == *self.host_ports.start()
    }

    /// Whether `next` is the same with the port after this one's last.
    fn continues(&self, next: &Self) -> bool {
        self.keeps_port()
            && next.keeps_port()
            && self.host == next.host
            && self.protocol == next.protocol
            && self.host_ports.end().checked_add(1) == Some(*next.host_ports.start())
    }
}

impl fmt::Display for Ruleset {
    /// As nft(8) would have it, for tests and for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table ip {} {{", self.table)?;
        for element in &self.elements {
            writeln!(f, "\t{} {element}", element.map().name())?;
        }
        for chain in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(Hook { kind, point, priority }) = chain.hook {
                writeln!(f, "\t\ttype {kind} hook {point:?} priority {priority}")?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            match condition {
                Match::From(name) => write!(f, "iifname {name} "),
                Match::NotFrom(name) => write!(f, "iifname != {name} "),
                Match::To(name) => write!(f, "oifname {name} "),
                Match::NotTo(name) => write!(f, "oifname != {name} "),
                Match::Source(net) => write!(f, "ip saddr {net} "),
                Match::Destination(net) => write!(f, "ip daddr {net} "),
                Match::LocalDestination => f.write_str("fib daddr type local "),
                Match::Established => f.write_str("ct state established,related "),
                Match::Published => f.write_str("ct status dnat "),
            }?;
        }
        match self.action {
            Action::Accept => f.write_str("accept"),
            Action::Drop => f.write_str("drop"),
            Action::Jump(chain) => write!(f, "jump {chain}"),
            Action::Masquerade => f.write_str("masquerade"),
            Action::Rewrite(map) => write!(f, "dnat to @{}", map.name()),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.host_ports.start(), self.host_ports.end());
        write!(f, "{} {} {first}", self.host.unwrap_or(Ipv4Addr::UNSPECIFIED), self.protocol)?;
        match self.map() {
            Map::Ranges => write!(f, "-{last} : {}", self.container),
            Map::At | Map::Any => write!(f, " : {}:{}", self.container, self.container_port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            table: "davit".to_owned(),
            bridge: "davit0".to_owned(),
            subnet: "172.17.0.0/16".parse().expect("a subnet"),
            icc: true,
            masquerade: true,
        }
    }

    fn port(host: &str, host_port: u16, container_port: u16, protocol: Protocol) -> PortBinding {
        let host_ip = host.parse().expect("an address");
        PortBinding { host_ip, host_port, container_port, protocol }
    }

    #[test]
    fn the_whole_table_reads_like_this() {
        let web = Ipv4Addr::new(172, 17, 0, 2);
        let ports = vec![
            port("0.0.0.0", 8080, 80, Protocol::Tcp),
            port("127.0.0.1", 53, 53, Protocol::Udp),
            port("0.0.0.0", 9000, 9000, Protocol::Tcp),
            port("0.0.0.0", 9001, 9001, Protocol::Tcp),
        ];
        let text = ruleset(&settings(), &BTreeMap::from([(web, ports)])).to_string();
        let expected = "\
table ip davit {
\tpublished 0.0.0.0 tcp 8080 : 172.17.0.2:80
\tpublished_ranges 0.0.0.0 tcp 9000-9001 : 172.17.0.2
\tpublished_at 127.0.0.1 udp 53 : 172.17.0.2:53
\tchain guard {
\t\ttype filter hook Prerouting priority -300
\t\tiifname davit0 ip daddr 127.0.0.0/8 drop
\t}
\tchain publish {
\t\tdnat to @published_at
\t\tdnat to @published
\t\tdnat to @published_ranges
\t}
\tchain prerouting {
\t\ttype nat hook Prerouting priority -100
\t\tiifname != lo ip daddr 127.0.0.0/8 accept
\t\tfib daddr type local jump publish
\t}
\tchain output {
\t\ttype nat hook Output priority -100
\t\tfib daddr type local jump publish
\t}
\tchain forward {
\t\ttype filter hook Forward priority 0
\t\toifname davit0 ct state established,related accept
\t\toifname davit0 ct status dnat accept
\t\tiifname davit0 oifname davit0 accept
\t\tiifname davit0 accept
\t\toifname davit0 drop
\t}
\tchain postrouting {
\t\ttype nat hook Postrouting priority 100
\t\tip saddr 127.0.0.0/8 oifname davit0 masquerade
\t\tip saddr 172.17.0.0/16 oifname davit0 ct status dnat masquerade
\t\tip saddr 172.17.0.0/16 oifname != davit0 masquerade
\t}
}
";
        assert_eq!(text, expected);
    }

    #[test]
    fn without_icc_siblings_are_dropped_but_published_ports_are_not() {
        let text = ruleset(&Settings { icc: false, ..settings() }, &BTreeMap::new()).to_string();
        let published = text.find("ct status dnat accept").expect("published ports");
        let siblings = text.find("iifname davit0 oifname davit0 drop").expect("siblings");
        assert!(published < siblings);
    }

    #[test]
    fn ports_that_keep_their_number_become_one_range() {
        let ip = Ipv4Addr::new(172, 17, 0, 2);
        let mut ports: Vec<_> =
            (8000..9000).map(|p| port("0.0.0.0", p, p, Protocol::Tcp)).collect();
        ports.reverse();
        let found = elements(ip, &ports);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].host_ports, 8000..=8999);

        let gap = [8000, 8001, 8003].map(|p| port("0.0.0.0", p, p, Protocol::Tcp));
        assert_eq!(elements(ip, &gap).len(), 2);
        let protocols = [
            port("0.0.0.0", 8000, 8000, Protocol::Tcp),
            port("0.0.0.0", 8001, 8001, Protocol::Udp),
            port("10.0.0.1", 8001, 8001, Protocol::Tcp),
            port("0.0.0.0", 65535, 65535, Protocol::Tcp),
        ];
        assert_eq!(elements(ip, &protocols).len(), 4);
        let shifted =
            [port("0.0.0.0", 8000, 80, Protocol::Tcp), port("0.0.0.0", 8001, 81, Protocol::Tcp)];
        assert_eq!(elements(ip, &shifted).len(), 2);
    }
}
