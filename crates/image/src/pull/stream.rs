//! The blocking end of a download: chunks from the network as a reader.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// What the network side sends.
pub(super) enum Chunk {
    Data(Bytes),
    /// Everything came and its digest was right. Without it the data is cut off.
    End,
}

/// Reads chunks; the end of the channel without [`Chunk::End`] is an error.
pub(super) struct ChunkReader {
    chunks: mpsc::Receiver<Chunk>,
    current: Bytes,
    ended: bool,
}

impl ChunkReader {
    pub(super) fn new(chunks: mpsc::Receiver<Chunk>) -> Self {
        Self { chunks, current: Bytes::new(), ended: false }
    }
}

impl ChunkReader {
    fn fill(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Chunk::Data(data)) => self.current = data,
                Some(Chunk::End) => self.ended = true,
                None => {
                    let message = "download was cut off";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, message));
                }
            }
        }
        Ok(&self.current)
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.current.advance(count);
        Ok(count)
    }
}
