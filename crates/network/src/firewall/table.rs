//! What a table consists of: its chains and their rules, its maps and their elements.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

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

    pub(crate) fn loopback(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            Self::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        }
    }
}

impl Map {
    /// Those that destinations are looked up in, in this order.
    pub(crate) const REWRITES: [Self; 3] = [Self::At, Self::Any, Self::Ranges];
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
    pub(crate) fn continues(&self, next: &Self) -> bool {
        self.keeps_port()
            && next.keeps_port()
            && self.host == next.host
            && self.protocol == next.protocol
            && self.host_ports.end().checked_add(1) == Some(*next.host_ports.start())
    }
}
