//! Docker's framing of output: eight bytes (stream, three zeros, big-endian length), then the data.
//!
//! Only output without a terminal is framed; input never is.

use davit_types::{Error, Result};

/// Length of a frame's header.
pub const HEADER_LENGTH: usize = 8;

/// Content type of framed output.
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Content type of a terminal's output, and of all output for clients before API 1.42.
pub const RAW: &str = "application/vnd.docker.raw-stream";

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    /// Standard input; never sent.
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// An error of the daemon while it streams.
    SystemError = 3,
}

impl StreamKind {
    fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::Stdin),
            1 => Ok(Self::Stdout),
            2 => Ok(Self::Stderr),
            3 => Ok(Self::SystemError),
            other => Err(Error::invalid(format!("unrecognized stream: {other}"))),
        }
    }
}

/// The header of a frame with `length` bytes of data.
pub fn header(kind: StreamKind, length: u32) -> [u8; HEADER_LENGTH] {
    let [a, b, c, d] = length.to_be_bytes();
    [kind as u8, 0, 0, 0, a, b, c, d]
}

/// `data` as one frame.
///
/// # Panics
/// With more than 4 GiB of data.
pub fn frame(kind: StreamKind, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("no frame is made of more than 4 GiB");
    let mut frame = Vec::with_capacity(HEADER_LENGTH + data.len());
    frame.extend_from_slice(&header(kind, length));
    frame.extend_from_slice(data);
    frame
}

/// Takes framed output apart, in whatever pieces it arrives.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    header: Vec<u8>,
    current: Option<(StreamKind, usize)>,
}

impl Demultiplexer {
    /// Gives each piece of data in `input` to `sink`; a frame may be given in several pieces.
    ///
    /// # Errors
    /// A header names an unknown stream. The input is not framed, or out of step.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        mut sink: impl FnMut(StreamKind, &[u8]),
    ) -> Result<()> {
        while !input.is_empty() {
            let Some((kind, left)) = self.current else {
                input = self.take_header(input)?;
                continue;
            };
            let (data, rest) = input.split_at(left.min(input.len()));
            sink(kind, data);
            self.current = (data.len() < left).then(|| (kind, left - data.len()));
            input = rest;
        }
        Ok(())
    }

    fn take_header<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8]> {
        let wanted = HEADER_LENGTH - self.header.len();
        let (part, rest) = input.split_at(wanted.min(input.len()));
        self.header.extend_from_slice(part);
        if let [kind, _, _, _, a, b, c, d] = self.header[..] {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let kind = StreamKind::from_byte(kind)?;
            self.current = (length > 0).then_some((kind, length));
            self.header.clear();
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back_from_any_pieces() {
        let mut wire = frame(StreamKind::Stdout, b"out\n");
        wire.extend(frame(StreamKind::Stdout, b""));
        wire.extend(frame(StreamKind::Stderr, b"error\n"));
        for size in 1..wire.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut demultiplexer = Demultiplexer::default();
            for piece in wire.chunks(size) {
                let sink = |kind, data: &[u8]| match kind {
                    StreamKind::Stderr => err.extend_from_slice(data),
                    _ => out.extend_from_slice(data),
                };
                demultiplexer.feed(piece, sink).expect("well framed");
            }
            assert_eq!(
                (out.as_slice(), err.as_slice()),
                (&b"out\n"[..], &b"error\n"[..]),
                "{size}"
            );
        }
    }

    #[test]
    fn unframed_input_is_an_error() {
        let result = Demultiplexer::default().feed(b"plain text", |_, _| {});
        assert_eq!(result.expect_err("not framed").to_string(), "unrecognized stream: 112");
    }
}
