//! Interfaces on another interface: macvlan, ipvlan, parts of VLANs; and one on none at all.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanMode, LinkAttribute, LinkInfo,
    LinkMessage, MacVlanMode,
};

use crate::link::{Mac, up};
use crate::netlink::{Batch, CREATE, Connection, EXCLUSIVE};

/// How a container's interface shares its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sublink {
    /// By hardware addresses.
    Macvlan(MacVlanMode),
    /// By IP addresses.
    Ipvlan(IpVlanMode),
}

impl Sublink {
    /// What the kernel calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
        }
    }

    fn info(self) -> Vec<LinkInfo> {
        let (kind, data) = match self {
            Self::Macvlan(mode) => {
                (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]))
            }
            Self::Ipvlan(mode) => {
                (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]))
            }
        };
        vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]
    }
}

/// Makes a container's interface in `namespace`, on the host's interface of that index.
pub(crate) fn create(
    host: &Connection,
    namespace: BorrowedFd<'_>,
    (parent, name, mac): (u32, &str, Mac),
    kind: &Sublink,
) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Link(parent));
    message.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    // All ipvlan interfaces have their parent's.
    if matches!(kind, Sublink::Macvlan(_)) {
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    message.attributes.push(LinkAttribute::LinkInfo(kind.info()));
    send(host, message)
}

/// Makes the part of a VLAN that arrives at the interface of that index, up.
pub(crate) fn create_vlan(
    route: &Connection,
    name: &str,
    (base, vlan): (u32, u16),
) -> io::Result<()> {
    let mut message = up(0);
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Link(base));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(vlan)])),
    ]));
    send(route, message)
}

/// Makes an interface that leads nowhere, up.
pub(crate) fn create_dummy(route: &Connection, name: &str) -> io::Result<()> {
    let mut message = up(0);
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]));
    send(route, message)
}

fn send(route: &Connection, message: LinkMessage) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.push_route(CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewLink(message));
    route.send_all(&batch)
}
