//! Docker's 8-byte header before each piece of output on a multiplexed stream.

/// One of the process' two output streams. A terminal's output counts as standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both, in the order of their indexes.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// 0 or 1, for arrays with an element per stream.
    pub fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }

    /// The name used in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Length of a frame's header.
pub const HEADER: usize = 8;

/// The header of `length` bytes of `stream`: its number, three zeros, the length big-endian.
///
/// # Panics
/// When `length` is beyond 32 bits; reads are far shorter.
pub fn header(stream: Stream, length: usize) -> [u8; HEADER] {
    let length = u32::try_from(length).expect("a read is shorter than 4 GiB").to_be_bytes();
    let number = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    [number, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_stream_and_length() {
        assert_eq!(header(Stream::Stdout, 5), [1, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(header(Stream::Stderr, 0x0102_0304), [2, 0, 0, 0, 1, 2, 3, 4]);
    }
}
