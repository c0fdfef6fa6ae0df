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
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::table::{
    Action, BridgeRules, Chain, Element, Family, Hook, Map, Match, Point, Published, Rule, Ruleset,
    Settings, Source,
};
use crate::options::GatewayMode;
use crate::sandbox::Protocol;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::GatewayMode;
    use crate::sandbox::PortBinding;

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
