//! Channels of chunks as readers and writers, for blocking work behind an HTTP body.

use std::io::{self, Read, Write};

use bytes::Bytes;
use davit_types::Result;
use tokio::sync::mpsc;

/// A tar stream, chunk by chunk. An error is its last item.
pub type Chunks = mpsc::Receiver<Result<Bytes>>;

/// Size of the chunks that are sent, bytes.
pub(crate) const CHUNK: usize = 64 * 1024;

/// The writing end of a stream of chunks.
pub(crate) struct Sender(pub(crate) mpsc::Sender<Result<Bytes>>);

impl Write for Sender {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(data);
        self.0.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end of a stream of chunks.
pub(crate) struct Receiver {
    body: Chunks,
    rest: Bytes,
}

impl Receiver {
    pub(crate) fn new(body: Chunks) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.body.blocking_recv() {
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}
