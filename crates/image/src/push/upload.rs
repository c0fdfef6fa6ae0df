//! One blob on its way to a registry: found there, mounted, or sent in chunks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use davit_types::{Context as _, Error, Kind, Result};
use reqwest::Url;
use tracing::warn;

use crate::image::{Descriptor, Progress};
use crate::pull::Report;
use crate::registry::{Begun, Registry};
use crate::store::Inner;

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
        let path = self.inner.blob_path(&self.blob.digest);
        let file = File::open(&path).context(|| format!("open {}", path.display()))?;
        let file = Arc::new(file);
        let (mut sent, mut failures) = (0, 0);
        loop {
            let before = sent;
            let error = match self.attempt(&file, &mut session, &mut sent).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures = if sent > before { 1 } else { failures + 1 };
            let is_final = !matches!(error.kind(), Kind::Internal | Kind::Unavailable);
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
        file: &Arc<File>,
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
            let data = read(file, *sent, CHUNK.min(self.blob.size - *sent)).await?;
            url = self.registry.upload_chunk(url, &data, *sent).await?;
            *session = Some(url.clone());
            *sent += data.len() as u64;
            self.tell("Pushing", Some(*sent));
        }
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

async fn read(file: &Arc<File>, offset: u64, count: u64) -> Result<Bytes> {
    let file = Arc::clone(file);
    let read = move || -> io::Result<Bytes> {
        let mut buffer = vec![0; usize::try_from(count).map_err(io::Error::other)?];
        file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    };
    tokio::task::spawn_blocking(read).await.context(|| "read blob")?.context(|| "read blob")
}
