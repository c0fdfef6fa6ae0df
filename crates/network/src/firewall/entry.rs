//! The wire form of the maps and their elements, both ways.

use super::message::{Attributes, attributes, concatenated};
use super::ruleset::{Element, PUBLISHED};

const LIST_ELEM: u16 = 1;
// NFTA_SET_ELEM_*
const KEY: u16 = 1;
const DATA: u16 = 2;
const KEY_END: u16 = 10;
/// `NFTA_DATA_VALUE`.
const VALUE: u16 = 1;

const SET_FLAGS: u32 = 0x4 | 0x8 | 0x80; // interval, map, concatenation
// nft(8)'s numbers of data types, six bits each when concatenated.
const TYPE_IPV4_ADDR: u32 = 7;
const TYPE_INET_PROTO: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
/// Tells nft(8) that keys and data are in network byte order.
const SET_USERDATA: [u8; 12] = [0, 4, 2, 0, 0, 0, 1, 4, 2, 0, 0, 0];

/// An element of a map as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) map: &'static str,
    first: Vec<u8>,
    last: Vec<u8>,
    data: Vec<u8>,
}

impl Entry {
    /// The wire form of an element.
    pub(crate) fn of(element: &Element) -> Self {
        let protocol = element.protocol.number();
        let mut data = element.container.octets().to_vec();
        if let Some(port) = element.container_port {
            data.extend_from_slice(&port.to_be_bytes());
            data.extend_from_slice(&[0, 0]);
        }
        Self {
            map: element.map(),
            first: concatenated(*element.host.start(), protocol, *element.host_ports.start()),
            last: concatenated(*element.host.end(), protocol, *element.host_ports.end()),
            data,
        }
    }

    /// For a request.
    pub(crate) fn attributes(&self) -> Attributes {
        let value = |bytes| Attributes::default().bytes(VALUE, bytes);
        Attributes::default()
            .nested(KEY, value(&self.first))
            .nested(KEY_END, value(&self.last))
            .nested(DATA, value(&self.data))
    }

    /// From an answer.
    pub(crate) fn parse(map: &'static str, element: &[u8]) -> Option<Self> {
        let value = |wanted| {
            let (_, nested) = attributes(element).find(|(kind, _)| *kind == wanted)?;
            let (_, bytes) = attributes(nested).find(|(kind, _)| *kind == VALUE)?;
            Some(bytes.to_vec())
        };
        let first = value(KEY)?;
        // A key that is no range comes without an end.
        let last = value(KEY_END).unwrap_or_else(|| first.clone());
        Some(Self { map, first, last, data: value(DATA)? })
    }
}

/// What makes one of the two maps.
pub(crate) fn map_definition(map: &str, id: u32) -> Attributes {
    let key_type = TYPE_IPV4_ADDR << 12 | TYPE_INET_PROTO << 6 | TYPE_INET_SERVICE;
    let (data_type, data_length) = if map == PUBLISHED {
        (TYPE_IPV4_ADDR << 6 | TYPE_INET_SERVICE, 8)
    } else {
        (TYPE_IPV4_ADDR, 4)
    };
    let fields = [4, 1, 2].into_iter().fold(Attributes::default(), |fields, length| {
        fields.nested(LIST_ELEM, Attributes::default().u32(1, length))
    });
    Attributes::default()
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

#[cfg(test)]
mod tests {
    use super::super::ruleset::PUBLISHED_SAME;
    use super::*;
    use crate::sandbox::Protocol;

    #[test]
    fn an_element_is_read_back_as_it_was_written() {
        for container_port in [None, Some(80)] {
            let entry = Entry::of(&Element {
                host: [0, 0, 0, 0].into()..=[255, 255, 255, 255].into(),
                protocol: Protocol::Tcp,
                host_ports: 8000..=8010,
                container: [172, 17, 0, 2].into(),
                container_port,
            });
            let map = if container_port.is_some() { PUBLISHED } else { PUBLISHED_SAME };
            assert_eq!(Entry::parse(map, entry.attributes().as_bytes()), Some(entry));
        }
    }
}
