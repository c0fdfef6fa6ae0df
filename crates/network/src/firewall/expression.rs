//! Rules as lists of nf_tables' expressions: loads into a register, comparisons, an action.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::message::Attributes;
use super::ruleset::{Action, Map, Match, Rule};

/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
const LIST_ELEM: u16 = 1;
/// The first 16-byte register; its four-byte parts are 8, 9, 10 and 11.
const REGISTER: u32 = 1;
const PART_1: u32 = 9;
const PART_2: u32 = 10;
const VERDICT_REGISTER: u32 = 0;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;
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
pub(crate) fn of_rule(rule: &Rule) -> Attributes {
    rule.matches
        .iter()
        .map(match_expressions)
        .chain([action_expressions(rule.action)])
        .fold(Attributes::default(), |all, one| all.append(&one))
}

fn match_expressions(condition: &Match) -> Attributes {
    match condition {
        Match::From(name) => interface(META_IIFNAME, EQUAL, name),
        Match::NotFrom(name) => interface(META_IIFNAME, NOT_EQUAL, name),
        Match::To(name) => interface(META_OIFNAME, EQUAL, name),
        Match::NotTo(name) => interface(META_OIFNAME, NOT_EQUAL, name),
        Match::Source(net) => within(SOURCE_OFFSET, *net),
        Match::Destination(net) => within(DESTINATION_OFFSET, *net),
        Match::LocalDestination => {
            let fib = Attributes::default()
                .u32(1, REGISTER)
                .u32(2, FIB_RESULT_ADDRTYPE)
                .u32(3, FIB_DADDR);
            expression("fib", fib).append(&compare(EQUAL, &RTN_LOCAL.to_ne_bytes()))
        }
        Match::Established => connection_bits(CT_STATE, CT_STATE_ESTABLISHED_RELATED),
        Match::Published => connection_bits(CT_STATUS, CT_STATUS_DNAT),
    }
}

fn action_expressions(action: Action) -> Attributes {
    match action {
        Action::Accept => verdict(Attributes::default().u32(1, NF_ACCEPT)),
        Action::Drop => verdict(Attributes::default().u32(1, NF_DROP)),
        Action::Jump(chain) => verdict(Attributes::default().u32(1, NFT_JUMP).text(2, chain)),
        Action::Masquerade => expression("masq", Attributes::default()),
        Action::Rewrite(Map::Ranges) => lookup(Map::Ranges).append(&expression("nat", rewrite())),
        Action::Rewrite(map) => lookup(map).append(&expression("nat", rewrite().u32(5, PART_1))),
    }
}

/// Destination NAT to the address in the register.
fn rewrite() -> Attributes {
    const DNAT: u32 = 1;
    Attributes::default().u32(1, DNAT).u32(2, u32::from(IPV4)).u32(3, REGISTER)
}

/// Loads the key of `map` and replaces it by what the map has for it; without an entry the rule
/// ends here.
fn lookup(map: Map) -> Attributes {
    let protocol =
        |part| expression("meta", Attributes::default().u32(1, part).u32(2, META_L4PROTO));
    let port = |part| load(TRANSPORT_HEADER, 2, 2, part);
    let key = match map {
        Map::Any => protocol(REGISTER).append(&port(PART_1)),
        Map::At | Map::Ranges => load(NETWORK_HEADER, DESTINATION_OFFSET, 4, REGISTER)
            .append(&protocol(PART_1))
            .append(&port(PART_2)),
    };
    let found = Attributes::default().text(1, map.name()).u32(2, REGISTER).u32(3, REGISTER);
    key.append(&expression("lookup", found))
}

fn interface(key: u32, operator: u32, name: &str) -> Attributes {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(INTERFACE_NAME_LENGTH, 0);
    let load = Attributes::default().u32(1, REGISTER).u32(2, key);
    expression("meta", load).append(&compare(operator, &padded))
}

fn within(offset: u32, net: Ipv4Net) -> Attributes {
    load(NETWORK_HEADER, offset, 4, REGISTER)
        .append(&mask(&net.netmask()))
        .append(&compare(EQUAL, &net.network().octets()))
}

fn connection_bits(key: u32, bits: u32) -> Attributes {
    let load = Attributes::default().u32(1, REGISTER).u32(2, key);
    // In the host's byte order, unlike addresses.
    let mask = mask(&Ipv4Addr::from(bits.to_ne_bytes()));
    expression("ct", load).append(&mask).append(&compare(NOT_EQUAL, &[0; 4]))
}

fn mask(mask: &Ipv4Addr) -> Attributes {
    let bitwise = Attributes::default()
        .u32(1, REGISTER)
        .u32(2, REGISTER)
        .u32(3, 4)
        .nested(4, value(&mask.octets()))
        .nested(5, value(&[0; 4]));
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
