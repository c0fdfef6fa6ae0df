//! The network end of a download: a blob's bytes, resumed where a connection broke, and checked.

use std::time::{Duration, Instant};

use bytes::Bytes;
use davit_types::{Digest, Error, Kind, Result};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::share::Stage;
use super::stream::Chunk;
use crate::image::Descriptor;
use crate::manifest::require_sha256;
use crate::registry::Registry;

/// Attempts without any progress before giving up.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Docker's refresh of progress.
const TICK: Duration = Duration::from_millis(100);
/// When the archive turned out to be broken, this much more is read to say whether its digest was.
const READ_ON: u64 = 16 << 20;

/// How a fetch ended without an error of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Complete,
    /// The reader went away first: it has the reason.
    Unread,
}

/// Feeds the blob into `chunks`.
pub(super) async fn fetch(
    registry: &Registry,
    blob: &Descriptor,
    stages: &watch::Sender<Stage>,
    chunks: mpsc::Sender<Chunk>,
) -> Result<Fetched> {
    require_sha256(&blob.digest)?;
    let mut download = Download {
        blob,
        stages,
        chunks: Some(chunks),
        hash: Sha256::new(),
        received: 0,
        told: Instant::now(),
    };
    let mut failures = 0;
    while download.received < blob.size || failures == 0 && blob.size == 0 {
        let before = download.received;
        match download.attempt(registry).await {
            Ok(()) => break,
            Err(Failure::Unread) => return Ok(Fetched::Unread),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Broken(error)) => {
                failures = if download.received > before { 1 } else { failures + 1 };
                if failures >= ATTEMPTS {
                    return Err(error);
                }
                warn!(blob = %blob.digest, offset = download.received, "download resumed: {error:#}");
                tokio::time::sleep(FIRST_DELAY * 2_u32.pow(failures - 1)).await;
            }
        }
    }
    download.finish().await
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
    received: u64,
    told: Instant,
}

impl Download<'_> {
    async fn attempt(&mut self, registry: &Registry) -> Result<(), Failure> {
        let response = registry.blob(&self.blob.digest, self.received).await;
        let mut response = response.map_err(|error| match error.kind() {
            Kind::Internal | Kind::Unavailable => Failure::Broken(error),
            _ => Failure::Final(error),
        })?;
        loop {
            match response.chunk().await {
                Ok(Some(data)) => self.take(data).await?,
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

    async fn take(&mut self, data: Bytes) -> Result<(), Failure> {
        self.hash.update(&data);
        self.received += data.len() as u64;
        if self.received > self.blob.size {
            let message = format!("failed size validation: more than {} bytes", self.blob.size);
            return Err(Failure::Final(Error::internal(message)));
        }
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

    async fn finish(self) -> Result<Fetched> {
        let actual = Digest::from_sha256(self.hash.finalize());
        if actual != self.blob.digest {
            let wanted = &self.blob.digest;
            return Err(Error::internal(format!(
                "filesystem layer verification failed for digest {wanted}: got {actual}"
            )));
        }
        let Some(chunks) = self.chunks else { return Ok(Fetched::Unread) };
        self.stages.send_replace(Stage::Downloaded);
        match chunks.send(Chunk::End).await {
            Ok(()) => Ok(Fetched::Complete),
            Err(_) => Ok(Fetched::Unread),
        }
    }
}
