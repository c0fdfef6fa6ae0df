//! A table as nft(8) would have it, for tests and for people.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::table::{Action, Element, Family, Hook, Map, Match, Rule, Ruleset};

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
