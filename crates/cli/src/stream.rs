//! Upgraded connections: their two directions, and the frames that keep stdout and stderr apart.

use std::io;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use bytes::Bytes;
use davit_api::stream::{Demultiplexer, StreamKind};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::failure::{Failure, Outcome};

const BUFFER: usize = 64 * 1024;

/// The receiving direction of a connection.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The sending direction of a connection.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection after the HTTP upgrade.
pub(crate) struct Duplex {
    /// What the daemon sends.
    pub(crate) reader: Reader,
    /// What the daemon gets; shutting it down is the end of stdin.
    pub(crate) writer: Writer,
}

impl Duplex {
    /// Takes the socket out of hyper, so that bytes go straight from and to the kernel.
    pub(crate) fn new(upgraded: Upgraded) -> Outcome<Self> {
        let upgraded = match upgraded.downcast::<TokioIo<UnixStream>>() {
            Ok(parts) => {
                let (reader, writer) = parts.io.into_inner().into_split();
                return Ok(Self {
                    reader: after(parts.read_buf, reader),
                    writer: Box::new(writer),
                });
            }
            Err(upgraded) => upgraded,
        };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => {
                let (reader, writer) = parts.io.into_inner().into_split();
                Ok(Self { reader: after(parts.read_buf, reader), writer: Box::new(writer) })
            }
            Err(_) => Err(Failure::new("upgrade the connection: unknown kind of socket")),
        }
    }
}

fn after(first: Bytes, rest: impl AsyncRead + Send + Unpin + 'static) -> Reader {
    Box::new(AsyncReadExt::chain(io::Cursor::new(first), rest))
}

/// A response body read as a stream of bytes.
pub(crate) struct BodyReader {
    body: Incoming,
    current: Bytes,
}

impl BodyReader {
    /// Reads `body` from its start.
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, current: Bytes::new() }
    }
}

impl AsyncRead for BodyReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(frame)) => self.current = frame.into_data().unwrap_or_default(),
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// The two places that output goes to.
pub(crate) struct Sinks<O, E> {
    stdout: O,
    stderr: E,
}

impl Sinks<tokio::io::Stdout, tokio::io::Stderr> {
    /// This process's own.
    pub(crate) fn standard() -> Self {
        Self { stdout: tokio::io::stdout(), stderr: tokio::io::stderr() }
    }
}

impl<O: AsyncWrite + Unpin, E: AsyncWrite + Unpin> Sinks<O, E> {
    /// Any two writers.
    #[cfg(test)]
    pub(crate) fn new(stdout: O, stderr: E) -> Self {
        Self { stdout, stderr }
    }

    async fn write(&mut self, channel: StreamKind, bytes: &[u8]) -> Outcome<()> {
        match channel {
            StreamKind::Stdin | StreamKind::Stdout => {
                self.stdout.write_all(bytes).await?;
                self.stdout.flush().await?;
            }
            StreamKind::Stderr => {
                self.stderr.write_all(bytes).await?;
                self.stderr.flush().await?;
            }
            StreamKind::SystemError => {
                let text = String::from_utf8_lossy(bytes);
                return Err(Failure::new(format!(
                    "error from daemon in stream: {}",
                    text.trim_end()
                )));
            }
        }
        Ok(())
    }

    /// Copies unframed output (a TTY's) until it ends.
    pub(crate) async fn copy_raw(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Outcome<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match read(reader, &mut buffer).await? {
                0 => return Ok(()),
                count => self.write(StreamKind::Stdout, &buffer[..count]).await?,
            }
        }
    }

    /// Copies multiplexed output until it ends, one write per run of frames of the same channel.
    pub(crate) async fn copy_frames(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> Outcome<()> {
        let mut buffer = vec![0; BUFFER];
        let mut demultiplexer = Demultiplexer::default();
        let mut runs: Vec<(StreamKind, Vec<u8>)> = Vec::new();
        loop {
            let count = read(reader, &mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            let fed =
                demultiplexer.feed(&buffer[..count], |channel, bytes| match runs.last_mut() {
                    Some((last, run)) if *last == channel => run.extend_from_slice(bytes),
                    _ => runs.push((channel, bytes.to_vec())),
                });
            for (channel, run) in runs.drain(..) {
                self.write(channel, &run).await?;
            }
            fed.map_err(|error| Failure::new(error.to_string()))?;
        }
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Outcome<usize> {
    match reader.read(buffer).await {
        Ok(count) => Ok(count),
        // A monitor that is gone ends the stream as surely as one that closes it.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use davit_api::stream::frame;

    use super::*;

    #[tokio::test]
    async fn the_daemons_complaint_in_a_stream_is_an_error() {
        let mut wire = frame(StreamKind::Stdout, b"a");
        wire.extend(frame(StreamKind::SystemError, b"disk gone\n"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let copied = Sinks::new(&mut out, &mut err).copy_frames(&mut wire.as_slice()).await;
        assert_eq!(copied.expect_err("frame 3").text, "error from daemon in stream: disk gone");
        assert_eq!((out.as_slice(), err.as_slice()), (&b"a"[..], &b""[..]));
    }
}
