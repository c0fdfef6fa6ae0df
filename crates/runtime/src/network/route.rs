//! The kernel's route family: devices and their addresses in one network namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

const RECEIVE_LENGTH: usize = 64 * 1024;

/// A network device.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) is_up: bool,
}

/// A socket; it stays in the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Route(Socket);

impl Route {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self(socket))
    }

    pub(super) fn links(&self) -> io::Result<Vec<Link>> {
        let found = self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        let link = |message| match message {
            RouteNetlinkMessage::NewLink(message) => link(message),
            _ => None,
        };
        Ok(found.into_iter().filter_map(link).collect())
    }

    /// The addresses of a device that somebody gave it for everybody, ready to be given again.
    pub(super) fn addresses(&self, index: u32) -> io::Result<Vec<AddressMessage>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let found = self.ask(message, NLM_F_DUMP)?;
        let kept = |message| match message {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                kept(&message)
            }
            _ => None,
        };
        Ok(found.into_iter().filter_map(kept).collect())
    }

    /// Moves a device to another namespace under a name.
    pub(super) fn send_away(&self, index: u32, to: impl AsFd, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::NetNsFd(to.as_fd().as_raw_fd()));
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    pub(super) fn add_address(&self, index: u32, address: &AddressMessage) -> io::Result<()> {
        let mut message = address.clone();
        message.header.index = index;
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.ask(RouteNetlinkMessage::NewAddress(message), flags).map(drop)
    }

    pub(super) fn set_up(&self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut found = Vec::new();
        while !self.receive(&mut found)? {}
        Ok(found)
    }

    /// Adds what one datagram answers; whether it was the last one.
    fn receive(&self, found: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
        let mut buffer = Vec::with_capacity(RECEIVE_LENGTH);
        while let Err(error) = self.0.recv(&mut buffer, 0) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let mut rest = buffer.as_slice();
        while let Some((length, _)) = rest.split_first_chunk::<4>() {
            let length = u32::from_ne_bytes(*length) as usize;
            let message = rest.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            let message = NetlinkMessage::deserialize(message).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(answer) if answer.code.is_none() => return Ok(true),
                NetlinkPayload::Error(answer) => return Err(answer.to_io()),
                NetlinkPayload::InnerMessage(message) => found.push(message),
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }
}

fn link(message: LinkMessage) -> Option<Link> {
    let name = message.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })?;
    let is_up = message.header.flags.contains(LinkFlags::Up);
    Some(Link { index: message.header.index, name, is_up })
}

/// What of an address goes along with its device: nothing that a server gave for a time, nothing that
/// the kernel gives itself.
fn kept(message: &AddressMessage) -> Option<AddressMessage> {
    let permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
    if !permanent || message.header.scope != AddressScope::Universe {
        return None;
    }
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let lasting = AddressFlags::Nodad
        | AddressFlags::Homeaddress
        | AddressFlags::Permanent
        | AddressFlags::Managetempaddr
        | AddressFlags::Noprefixroute;
    let mut flags = flags.unwrap_or(AddressFlags::Permanent) & lasting;
    if message.header.family == AddressFamily::Inet6 {
        // On this link it has been found to be nobody else's before.
        flags |= AddressFlags::Nodad;
    }
    let mut kept = AddressMessage::default();
    kept.header.family = message.header.family;
    kept.header.prefix_len = message.header.prefix_len;
    kept.header.scope = message.header.scope;
    kept.attributes = message
        .attributes
        .iter()
        .filter(|attribute| {
            matches!(
                attribute,
                AddressAttribute::Address(_)
                    | AddressAttribute::Local(_)
                    | AddressAttribute::Broadcast(_)
                    | AddressAttribute::RoutePriority(_)
            )
        })
        .cloned()
        .collect();
    kept.attributes.push(AddressAttribute::Flags(flags));
    Some(kept)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn address(family: AddressFamily, ip: IpAddr, flags: AddressFlags) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family;
        message.header.prefix_len = 24;
        message.header.index = 7;
        message.header.flags = AddressHeaderFlags::from_bits_truncate(flags.bits() as u8);
        message.attributes = vec![
            AddressAttribute::Address(ip),
            AddressAttribute::Label("eth0".to_owned()),
            AddressAttribute::Flags(flags),
        ];
        message
    }

    #[test]
    fn permanent_addresses_for_everybody_go_along() {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let flags = AddressFlags::Permanent | AddressFlags::Noprefixroute;
        let mut message = address(AddressFamily::Inet, ip, flags);
        let along = kept(&message).expect("kept");
        // The old name is no label in the container.
        let expected = [AddressAttribute::Address(ip), AddressAttribute::Flags(flags)];
        assert_eq!(along.attributes, expected);
        assert_eq!(along.header.prefix_len, 24);
        message.header.scope = AddressScope::Link;
        assert!(kept(&message).is_none());
        assert!(kept(&address(AddressFamily::Inet, ip, AddressFlags::Noprefixroute)).is_none());
    }

    #[test]
    fn an_address_of_version_6_is_usable_at_once() {
        let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let flags = AddressFlags::Permanent | AddressFlags::Tentative;
        let along = kept(&address(AddressFamily::Inet6, ip, flags)).expect("kept");
        let flags = AddressFlags::Permanent | AddressFlags::Nodad;
        assert_eq!(along.attributes[1], AddressAttribute::Flags(flags));
    }
}
