//! One blob on its way to a registry: found there, mounted, or sent in chunks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use davit_types::{Context as _, Error, Kind, Result};
use reqwest::Url;
use tracing::warn;

use crate::image::{Descriptor, Progress};
use crate::pull::Report;
use crate::registry::{Begun, Registry};
use crate::store::{Inner, Outgoing};

/// Bytes of one request: as much as is sent again when it breaks.
const CHUNK: u64 = 8 << 20;
/// Attempts without any progress before giving up.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// One blob of one push.
pub(super) struct Upload<'push> {
    pub(super) inner: &'push Arc<Inner>,
    pub(super) registry: &'push Registry,
    pub(super) blob: &'push Descriptor,
    /// Repositories of the same registry that may have it.
    pub(super) elsewhere: &'push [String],
    /// `None` for blobs that are not shown.
    pub(super) report: Option<&'push Report>,
}

impl Upload<'_> {
    /// Gets the blob into the repository.
    pub(super) async fn run(&self) -> Result<()> {
        self.tell("Waiting", None);
        let _permit = self.inner.downloads.uploads.acquire().await;
        if self.registry.has_blob(&self.blob.digest).await? {
            self.tell("Layer already exists", None);
            return Ok(());
        }
        let mut session = None;
        for from in self.elsewhere {
            match self.registry.begin_upload(&self.blob.digest, Some(from)).await {
                Ok(Begun::Mounted) => {
                    self.tell(&format!("Mounted from {from}"), None);
                    return Ok(());
                }
                Ok(Begun::Session(url)) => {
                    session = Some(url);
                    break;
                }
                // We may not read there, say. Then it is sent.
                Err(error) => warn!(blob = %self.blob.digest, from, "not mounted: {error:#}"),
            }
        }
        if !self.inner.has_blob(self.blob) {
            self.tell("Unavailable", None);
            return Err(Error::not_found(format!(
                "content digest {}: not found",
                self.blob.digest
            )));
        }
        self.send(session).await?;
        self.tell("Pushed", None);
        Ok(())
    }

    async fn send(&self, mut session: Option<Url>) -> Result<()> {
        let bytes = Source::open(self.inner, self.blob)?;
        let (mut sent, mut failures) = (0, 0);
        loop {
            let before = sent;
            let error = match self.attempt(&bytes, &mut session, &mut sent).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures = if sent > before { 1 } else { failures + 1 };
            let is_final = !matches!(error.kind(), Kind::Internal | Kind::Unavailable)
                || !self.inner.has_blob(self.blob);
            if is_final || failures >= ATTEMPTS {
                return Err(error);
            }
            warn!(blob = %self.blob.digest, offset = sent, "upload resumed: {error:#}");
            tokio::time::sleep(FIRST_DELAY * 2_u32.pow(failures - 1)).await;
            session = self.resumed(session.take(), &mut sent).await;
        }
    }

    /// Where a broken session goes on; a new one from the start when it is gone.
    async fn resumed(&self, session: Option<Url>, sent: &mut u64) -> Option<Url> {
        match self.registry.upload_status(session?).await {
            Ok(Some((url, count))) => {
                *sent = count.min(self.blob.size);
                Some(url)
            }
            _ => {
                *sent = 0;
                None
            }
        }
    }

    async fn attempt(
        &self,
        bytes: &Source,
        session: &mut Option<Url>,
        sent: &mut u64,
    ) -> Result<()> {
        let mut url = match session.clone() {
            Some(url) => url,
            None => match self.registry.begin_upload(&self.blob.digest, None).await? {
                Begun::Session(url) => url,
                Begun::Mounted => return Ok(()),
            },
        };
        *session = Some(url.clone());
        self.tell("Pushing", Some(*sent));
        while *sent < self.blob.size {
            let data = bytes.read(*sent, CHUNK.min(self.blob.size - *sent)).await?;
            url = self.registry.upload_chunk(url, &data, *sent).await?;
            *session = Some(url.clone());
            *sent += data.len() as u64;
            self.tell("Pushing", Some(*sent));
        }
        bytes.verify().await?;
        self.registry.finish_upload(url, &self.blob.digest).await
    }

    fn tell(&self, status: &str, current: Option<u64>) {
        let Some(report) = self.report else { return };
        report(Progress {
            status: status.to_owned(),
            id: Some(self.blob.digest.short().to_owned()),
            current,
            total: current.map(|_| self.blob.size),
            detail: true,
            ..Progress::default()
        });
    }
}

/// The blob's bytes, read and checked on threads that may wait for a disk.
struct Source(Arc<Mutex<Outgoing>>);

impl Source {
    fn open(inner: &Arc<Inner>, blob: &Descriptor) -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Outgoing::open(inner, &blob.digest)?))))
    }

    async fn read(&self, offset: u64, count: u64) -> Result<Bytes> {
        let count = usize::try_from(count).context(|| "read blob")?;
        self.with(move |blob| blob.read_at(offset, count)).await.map(Bytes::from)
    }

    async fn verify(&self) -> Result<()> {
        self.with(Outgoing::verify).await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Outgoing) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let blob = Arc::clone(&self.0);
        let work = move || work(&mut blob.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.context(|| "read blob")?
    }
}
