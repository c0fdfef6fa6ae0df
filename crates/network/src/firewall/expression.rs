//! Rules as lists of nf_tables' expressions: loads into a register, comparisons, an action.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::Attributes;
use super::table::{Action, Family, Map, Match, Rule};

const LIST_ELEM: u16 = 1;
/// The first 16-byte register; its four-byte parts are 8, 9, 10 and 11, and 12 follows.
const REGISTER: u32 = 1;
const PART_0: u32 = 8;
const VERDICT_REGISTER: u32 = 0;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_STATE_ESTABLISHED_RELATED: u32 = 2 | 4;
const CT_STATUS_DNAT: u32 = 1 << 5;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 1 << 1;
const RTN_LOCAL: u32 = 2;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFT_JUMP: u32 = -3i32 as u32;
const INTERFACE_NAME_LENGTH: usize = 16;

/// A rule's expressions.
pub(crate) fn of_rule(family: Family, rule: &Rule) -> Attributes {
    rule.matches
        .iter()
        .map(|condition| match_expressions(family, condition))
        .chain([action_expressions(family, rule.action)])
        .fold(Attributes::default(), |all, one| all.append(&one))
}

fn match_expressions(family: Family, condition: &Match) -> Attributes {
    match condition {
        Match::From(name) => interface(META_IIFNAME, EQUAL, name),
        Match::NotFrom(name) => interface(META_IIFNAME, NOT_EQUAL, name),
        Match::To(name) => interface(META_OIFNAME, EQUAL, name),
        Match::NotTo(name) => interface(META_OIFNAME, NOT_EQUAL, name),
        Match::Source(net) => within(source_offset(family), *net),
        Match::Destination(net) => within(destination_offset(family), *net),
        Match::LocalDestination => {
            let fib = Attributes::default()
                .u32(1, REGISTER)
                .u32(2, FIB_RESULT_ADDRTYPE)
                .u32(3, FIB_DADDR);
            expression("fib", fib).append(&compare(EQUAL, &RTN_LOCAL.to_ne_bytes()))
        }
        Match::Established => connection_bits(CT_STATE, CT_STATE_ESTABLISHED_RELATED),
        Match::Published => connection_bits(CT_STATUS, CT_STATUS_DNAT),
        Match::ControlMessage(family) => {
            let number = if *family == Family::V4 { ICMP } else { ICMPV6 };
            let load = Attributes::default().u32(1, REGISTER).u32(2, META_L4PROTO);
            expression("meta", load).append(&compare(EQUAL, &[number]))
        }
        Match::Port(protocol, port) => {
            let kind = Attributes::default().u32(1, REGISTER).u32(2, META_L4PROTO);
            expression("meta", kind)
                .append(&compare(EQUAL, &[protocol.number()]))
                .append(&load(TRANSPORT_HEADER, 2, 2, REGISTER))
                .append(&compare(EQUAL, &port.to_be_bytes()))
        }
        Match::Open => {
            let found = Attributes::default().text(1, Map::Open.name()).u32(2, REGISTER);
            key(family, Map::Open).append(&expression("lookup", found))
        }
    }
}

fn action_expressions(family: Family, action: Action) -> Attributes {
    const SNAT: u32 = 0;
    match action {
        Action::Accept => verdict(Attributes::default().u32(1, NF_ACCEPT)),
        Action::Drop => verdict(Attributes::default().u32(1, NF_DROP)),
        Action::Jump(chain) => verdict(Attributes::default().u32(1, NFT_JUMP).text(2, chain)),
        Action::Masquerade => expression("masq", Attributes::default()),
        Action::Source(address) => {
            let data = value(&octets(address));
            let load = Attributes::default().u32(1, REGISTER).nested(2, data);
            expression("immediate", load).append(&expression("nat", translation(family, SNAT)))
        }
        Action::Destination(address, port) => {
            let set = |register, bytes: &[u8]| {
                let load = Attributes::default().u32(1, register).nested(2, value(bytes));
                expression("immediate", load)
            };
            set(REGISTER, &address.octets())
                .append(&set(PART_0 + 1, &port.to_be_bytes()))
                .append(&expression("nat", rewrite(family).u32(5, PART_0 + 1)))
        }
        Action::Rewrite(Map::Ranges) => {
            lookup(family, Map::Ranges).append(&expression("nat", rewrite(family)))
        }
        Action::Rewrite(map) => lookup(family, map)
            .append(&expression("nat", rewrite(family).u32(5, after_address(family)))),
    }
}

/// Destination NAT to the address in the register.
fn rewrite(family: Family) -> Attributes {
    const DNAT: u32 = 1;
    translation(family, DNAT)
}

fn translation(family: Family, kind: u32) -> Attributes {
    Attributes::default().u32(1, kind).u32(2, u32::from(family.number())).u32(3, REGISTER)
}

/// Loads the key of `map` and replaces it by what the map has for it; without an entry the rule
/// ends here.
fn lookup(family: Family, map: Map) -> Attributes {
    let found = Attributes::default().text(1, map.name()).u32(2, REGISTER).u32(3, REGISTER);
    key(family, map).append(&expression("lookup", found))
}

/// Loads the key of `map`.
fn key(family: Family, map: Map) -> Attributes {
    let protocol =
        |part| expression("meta", Attributes::default().u32(1, part).u32(2, META_L4PROTO));
    let port = |part| load(TRANSPORT_HEADER, 2, 2, part);
    let part = after_address(family);
    match map {
        Map::Any => protocol(REGISTER).append(&port(PART_0 + 1)),
        Map::At | Map::Ranges | Map::Open => {
            load(NETWORK_HEADER, destination_offset(family), family.length() as u32, REGISTER)
                .append(&protocol(part))
                .append(&port(part + 1))
        }
    }
}

/// The part of the registers that follows an address in the first one.
fn after_address(family: Family) -> u32 {
    PART_0 + family.length() as u32 / 4
}

fn source_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

fn destination_offset(family: Family) -> u32 {
    source_offset(family) + family.length() as u32
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn interface(key: u32, operator: u32, name: &str) -> Attributes {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(INTERFACE_NAME_LENGTH, 0);
    let load = Attributes::default().u32(1, REGISTER).u32(2, key);
    expression("meta", load).append(&compare(operator, &padded))
}

fn within(offset: u32, net: IpNet) -> Attributes {
    let (netmask, network) = (octets(net.netmask()), octets(net.network()));
    load(NETWORK_HEADER, offset, netmask.len() as u32, REGISTER)
        .append(&mask(&netmask))
        .append(&compare(EQUAL, &network))
}

fn connection_bits(key: u32, bits: u32) -> Attributes {
    let load = Attributes::default().u32(1, REGISTER).u32(2, key);
    // In the host's byte order, unlike addresses.
    let mask = mask(&bits.to_ne_bytes());
    expression("ct", load).append(&mask).append(&compare(NOT_EQUAL, &[0; 4]))
}

fn mask(mask: &[u8]) -> Attributes {
    let bitwise = Attributes::default()
        .u32(1, REGISTER)
        .u32(2, REGISTER)
        .u32(3, mask.len() as u32)
        .nested(4, value(mask))
        .nested(5, value(&vec![0; mask.len()]));
    expression("bitwise", bitwise)
}

fn load(base: u32, offset: u32, length: u32, register: u32) -> Attributes {
    let payload = Attributes::default().u32(1, register).u32(2, base).u32(3, offset).u32(4, length);
    expression("payload", payload)
}

fn compare(operator: u32, bytes: &[u8]) -> Attributes {
    let cmp = Attributes::default().u32(1, REGISTER).u32(2, operator).nested(3, value(bytes));
    expression("cmp", cmp)
}

fn verdict(verdict: Attributes) -> Attributes {
    let data = Attributes::default().nested(2, verdict);
    expression("immediate", Attributes::default().u32(1, VERDICT_REGISTER).nested(2, data))
}

fn expression(name: &str, data: Attributes) -> Attributes {
    let expression = Attributes::default().text(1, name).nested(2, data);
    Attributes::default().nested(LIST_ELEM, expression)
}

/// `NFTA_DATA_VALUE`.
fn value(bytes: &[u8]) -> Attributes {
    Attributes::default().bytes(1, bytes)
}
