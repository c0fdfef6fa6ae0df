//! The wire form of netfilter's netlink messages: nested attributes, mostly in network byte order.

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `struct nfgenmsg`: family, version, resource id in network byte order.
const VERSION: u8 = 0;

/// A message's payload, or a nested attribute's, being written.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    /// A payload that starts with netfilter's general header.
    pub(crate) fn message(family: u8, resource: u16) -> Self {
        let [high, low] = resource.to_be_bytes();
        Self { bytes: vec![family, VERSION, high, low] }
    }

    /// Adds an attribute as it is.
    #[must_use]
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attributes are kept below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number in network byte order.
    #[must_use]
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a text with its final NUL.
    #[must_use]
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds an attribute made of attributes.
    #[must_use]
    pub(crate) fn nested(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NESTED, &inner.bytes)
    }

    /// Appends what another one holds.
    #[must_use]
    pub(crate) fn append(mut self, other: &Self) -> Self {
        self.bytes.extend_from_slice(&other.bytes);
        self
    }

    /// What is written so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Attributes {
    /// The attributes of a message: what comes after the general header.
    pub(crate) fn after_header(message: &[u8]) -> &[u8] {
        message.get(4..).unwrap_or_default()
    }
}

/// The attributes in a message or a nested attribute: kind and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let ([l0, l1, k0, k1], _) = bytes.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([*k0, *k1]) & !NESTED, value))
    })
}

/// Concatenated fields, each padded to four bytes.
pub(crate) fn concatenated(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * fields.len());
    for field in fields {
        bytes.extend_from_slice(field);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_not() {
        let inner = Attributes::default().text(2, "ab");
        let message = Attributes::message(2, 10).nested(1, inner);
        let expected = [2, 0, 0, 10, 12, 0, 1, 0x80, 7, 0, 2, 0, b'a', b'b', 0, 0];
        assert_eq!(message.as_bytes(), expected);
    }

    #[test]
    fn each_field_of_a_concatenated_key_takes_four_bytes() {
        let key = concatenated(&[&[10, 0, 0, 1], &[6], &8080u16.to_be_bytes()]);
        assert_eq!(key, [10, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    }
}
