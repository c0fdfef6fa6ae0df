//! Writes the table: a [`Ruleset`] as nf_tables' netlink messages, applied in one transaction.
//!
//! Each function makes a batch the kernel carries out as a whole or not at all. Every message asks
//! for an answer of its own, as kernels before 6.10 don't acknowledge the batch's end.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::message::{Attributes, concatenated};
use super::ruleset::{
    Action, Chain, Element, Hook, Match, PUBLISHED, PUBLISHED_SAME, Point, Rule, Ruleset,
};
use crate::netlink::{APPEND, Batch, CREATE, Connection, NETLINK_NETFILTER};

// linux/netfilter/nfnetlink.h, nf_tables.h; names as there, without their prefixes.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
const NEWSET: u16 = SUBSYSTEM << 8 | 9;
const NEWSETELEM: u16 = SUBSYSTEM << 8 | 12;
const DELSETELEM: u16 = SUBSYSTEM << 8 | 14;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// Everything in this module names its table by attribute 1.
const TABLE: u16 = 1;
const LIST_ELEM: u16 = 1;

const SET_FLAGS: u32 = 0x4 | 0x8 | 0x80; // interval, map, concatenation
// nft(8)'s numbers of data types, six bits each when concatenated.
const TYPE_IPV4_ADDR: u32 = 7;
const TYPE_INET_PROTO: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
/// Tells nft(8) that keys and data are in network byte order.
const SET_USERDATA: [u8; 12] = [0, 4, 2, 0, 0, 0, 1, 4, 2, 0, 0, 0];

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

/// Elements of one message: far below the 64 KiB an attribute can hold.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// Whether there is a table of that name.
pub(crate) fn exists(table: &str) -> io::Result<bool> {
    let connection = Connection::open(NETLINK_NETFILTER)?;
    match connection.get(GETTABLE, named(table).as_bytes()) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the table what `ruleset` says; no packet sees anything in between.
pub(crate) fn replace_table(ruleset: &Ruleset) -> io::Result<()> {
    let table = named(&ruleset.table);
    transaction(|batch| {
        // Deleting needs it to be there.
        batch.push(NEWTABLE, CREATE, table.as_bytes());
        batch.push(DELTABLE, 0, table.as_bytes());
        batch.push(NEWTABLE, CREATE, table.as_bytes());
        for (id, map) in [(1, PUBLISHED), (2, PUBLISHED_SAME)] {
            batch.push(NEWSET, CREATE, map_definition(&ruleset.table, map, id).as_bytes());
        }
        for chain in &ruleset.chains {
            batch.push(NEWCHAIN, CREATE, chain_definition(&ruleset.table, chain).as_bytes());
        }
        for chain in &ruleset.chains {
            for rule in &chain.rules {
                let rule = rule_definition(&ruleset.table, chain.name, rule);
                batch.push(NEWRULE, CREATE | APPEND, rule.as_bytes());
            }
        }
        push_elements(batch, NEWSETELEM, CREATE, &ruleset.table, &ruleset.elements);
    })
}

/// Adds elements to the maps of an existing table.
pub(crate) fn add_elements(table: &str, elements: &[Element]) -> io::Result<()> {
    transaction(|batch| push_elements(batch, NEWSETELEM, CREATE, table, elements))
}

/// Deletes elements of the maps.
pub(crate) fn delete_elements(table: &str, elements: &[Element]) -> io::Result<()> {
    transaction(|batch| push_elements(batch, DELSETELEM, 0, table, elements))
}

fn transaction(fill: impl FnOnce(&mut Batch)) -> io::Result<()> {
    let mut batch = Batch::default();
    let edge = Attributes::message(0, SUBSYSTEM);
    batch.push_silent(BATCH_BEGIN, 0, edge.as_bytes());
    fill(&mut batch);
    batch.push_silent(BATCH_END, 0, edge.as_bytes());
    // A socket for each: answers that a failed batch leaves unread can't be mistaken for others.
    Connection::open(NETLINK_NETFILTER)?.send_all(&batch)
}

fn push_elements(batch: &mut Batch, kind: u16, flags: u16, table: &str, elements: &[Element]) {
    for map in [PUBLISHED, PUBLISHED_SAME] {
        let own: Vec<&Element> = elements.iter().filter(|element| element.map() == map).collect();
        for some in own.chunks(ELEMENTS_PER_MESSAGE) {
            let list = some.iter().fold(Attributes::default(), |list, element| {
                list.nested(LIST_ELEM, element_definition(element))
            });
            let message = named(table).text(2, map).nested(3, list);
            batch.push(kind, flags, message.as_bytes());
        }
    }
}

/// The start of every message: its table.
fn named(table: &str) -> Attributes {
    Attributes::message(IPV4, 0).text(TABLE, table)
}

fn map_definition(table: &str, map: &str, id: u32) -> Attributes {
    let key_type = TYPE_IPV4_ADDR << 12 | TYPE_INET_PROTO << 6 | TYPE_INET_SERVICE;
    let (data_type, data_length) = if map == PUBLISHED {
        (TYPE_IPV4_ADDR << 6 | TYPE_INET_SERVICE, 8)
    } else {
        (TYPE_IPV4_ADDR, 4)
    };
    let fields = [4, 1, 2].into_iter().fold(Attributes::default(), |fields, length| {
        fields.nested(LIST_ELEM, Attributes::default().u32(1, length))
    });
    named(table)
        .text(2, map)
        .u32(3, SET_FLAGS)
        .u32(4, key_type)
        .u32(5, 12)
        .u32(6, data_type)
        .u32(7, data_length)
        .nested(9, Attributes::default().nested(2, fields))
        .u32(10, id)
        .bytes(13, &SET_USERDATA)
}

fn element_definition(element: &Element) -> Attributes {
    let protocol = element.protocol.number();
    let first = concatenated(*element.host.start(), protocol, *element.host_ports.start());
    let last = concatenated(*element.host.end(), protocol, *element.host_ports.end());
    let mut data = element.container.octets().to_vec();
    if let Some(port) = element.container_port {
        data.extend_from_slice(&port.to_be_bytes());
        data.extend_from_slice(&[0, 0]);
    }
    Attributes::default().nested(1, value(&first)).nested(10, value(&last)).nested(2, value(&data))
}

fn chain_definition(table: &str, chain: &Chain) -> Attributes {
    let message = named(table).text(3, chain.name);
    let Some(Hook { kind, point, priority }) = chain.hook else { return message };
    let number = match point {
        Point::Prerouting => 0,
        Point::Forward => 2,
        Point::Output => 3,
        Point::Postrouting => 4,
    };
    let hook = Attributes::default().u32(1, number).bytes(2, &priority.to_be_bytes());
    message.nested(4, hook).u32(5, NF_ACCEPT).text(7, kind)
}

fn rule_definition(table: &str, chain: &str, rule: &Rule) -> Attributes {
    let expressions = rule
        .matches
        .iter()
        .map(match_expressions)
        .chain([action_expressions(rule.action)])
        .fold(Attributes::default(), |all, one| all.append(&one));
    named(table).text(2, chain).nested(4, expressions)
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
        Action::RewriteAddressAndPort => {
            lookup(PUBLISHED).append(&expression("nat", rewrite().u32(5, PART_1)))
        }
        Action::RewriteAddress => lookup(PUBLISHED_SAME).append(&expression("nat", rewrite())),
    }
}

/// Destination NAT to the address in the register.
fn rewrite() -> Attributes {
    const DNAT: u32 = 1;
    Attributes::default().u32(1, DNAT).u32(2, u32::from(IPV4)).u32(3, REGISTER)
}

/// Loads destination, protocol and destination port and replaces them by what `map` has for them;
/// without an entry the rule ends here.
fn lookup(map: &str) -> Attributes {
    let protocol = Attributes::default().u32(1, PART_1).u32(2, META_L4PROTO);
    let found = Attributes::default().text(1, map).u32(2, REGISTER).u32(3, REGISTER);
    load(NETWORK_HEADER, DESTINATION_OFFSET, 4, REGISTER)
        .append(&expression("meta", protocol))
        .append(&load(TRANSPORT_HEADER, 2, 2, PART_2))
        .append(&expression("lookup", found))
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
