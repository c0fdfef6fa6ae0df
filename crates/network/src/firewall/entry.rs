//! The wire form of the maps and their elements, both ways.

use std::net::{IpAddr, Ipv6Addr};

use super::message::{Attributes, attributes, concatenated};
use super::table::{Element, Family, Map};

const LIST_ELEM: u16 = 1;
// NFTA_SET_ELEM_*
const KEY: u16 = 1;
const DATA: u16 = 2;
const KEY_END: u16 = 10;
/// `NFTA_DATA_VALUE`.
const VALUE: u16 = 1;

const FLAG_INTERVAL: u32 = 0x4;
const FLAG_MAP: u32 = 0x8;
const FLAG_CONCATENATION: u32 = 0x80;
// nft(8)'s numbers of data types, six bits each when concatenated.
const TYPE_IPV4_ADDR: u32 = 7;
const TYPE_IPV6_ADDR: u32 = 8;
const TYPE_INET_PROTO: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
const SERVICE: u32 = TYPE_INET_PROTO << 6 | TYPE_INET_SERVICE;
/// Tells nft(8) that keys and data are in network byte order.
const MAP_USERDATA: [u8; 12] = [0, 4, 2, 0, 0, 0, 1, 4, 2, 0, 0, 0];
const SET_USERDATA: [u8; 6] = [0, 4, 2, 0, 0, 0];

/// An element of a map as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) map: Map,
    key: Vec<u8>,
    /// Of a range.
    last: Option<Vec<u8>>,
    /// Absent: of a set.
    data: Option<Vec<u8>>,
}

impl Entry {
    /// The wire form of an element.
    pub(crate) fn of(element: &Element) -> Self {
        let Element { host, container, container_port, .. } = element;
        let protocol = [element.protocol.number()];
        let (first, last) = (element.host_ports.start(), element.host_ports.end());
        let family = Family::of(*container);
        let at = |ip: Vec<u8>, port: &u16| concatenated(&[&ip, &protocol, &port.to_be_bytes()]);
        let lowest = || host.map_or_else(|| vec![0; family.length()], octets);
        let highest = || host.map_or_else(|| vec![0xff; family.length()], octets);
        let target = || concatenated(&[&octets(*container), &container_port.to_be_bytes()]);
        let map = element.map();
        match map {
            Map::Any => {
                let key = concatenated(&[&protocol, &first.to_be_bytes()]);
                Self { map, key, last: None, data: Some(target()) }
            }
            Map::At => Self { map, key: at(lowest(), first), last: None, data: Some(target()) },
            Map::Ranges => Self {
                map,
                key: at(lowest(), first),
                last: Some(at(highest(), last)),
                data: Some(octets(*container)),
            },
            Map::Open => Self {
                map,
                key: at(octets(*container), first),
                last: Some(at(octets(*container), last)),
                data: None,
            },
        }
    }

    /// For a request.
    pub(crate) fn attributes(&self) -> Attributes {
        let value = |bytes| Attributes::default().bytes(VALUE, bytes);
        let key = Attributes::default().nested(KEY, value(&self.key));
        let range = match &self.last {
            Some(last) => key.nested(KEY_END, value(last)),
            None => key,
        };
        match &self.data {
            Some(data) => range.nested(DATA, value(data)),
            None => range,
        }
    }

    /// From an answer.
    pub(crate) fn parse(map: Map, element: &[u8]) -> Option<Self> {
        let value = |wanted| {
            let (_, nested) = attributes(element).find(|(kind, _)| *kind == wanted)?;
            let (_, bytes) = attributes(nested).find(|(kind, _)| *kind == VALUE)?;
            Some(bytes.to_vec())
        };
        let data = value(DATA);
        let is_whole = data.is_some() || map == Map::Open;
        let entry = Self { map, key: value(KEY)?, last: value(KEY_END), data };
        is_whole.then_some(entry)
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

impl Family {
    /// Bytes of an address.
    pub(super) fn length(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => size_of::<Ipv6Addr>(),
        }
    }
}

/// What makes a map.
pub(crate) fn map_definition(family: Family, map: Map, id: u32) -> Attributes {
    let (address, length) = match family {
        Family::V4 => (TYPE_IPV4_ADDR, 4),
        Family::V6 => (TYPE_IPV6_ADDR, 16),
    };
    let service_of_address = address << 12 | SERVICE;
    let intervals = FLAG_INTERVAL | FLAG_CONCATENATION;
    let (flags, key_type, key_length) = match map {
        Map::At => (FLAG_MAP, service_of_address, length + 8),
        Map::Any => (FLAG_MAP, SERVICE, 8),
        Map::Ranges => (FLAG_MAP | intervals, service_of_address, length + 8),
        Map::Open => (intervals, service_of_address, length + 8),
    };
    let definition =
        Attributes::default().text(2, map.name()).u32(3, flags).u32(4, key_type).u32(5, key_length);
    let definition = match map {
        Map::At | Map::Any => {
            definition.u32(6, address << 6 | TYPE_INET_SERVICE).u32(7, length + 4)
        }
        Map::Ranges => definition.u32(6, address).u32(7, length),
        Map::Open => definition,
    };
    let definition = definition
        .u32(10, id)
        .bytes(13, if map == Map::Open { &SET_USERDATA } else { &MAP_USERDATA[..] });
    if matches!(map, Map::At | Map::Any) {
        return definition;
    }
    let fields = [length, 1, 2].into_iter().fold(Attributes::default(), |fields, length| {
        fields.nested(LIST_ELEM, Attributes::default().u32(1, length))
    });
    definition.nested(9, Attributes::default().nested(2, fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Protocol;

    #[test]
    fn an_element_is_read_back_as_it_was_written() {
        let v4: IpAddr = [172, 17, 0, 2].into();
        let v6: IpAddr = Ipv6Addr::LOCALHOST.into();
        for container in [v4, v6] {
            for (host, last, routed) in [
                (None, 8000, false),
                (Some(container), 8000, false),
                (None, 8010, false),
                (None, 8010, true),
            ] {
                let element = Element {
                    host,
                    protocol: Protocol::Sctp,
                    host_ports: 8000..=last,
                    container,
                    container_port: 8000,
                    routed,
                };
                let entry = Entry::of(&element);
                let written = entry.attributes();
                assert_eq!(Entry::parse(element.map(), written.as_bytes()), Some(entry));
            }
        }
    }
}
