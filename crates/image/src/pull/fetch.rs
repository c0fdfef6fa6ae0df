//! The near end of a download: a blob's bytes from the disk as far as an earlier pull got, then
//! from the network, resumed where a connection broke, kept on disk, and checked.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use davit_types::{Context as _, Digest, Error, Kind, Result};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::share::Stage;
use super::stream::Chunk;
use crate::image::Descriptor;
use crate::manifest::require_sha256;
use crate::registry::Registry;
use crate::store::Inner;

const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Docker's refresh of progress.
const TICK: Duration = Duration::from_millis(100);
/// When the archive turned out to be broken, this much more is read to say whether its digest was.
const READ_ON: u64 = 16 << 20;
const BUFFER: usize = 256 * 1024;

/// How a fetch ended without an error of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Complete,
    /// The reader went away first: it has the reason.
    Unread,
    /// All bytes came, and have this digest instead.
    Wrong(Digest),
}

/// Feeds the blob into `chunks`. Complete and right, it is among the blobs afterwards; broken off,
/// what came stays for the next pull.
pub(super) async fn fetch(
    inner: &Arc<Inner>,
    registry: &Registry,
    blob: &Descriptor,
    stages: &watch::Sender<Stage>,
    chunks: mpsc::Sender<Chunk>,
) -> Result<Fetched> {
    require_sha256(&blob.digest)?;
    let is_here = inner.has_blob(blob);
    let file = open(inner, blob, is_here).await?;
    let mut download = Download {
        blob,
        stages,
        chunks: Some(chunks),
        hash: Sha256::new(),
        file,
        is_here,
        received: 0,
        told: Instant::now(),
    };
    match download.replay().await {
        Ok(()) => {}
        Err(Failure::Unread) => return Ok(Fetched::Unread),
        Err(Failure::Broken(error) | Failure::Final(error)) => return Err(error),
    }
    let mut failures = 0;
    while download.received < blob.size {
        let before = download.received;
        match download.attempt(registry).await {
            Ok(()) => break,
            Err(Failure::Unread) => return Ok(Fetched::Unread),
            Err(Failure::Final(error)) => return download.give_up(inner, error).await,
            Err(Failure::Broken(error)) => {
                failures = if download.received > before { 1 } else { failures + 1 };
                if failures >= inner.downloads.attempts {
                    return download.give_up(inner, error).await;
                }
                warn!(blob = %blob.digest, offset = download.received, "download resumed: {error:#}");
                tokio::time::sleep(FIRST_DELAY * 2_u32.pow((failures - 1).min(8))).await;
            }
        }
    }
    download.finish(inner).await
}

async fn open(inner: &Arc<Inner>, blob: &Descriptor, is_here: bool) -> Result<File> {
    let (inner, blob) = (Arc::clone(inner), blob.clone());
    let open = move || match is_here {
        true => {
            let path = inner.blob_path(&blob.digest);
            std::fs::File::open(&path).context(|| format!("open {}", path.display()))
        }
        false => inner.open_partial(&blob),
    };
    let file = tokio::task::spawn_blocking(open).await.context(|| "open blob")??;
    Ok(File::from_std(file))
}

enum Failure {
    /// Worth another attempt from where it broke.
    Broken(Error),
    Final(Error),
    Unread,
}

struct Download<'pull> {
    blob: &'pull Descriptor,
    stages: &'pull watch::Sender<Stage>,
    /// `None` once the reader went away.
    chunks: Option<mpsc::Sender<Chunk>>,
    hash: Sha256,
    /// The blob, or its bytes so far; positioned at `received`.
    file: File,
    /// The blob was here before.
    is_here: bool,
    received: u64,
    told: Instant,
}

impl Download<'_> {
    /// Takes what is on disk.
    async fn replay(&mut self) -> Result<(), Failure> {
        loop {
            let mut buffer = BytesMut::with_capacity(BUFFER);
            let count = self.file.read_buf(&mut buffer).await;
            match count.context(|| format!("read blob {}", self.blob.digest)) {
                Ok(0) => break,
                Ok(_) => self.take(buffer.freeze()).await?,
                Err(error) => return Err(Failure::Final(error)),
            }
        }
        if self.received > 0 {
            debug!(blob = %self.blob.digest, bytes = self.received, "found on disk");
        }
        Ok(())
    }

    async fn attempt(&mut self, registry: &Registry) -> Result<(), Failure> {
        let response = registry.blob(self.blob, self.received).await;
        let (mut response, start) = response.map_err(|error| match error.kind() {
            Kind::Internal | Kind::Unavailable => Failure::Broken(error),
            _ => Failure::Final(error),
        })?;
        // A registry that knows no ranges begins at the beginning.
        let mut skip = self.received - start;
        loop {
            match response.chunk().await {
                Ok(Some(mut data)) => {
                    let known = usize::try_from(skip).unwrap_or(usize::MAX).min(data.len());
                    skip -= known as u64;
                    let data = data.split_off(known);
                    if !data.is_empty() {
                        self.store(&data).await?;
                        self.take(data).await?;
                    }
                }
                Ok(None) if self.received < self.blob.size => {
                    let (got, size) = (self.received, self.blob.size);
                    let message = format!("failed size validation: got {got} of {size} bytes");
                    return Err(Failure::Broken(Error::internal(message)));
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    let message = format!("connection broke after {} bytes", self.received);
                    return Err(Failure::Broken(Error::internal(message).with_source(error)));
                }
            }
        }
    }

    async fn store(&mut self, data: &Bytes) -> Result<(), Failure> {
        if self.received + data.len() as u64 > self.blob.size {
            let message = format!("failed size validation: more than {} bytes", self.blob.size);
            return Err(Failure::Final(Error::internal(message)));
        }
        let written = self.file.write_all(data).await;
        written.map_err(|error| Failure::Final(self.unwritten(error)))
    }

    fn unwritten(&self, error: io::Error) -> Error {
        Error::internal(format!("write blob {}", self.blob.digest)).with_source(error)
    }

    async fn take(&mut self, data: Bytes) -> Result<(), Failure> {
        self.hash.update(&data);
        self.received += data.len() as u64;
        if self.told.elapsed() >= TICK {
            self.told = Instant::now();
            self.stages.send_replace(Stage::Downloading(self.received));
        }
        if let Some(chunks) = &self.chunks
            && chunks.send(Chunk::Data(data)).await.is_err()
        {
            self.chunks = None;
        }
        if self.chunks.is_none() && self.blob.size - self.received > READ_ON {
            return Err(Failure::Unread);
        }
        Ok(())
    }

    /// Nothing came at all: then nothing stays.
    async fn give_up(mut self, inner: &Arc<Inner>, error: Error) -> Result<Fetched> {
        self.file.flush().await.map_err(|error| self.unwritten(error))?;
        if self.received == 0 {
            drop_partial(inner, &self.blob.digest).await?;
        }
        Err(error)
    }

    async fn finish(mut self, inner: &Arc<Inner>) -> Result<Fetched> {
        self.file.flush().await.map_err(|error| self.unwritten(error))?;
        let actual = Digest::from_sha256(self.hash.finalize());
        if actual != self.blob.digest {
            drop_partial(inner, &self.blob.digest).await?;
            return Ok(Fetched::Wrong(actual));
        }
        if !self.is_here {
            inner.finish_partial(&self.blob.digest)?;
        }
        let Some(chunks) = self.chunks else { return Ok(Fetched::Unread) };
        self.stages.send_replace(Stage::Downloaded);
        match chunks.send(Chunk::End).await {
            Ok(()) => Ok(Fetched::Complete),
            Err(_) => Ok(Fetched::Unread),
        }
    }
}

/// Deletes a blob's bytes, whole or not, unless an image has it.
pub(super) async fn drop_partial(inner: &Arc<Inner>, digest: &Digest) -> Result<()> {
    let (inner, digest) = (Arc::clone(inner), digest.clone());
    let work = move || inner.drop_partial(&digest);
    tokio::task::spawn_blocking(work).await.context(|| "remove partial blob")?
}
