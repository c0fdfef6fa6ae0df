//! The wire form of the maps and their elements, both ways.

use std::net::Ipv4Addr;

use super::message::{Attributes, attributes, concatenated};
use super::ruleset::{Element, Map};

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
const TYPE_INET_PROTO: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
const SERVICE: u32 = TYPE_INET_PROTO << 6 | TYPE_INET_SERVICE;
const SERVICE_OF_ADDRESS: u32 = TYPE_IPV4_ADDR << 12 | SERVICE;
/// Tells nft(8) that keys and data are in network byte order.
const SET_USERDATA: [u8; 12] = [0, 4, 2, 0, 0, 0, 1, 4, 2, 0, 0, 0];

/// An element of a map as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) map: Map,
    key: Vec<u8>,
    /// Of a range.
    last: Option<Vec<u8>>,
    data: Vec<u8>,
}

impl Entry {
    /// The wire form of an element.
    pub(crate) fn of(element: &Element) -> Self {
        let Element { host, container, container_port, .. } = element;
        let protocol = [element.protocol.number()];
        let (first, last) = (element.host_ports.start(), element.host_ports.end());
        let ip = |absent: Ipv4Addr| host.unwrap_or(absent).octets();
        let at = |ip: [u8; 4], port: &u16| concatenated(&[&ip, &protocol, &port.to_be_bytes()]);
        let target = || concatenated(&[&container.octets(), &container_port.to_be_bytes()]);
        let map = element.map();
        match map {
            Map::Any => {
                let key = concatenated(&[&protocol, &first.to_be_bytes()]);
                Self { map, key, last: None, data: target() }
            }
            Map::At => {
                let key = at(ip(Ipv4Addr::UNSPECIFIED), first);
                Self { map, key, last: None, data: target() }
            }
            Map::Ranges => Self {
                map,
                key: at(ip(Ipv4Addr::UNSPECIFIED), first),
                last: Some(at(ip(Ipv4Addr::BROADCAST), last)),
                data: container.octets().to_vec(),
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
        range.nested(DATA, value(&self.data))
    }

    /// From an answer.
    pub(crate) fn parse(map: Map, element: &[u8]) -> Option<Self> {
        let value = |wanted| {
            let (_, nested) = attributes(element).find(|(kind, _)| *kind == wanted)?;
            let (_, bytes) = attributes(nested).find(|(kind, _)| *kind == VALUE)?;
            Some(bytes.to_vec())
        };
        Some(Self { map, key: value(KEY)?, last: value(KEY_END), data: value(DATA)? })
    }
}

/// What makes a map.
pub(crate) fn map_definition(map: Map, id: u32) -> Attributes {
    let (flags, key_type, key_length) = match map {
        Map::At => (FLAG_MAP, SERVICE_OF_ADDRESS, 12),
        Map::Any => (FLAG_MAP, SERVICE, 8),
        Map::Ranges => (FLAG_MAP | FLAG_INTERVAL | FLAG_CONCATENATION, SERVICE_OF_ADDRESS, 12),
    };
    let (data_type, data_length) = match map {
        Map::At | Map::Any => (TYPE_IPV4_ADDR << 6 | TYPE_INET_SERVICE, 8),
        Map::Ranges => (TYPE_IPV4_ADDR, 4),
    };
    let definition = Attributes::default()
        .text(2, map.name())
        .u32(3, flags)
        .u32(4, key_type)
        .u32(5, key_length)
        .u32(6, data_type)
        .u32(7, data_length)
        .u32(10, id)
        .bytes(13, &SET_USERDATA);
    if map != Map::Ranges {
        return definition;
    }
    let fields = [4, 1, 2].into_iter().fold(Attributes::default(), |fields, length| {
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
        for (host, last) in [(None, 8000), (Some([10, 0, 0, 1].into()), 8000), (None, 8010)] {
            let element = Element {
                host,
                protocol: Protocol::Tcp,
                host_ports: 8000..=last,
                container: [172, 17, 0, 2].into(),
                container_port: 8000,
            };
            let entry = Entry::of(&element);
            let written = entry.attributes();
            assert_eq!(Entry::parse(element.map(), written.as_bytes()), Some(entry));
        }
    }
}
