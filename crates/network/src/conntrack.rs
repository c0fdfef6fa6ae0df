//! Forgetting connections, so that a change of published ports holds for running flows as well.
//!
//! A rewrite is decided at a flow's first packet. A UDP flow has no end: a client that goes on
//! sending from the same port would never notice that a port was published or taken back.

use std::io;
use std::net::IpAddr;

use crate::firewall::message::Attributes;
use crate::firewall::table::Family;
use crate::netlink::{Batch, Connection};
use crate::sandbox::{PortBinding, Protocol};

// linux/netfilter/nfnetlink_conntrack.h; names as there, without their prefixes.
const SUBSYSTEM: u16 = 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V6_SRC: u16 = 3;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
const MATCH_IP_SRC: u32 = 1 << 0;
const MATCH_PROTO_NUM: u32 = 1 << 3;
const MATCH_DST_PORT: u32 = 1 << 5;

/// Forgets UDP flows to newly published host ports.
///
/// # Errors
/// The kernel can't select flows to delete (before 6.8), or doesn't track any.
pub(crate) fn forget_flows_to(connection: &Connection, ports: &[PortBinding]) -> io::Result<()> {
    let mut batch = Batch::default();
    for port in ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        let proto = Attributes::default()
            .bytes(PROTO_NUM, &[port.protocol.number()])
            .bytes(PROTO_DST_PORT, &port.host_port.to_be_bytes());
        let tuple = Attributes::default().nested(TUPLE_PROTO, proto);
        let family = Family::of(port.host_ip);
        push(&mut batch, family, TUPLE_ORIG, tuple, [MATCH_PROTO_NUM | MATCH_DST_PORT, 0]);
    }
    connection.send_all(&batch)
}

/// Forgets all flows that were rewritten to, or answered by, a container.
///
/// # Errors
/// As [`forget_flows_to`].
pub(crate) fn forget_flows_of(connection: &Connection, container: IpAddr) -> io::Result<()> {
    let mut batch = Batch::default();
    let address = match container {
        IpAddr::V4(ip) => Attributes::default().bytes(IP_V4_SRC, &ip.octets()),
        IpAddr::V6(ip) => Attributes::default().bytes(IP_V6_SRC, &ip.octets()),
    };
    let tuple = Attributes::default().nested(TUPLE_IP, address);
    push(&mut batch, Family::of(container), TUPLE_REPLY, tuple, [0, MATCH_IP_SRC]);
    connection.send_all(&batch)
}

fn push(
    batch: &mut Batch,
    family: Family,
    kind: u16,
    tuple: Attributes,
    [original, reply]: [u32; 2],
) {
    // Unlike nearly everything here, the flags are in the host's byte order.
    let filter = Attributes::default()
        .bytes(FILTER_ORIG_FLAGS, &original.to_ne_bytes())
        .bytes(FILTER_REPLY_FLAGS, &reply.to_ne_bytes());
    let message =
        Attributes::message(family.number(), 0).nested(kind, tuple).nested(FILTER, filter);
    batch.push(DELETE, 0, message.as_bytes());
}
