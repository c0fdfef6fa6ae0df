//! What should be in a table: a pure function of the networks and the published ports.
//!
//! ```text
//! prerouting  ─┐ destination is a local address                      ┌ map "published_at"
//! output      ─┴─────────────────────────────▶ chain "publish" dnat ─┼ map "published"
//!                                                                    └ map "published_ranges"
//! forward       established; then out of internal networks: nothing; then, network by network,
//!               what is published or comes from a sibling; nothing else gets in
//! postrouting   masquerade: leaving traffic, loopback sources, siblings by way of the host
//! ```
//! The first map is for ports of one host address, the second for those of all. Neighbouring ports
//! that keep their number share one element of the third however many they are, as the address alone
//! is rewritten. Single ports are kept out of that one: a range map takes as long for a change as it
//! has elements, the others are hash tables. The set "open" holds the ports of containers that are
//! reached by their own addresses (gateway mode `routed`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::options::GatewayMode;
use crate::sandbox::{PortBinding, Protocol};

/// A version of the internet protocol; each has a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A map of the table, or its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Map {
    /// Host address, protocol and port to address and port.
    At,
    /// Protocol and port to address and port.
    Any,
    /// Host address, protocol and port, each a range, to an address.
    Ranges,
    /// Container's address, protocol and port, the last a range. Only a set.
    Open,
}

/// What the rules depend on beside the ports.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) family: Family,
    pub(crate) table: String,
    /// In an order that stays.
    pub(crate) bridges: Vec<BridgeRules>,
}

/// A network, as far as the rules depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeRules {
    /// Name of the interface.
    pub(crate) name: String,
    pub(crate) subnet: IpNet,
    /// Containers may talk to each other.
    pub(crate) icc: bool,
    /// Without a way out or in.
    pub(crate) internal: bool,
    pub(crate) mode: GatewayMode,
    pub(crate) source: Source,
}

/// What becomes of the source of leaving traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Kept,
    /// The address of the interface it leaves by.
    Interface,
    Address(IpAddr),
}

/// The published ports of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) ports: Vec<PortBinding>,
    /// By the container's own address.
    pub(crate) routed: bool,
}

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) maps: &'static [Map],
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
    Source(IpNet),
    Destination(IpNet),
    /// The destination is an address of this host.
    LocalDestination,
    /// Belongs to a connection that was let through.
    Established,
    /// Its connection's destination was rewritten.
    Published,
    /// ICMP, of the table's family.
    ControlMessage(Family),
    /// The destination and its port are in the set "open".
    Open,
    /// The destination's port.
    Port(Protocol, u16),
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Drop,
    Jump(&'static str),
    Masquerade,
    /// The source becomes this address.
    Source(IpAddr),
    /// The destination is looked up.
    Rewrite(Map),
    /// The destination becomes this address and port.
    Destination(Ipv4Addr, u16),
}

/// An entry of one of the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    /// Absent: all of them.
    pub(crate) host: Option<IpAddr>,
    pub(crate) protocol: Protocol,
    /// More than one only if they are the container's as well.
    pub(crate) host_ports: RangeInclusive<u16>,
    pub(crate) container: IpAddr,
    /// The first one.
    pub(crate) container_port: u16,
    /// Reached by the container's own address.
    pub(crate) routed: bool,
}

/// The table that serves `published`, ports by the containers' addresses; those of the other family
/// are left out.
pub(crate) fn ruleset(settings: &Settings, published: &BTreeMap<IpAddr, Published>) -> Ruleset {
    let own = published.iter().filter(|(ip, _)| Family::of(**ip) == settings.family);
    Ruleset {
        family: settings.family,
        table: settings.table.clone(),
        maps: &Map::ALL,
        chains: vec![
            guard(settings),
            publish(settings.family),
            prerouting(settings.family),
            output(),
            forward(settings),
            postrouting(settings),
        ],
        elements: own.flat_map(|(ip, published)| elements(*ip, published)).collect(),
    }
}

/// The table inside a container that leads queries to the resolver at `address` to the ports it
/// really has, UDP and TCP.
pub(crate) fn resolver(address: Ipv4Addr, ports: [u16; 2]) -> Ruleset {
    let to = IpNet::V4(Ipv4Net::new_assert(address, 32));
    let rules = [Protocol::Udp, Protocol::Tcp].into_iter().zip(ports).map(|(protocol, port)| {
        let matches = [Match::Destination(to), Match::Port(protocol, 53)];
        rule(matches, Action::Destination(address, port))
    });
    Ruleset {
        family: Family::V4,
        table: "davit-dns".to_owned(),
        maps: &[],
        chains: vec![chain("output", "nat", Point::Output, -100, rules.collect())],
        elements: Vec::new(),
    }
}

/// The maps' entries for the ports of the container at `ip`. Only a function of its arguments:
/// what was added is found again to be deleted.
pub(crate) fn elements(ip: IpAddr, published: &Published) -> Vec<Element> {
    let family = Family::of(ip);
    let mut found: Vec<Element> = published
        .ports
        .iter()
        .filter(|port| Family::of(port.host_ip) == family)
        .map(|port| {
            let first = if published.routed { port.container_port } else { port.host_port };
            Element {
                host: (!port.host_ip.is_unspecified()).then_some(port.host_ip),
                protocol: port.protocol,
                host_ports: first..=first,
                container: ip,
                container_port: port.container_port,
                routed: published.routed,
            }
        })
        .collect();
    if published.routed {
        found.iter_mut().for_each(|element| element.host = None);
    }
    found.sort_by_key(|element| (element.host, element.protocol, *element.host_ports.start()));
    let mut elements: Vec<Element> = Vec::new();
    for element in found {
        match elements.last_mut() {
            Some(last) if last.continues(&element) => {
                last.host_ports = *last.host_ports.start()..=*element.host_ports.end();
            }
            // One port of a container's own address published twice is open once.
            Some(last) if element.routed && *last == element => {}
            _ => elements.push(element),
        }
    }
    elements
}

/// `route_localnet` on a bridge, which published loopback addresses need, must not open the host's
/// own loopback services to containers.
fn guard(settings: &Settings) -> Chain {
    let loopback = settings.family.loopback();
    let guard = |bridge: &BridgeRules| {
        rule([Match::From(bridge.name.clone()), Match::Destination(loopback)], Action::Drop)
    };
    let rules = settings.bridges.iter().map(guard).collect();
    chain("guard", "filter", Point::Prerouting, -300, rules)
}

fn publish(_: Family) -> Chain {
    let rules = Map::REWRITES.map(|map| rule([], Action::Rewrite(map))).to_vec();
    Chain { name: "publish", hook: None, rules }
}

fn prerouting(family: Family) -> Chain {
    // From the wire only a forged packet has a loopback destination.
    let forged = [Match::NotFrom("lo".to_owned()), Match::Destination(family.loopback())];
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

/// All that concerns leaving an internal network comes before whatever lets packets into another.
fn forward(settings: &Settings) -> Chain {
    let mut rules = vec![rule([Match::Established], Action::Accept)];
    for bridge in settings.bridges.iter().filter(|bridge| bridge.internal) {
        let (from, to) = (Match::From(bridge.name.clone()), Match::NotTo(bridge.name.clone()));
        rules.push(rule([from, to], Action::Drop));
    }
    for bridge in &settings.bridges {
        rules.append(&mut incoming(bridge, settings.family));
    }
    chain("forward", "filter", Point::Forward, 0, rules)
}

/// What gets into a network.
fn incoming(bridge: &BridgeRules, family: Family) -> Vec<Rule> {
    let to = || Match::To(bridge.name.clone());
    let siblings = if bridge.icc { Action::Accept } else { Action::Drop };
    let mut rules = Vec::new();
    if !bridge.internal {
        rules.push(rule([to(), Match::Published], Action::Accept));
    }
    rules.push(rule([Match::From(bridge.name.clone()), to()], siblings));
    match bridge.mode {
        _ if bridge.internal => {}
        GatewayMode::Routed => {
            rules.push(rule([to(), Match::ControlMessage(family)], Action::Accept));
            rules.push(rule([to(), Match::Open], Action::Accept));
        }
        GatewayMode::NatUnprotected => rules.push(rule([to()], Action::Accept)),
        GatewayMode::Nat | GatewayMode::Isolated => {}
    }
    rules.push(rule([to()], Action::Drop));
    rules
}

fn postrouting(settings: &Settings) -> Chain {
    let mut rules = Vec::new();
    for bridge in &settings.bridges {
        let subnet = || Match::Source(bridge.subnet);
        let to = || Match::To(bridge.name.clone());
        // The host itself, by way of 127.0.0.1.
        rules.push(rule([Match::Source(settings.family.loopback()), to()], Action::Masquerade));
        // A sibling, or the container itself: the answer has to come back through the host.
        rules.push(rule([subnet(), to(), Match::Published], Action::Masquerade));
        let leaves = [subnet(), Match::NotTo(bridge.name.clone())];
        match bridge.source {
            Source::Kept => {}
            Source::Interface => rules.push(rule(leaves, Action::Masquerade)),
            Source::Address(address) => rules.push(rule(leaves, Action::Source(address))),
        }
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

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) fn of_net(net: &IpNet) -> Self {
        Self::of(net.addr())
    }

    /// Its place in lists of one thing for each.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// `NFPROTO_*`, and `AF_*`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// nft(8)'s name for tables and matches.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn loopback(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            Self::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        }
    }
}

impl Map {
    /// Those that destinations are looked up in, in this order.
    const REWRITES: [Self; 3] = [Self::At, Self::Any, Self::Ranges];
    /// All of a table.
    pub(crate) const ALL: [Self; 4] = [Self::At, Self::Any, Self::Ranges, Self::Open];

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::At => "published_at",
            Self::Any => "published",
            Self::Ranges => "published_ranges",
            Self::Open => "open",
        }
    }
}

impl Element {
    /// The map it belongs to.
    pub(crate) fn map(&self) -> Map {
        match self.host {
            _ if self.routed => Map::Open,
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
        writeln!(f, "table {} {} {{", self.family.name(), self.table)?;
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
        let family = |net: &IpNet| Family::of_net(net).name();
        for condition in &self.matches {
            match condition {
                Match::From(name) => write!(f, "iifname {name} "),
                Match::NotFrom(name) => write!(f, "iifname != {name} "),
                Match::To(name) => write!(f, "oifname {name} "),
                Match::NotTo(name) => write!(f, "oifname != {name} "),
                Match::Source(net) => write!(f, "{} saddr {net} ", family(net)),
                Match::Destination(net) => write!(f, "{} daddr {net} ", family(net)),
                Match::LocalDestination => f.write_str("fib daddr type local "),
                Match::Established => f.write_str("ct state established,related "),
                Match::Published => f.write_str("ct status dnat "),
                Match::ControlMessage(Family::V4) => f.write_str("meta l4proto icmp "),
                Match::ControlMessage(Family::V6) => f.write_str("meta l4proto ipv6-icmp "),
                Match::Open => f.write_str("daddr . l4proto . dport @open "),
                Match::Port(protocol, port) => write!(f, "{protocol} dport {port} "),
            }?;
        }
        match self.action {
            Action::Accept => f.write_str("accept"),
            Action::Drop => f.write_str("drop"),
            Action::Jump(chain) => write!(f, "jump {chain}"),
            Action::Masquerade => f.write_str("masquerade"),
            Action::Source(address) => write!(f, "snat to {address}"),
            Action::Rewrite(map) => write!(f, "dnat to @{}", map.name()),
            Action::Destination(address, port) => write!(f, "dnat to {address}:{port}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.host_ports.start(), self.host_ports.end());
        let any = match Family::of(self.container) {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        match self.map() {
            Map::Open => write!(f, "{} {} {first}-{last}", self.container, self.protocol),
            Map::Ranges => {
                let host = self.host.unwrap_or(any);
                write!(f, "{host} {} {first}-{last} : {}", self.protocol, self.container)
            }
            Map::At | Map::Any => {
                let (host, target) = (self.host.unwrap_or(any), self.container);
                write!(f, "{host} {} {first} : {target}:{}", self.protocol, self.container_port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &str, subnet: &str) -> BridgeRules {
        BridgeRules {
            name: name.to_owned(),
            subnet: subnet.parse().expect("a subnet"),
            icc: true,
            internal: false,
            mode: GatewayMode::Nat,
            source: Source::Interface,
        }
    }

    fn settings(bridges: &[BridgeRules]) -> Settings {
        Settings { family: Family::V4, table: "davit".to_owned(), bridges: bridges.to_vec() }
    }

    fn port(host: &str, host_port: u16, container_port: u16, protocol: Protocol) -> PortBinding {
        let host_ip = host.parse().expect("an address");
        PortBinding { host_ip, host_port, container_port, protocol }
    }

    fn nat(ports: &[PortBinding]) -> Published {
        Published { ports: ports.to_vec(), routed: false }
    }

    fn chain_text(settings: &Settings, name: &str) -> Vec<String> {
        let whole = ruleset(settings, &BTreeMap::new());
        let chain = whole.chains.iter().find(|chain| chain.name == name).expect("the chain");
        chain.rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_whole_table_reads_like_this() {
        let web = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 2));
        let ports = nat(&[
            port("0.0.0.0", 8080, 80, Protocol::Tcp),
            port("127.0.0.1", 53, 53, Protocol::Udp),
            port("0.0.0.0", 9000, 9000, Protocol::Tcp),
            port("0.0.0.0", 9001, 9001, Protocol::Tcp),
            port("::", 9001, 9001, Protocol::Tcp),
        ]);
        let bridges = [bridge("davit0", "172.17.0.0/16")];
        let text = ruleset(&settings(&bridges), &BTreeMap::from([(web, ports)])).to_string();
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
\t\tct state established,related accept
\t\toifname davit0 ct status dnat accept
\t\tiifname davit0 oifname davit0 accept
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
    fn internal_networks_are_shut_before_anything_is_let_in() {
        let internal =
            BridgeRules { internal: true, source: Source::Kept, ..bridge("br-b", "10.2.0.0/24") };
        let settings = settings(&[bridge("br-a", "10.1.0.0/24"), internal]);
        assert_eq!(
            chain_text(&settings, "forward"),
            [
                "ct state established,related accept",
                "iifname br-b oifname != br-b drop",
                "oifname br-a ct status dnat accept",
                "iifname br-a oifname br-a accept",
                "oifname br-a drop",
                "iifname br-b oifname br-b accept",
                "oifname br-b drop",
            ]
        );
    }

    #[test]
    fn gateway_modes_decide_what_comes_in_and_what_leaving_traffic_looks_like() {
        let unprotected =
            BridgeRules { mode: GatewayMode::NatUnprotected, ..bridge("br-a", "10.1.0.0/24") };
        let text = chain_text(&settings(&[unprotected]), "forward");
        assert_eq!(text[text.len() - 2..], ["oifname br-a accept", "oifname br-a drop"]);

        let v6 = BridgeRules {
            mode: GatewayMode::Routed,
            source: Source::Address("2001:db8::1".parse().expect("an address")),
            ..bridge("br-a", "fd00::/64")
        };
        let settings = Settings { family: Family::V6, ..settings(&[v6]) };
        assert_eq!(
            chain_text(&settings, "forward")[3..],
            [
                "oifname br-a meta l4proto ipv6-icmp accept",
                "oifname br-a daddr . l4proto . dport @open accept",
                "oifname br-a drop",
            ]
        );
        let last = chain_text(&settings, "postrouting").pop();
        assert_eq!(
            last.as_deref(),
            Some("ip6 saddr fd00::/64 oifname != br-a snat to 2001:db8::1")
        );
    }

    #[test]
    fn without_icc_siblings_are_dropped_but_published_ports_are_not() {
        let alone = BridgeRules { icc: false, ..bridge("davit0", "172.17.0.0/16") };
        let text = ruleset(&settings(&[alone]), &BTreeMap::new()).to_string();
        let published = text.find("ct status dnat accept").expect("published ports");
        let siblings = text.find("iifname davit0 oifname davit0 drop").expect("siblings");
        assert!(published < siblings);
    }

    #[test]
    fn ports_that_keep_their_number_become_one_range() {
        let ip = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 2));
        let mut ports: Vec<_> =
            (8000..9000).map(|p| port("0.0.0.0", p, p, Protocol::Tcp)).collect();
        ports.reverse();
        let found = elements(ip, &nat(&ports));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].host_ports, 8000..=8999);

        let gap = [8000, 8001, 8003].map(|p| port("0.0.0.0", p, p, Protocol::Tcp));
        assert_eq!(elements(ip, &nat(&gap)).len(), 2);
        let protocols = [
            port("0.0.0.0", 8000, 8000, Protocol::Tcp),
            port("0.0.0.0", 8001, 8001, Protocol::Udp),
            port("10.0.0.1", 8001, 8001, Protocol::Tcp),
            port("0.0.0.0", 65535, 65535, Protocol::Sctp),
        ];
        assert_eq!(elements(ip, &nat(&protocols)).len(), 4);
        let shifted =
            [port("0.0.0.0", 8000, 80, Protocol::Tcp), port("0.0.0.0", 8001, 81, Protocol::Tcp)];
        assert_eq!(elements(ip, &nat(&shifted)).len(), 2);
    }

    #[test]
    fn queries_are_led_to_the_resolvers_ports() {
        let text = resolver(Ipv4Addr::new(127, 0, 0, 11), [1001, 1002]).to_string();
        let expected = "\
table ip davit-dns {
\tchain output {
\t\ttype nat hook Output priority -100
\t\tip daddr 127.0.0.11/32 udp dport 53 dnat to 127.0.0.11:1001
\t\tip daddr 127.0.0.11/32 tcp dport 53 dnat to 127.0.0.11:1002
\t}
}
";
        assert_eq!(text, expected);
    }

    #[test]
    fn routed_ports_are_open_at_the_containers_address() {
        let ip: IpAddr = "fd00::2".parse().expect("an address");
        let ports = vec![
            port("::", 0, 80, Protocol::Tcp),
            port("::1", 0, 80, Protocol::Tcp),
            port("::", 0, 81, Protocol::Tcp),
            port("0.0.0.0", 8080, 80, Protocol::Tcp),
        ];
        let found = elements(ip, &Published { ports, routed: true });
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["fd00::2 tcp 80-81"]
        );
        assert_eq!(found[0].map(), Map::Open);
    }
}
