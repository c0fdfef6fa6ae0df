//! One download per layer, however many pulls want it; each pull tells its own user about it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use davit_types::{Error, Kind, Result};
use tokio::sync::{Semaphore, watch};

use super::{Report, layer};
use crate::image::{Descriptor, LayerId, Progress, TransferLimits};
use crate::registry::Registry;
use crate::store::Inner;

const SETTLE: Duration = Duration::from_millis(2);

/// The layers on their way now.
pub(crate) struct Downloads {
    running: Mutex<HashMap<LayerId, Arc<watch::Sender<Stage>>>>,
    pub(super) permits: Semaphore,
    pub(crate) uploads: Semaphore,
    /// Held while a blob is fetched whose layer is here.
    pub(super) blobs_only: tokio::sync::Mutex<()>,
    pub(super) attempts: u32,
}

/// How far a layer is.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Waiting,
    Downloading(u64),
    Downloaded,
    Done,
    /// Nobody wanted it any more.
    Cancelled,
    Failed(Kind, String),
}

impl Downloads {
    pub(crate) fn new(limits: TransferLimits) -> Self {
        Self {
            running: Mutex::default(),
            permits: Semaphore::new(limits.downloads),
            uploads: Semaphore::new(limits.uploads),
            blobs_only: tokio::sync::Mutex::default(),
            attempts: limits.attempts,
        }
    }

    /// Waits until a download that nobody wants any more has cleaned up after itself.
    pub(super) async fn settled(&self, layer: &LayerId) {
        while self.lock().get(layer).is_some_and(|sender| sender.receiver_count() == 0) {
            tokio::time::sleep(SETTLE).await;
        }
    }

    /// Takes a layer to unpack it without the network; waits for whoever is at it. `None` when it
    /// is there. Blocks.
    pub(crate) fn claim(&self, inner: &Arc<Inner>, layer: &LayerId) -> Option<Claim> {
        loop {
            let mut running = self.lock();
            if inner.has_layer(layer) {
                return None;
            }
            if !running.contains_key(layer) {
                let (sender, _) = watch::channel(Stage::Waiting);
                let sender = Arc::new(sender);
                running.insert(layer.clone(), Arc::clone(&sender));
                let inner = Arc::clone(inner);
                return Some(Claim { inner, layer: layer.clone(), sender });
            }
            drop(running);
            std::thread::sleep(SETTLE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LayerId, Arc<watch::Sender<Stage>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to unpack a layer. Pulls that want it wait until this is dropped.
pub(crate) struct Claim {
    inner: Arc<Inner>,
    layer: LayerId,
    sender: Arc<watch::Sender<Stage>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.downloads.lock().remove(&self.layer);
        let is_here = self.inner.has_layer(&self.layer);
        self.sender.send_replace(if is_here { Stage::Done } else { Stage::Cancelled });
    }
}

/// Gets a layer, alone or together with other pulls, and reports how it goes.
pub(super) async fn follow(
    inner: &Arc<Inner>,
    registry: &Arc<Registry>,
    layer: &LayerId,
    blob: &Descriptor,
    report: &Report,
) -> Result<()> {
    let mut shown = Shown { report, blob, downloaded: false, seconds: 0 };
    loop {
        let Some(mut stages) = join(inner, registry, layer, blob) else {
            shown.done();
            return Ok(());
        };
        loop {
            let stage = stages.borrow_and_update().clone();
            match stage {
                Stage::Waiting => {}
                Stage::Downloading(current) => shown.downloading(current),
                Stage::Downloaded => shown.extracting(),
                Stage::Done => {
                    shown.done();
                    return Ok(());
                }
                Stage::Failed(kind, message) => return Err(Error::new(kind, message)),
                // It was being cancelled when this pull joined: start again.
                Stage::Cancelled => break,
            }
            let changed = tokio::time::timeout(Duration::from_secs(1), stages.changed());
            if let Ok(Err(_)) = changed.await {
                return Err(Error::internal(format!("download of layer {} ended", blob.digest)));
            }
        }
    }
}

/// Joins the running download or starts one. `None` when the layer is there.
fn join(
    inner: &Arc<Inner>,
    registry: &Arc<Registry>,
    layer: &LayerId,
    blob: &Descriptor,
) -> Option<watch::Receiver<Stage>> {
    let mut running = inner.downloads.lock();
    if inner.has_layer(layer) {
        return None;
    }
    if let Some(sender) = running.get(layer) {
        return Some(sender.subscribe());
    }
    let (sender, receiver) = watch::channel(Stage::Waiting);
    let sender = Arc::new(sender);
    running.insert(layer.clone(), Arc::clone(&sender));
    drop(running);
    let (inner, registry) = (Arc::clone(inner), Arc::clone(registry));
    let (layer, blob) = (layer.clone(), blob.clone());
    tokio::spawn(async move {
        let stage = match layer::download(&inner, &registry, &layer, &blob, &sender).await {
            Ok(()) => Stage::Done,
            Err(_) if sender.receiver_count() == 0 => Stage::Cancelled,
            Err(error) => Stage::Failed(error.kind(), format!("{error:#}")),
        };
        inner.downloads.lock().remove(&layer);
        sender.send_replace(stage);
    });
    Some(receiver)
}

/// What one pull's user has been told about one layer.
struct Shown<'pull> {
    report: &'pull Report,
    blob: &'pull Descriptor,
    downloaded: bool,
    seconds: u64,
}

impl Shown<'_> {
    fn downloading(&self, current: u64) {
        (self.report)(Progress {
            status: "Downloading".to_owned(),
            id: Some(self.blob.digest.short().to_owned()),
            current: Some(current),
            total: Some(self.blob.size),
            detail: true,
            ..Progress::default()
        });
    }

    /// Called once a second while it lasts.
    fn extracting(&mut self) {
        if !self.downloaded {
            self.downloaded = true;
            report_layer(self.report, self.blob, "Download complete", true);
        }
        self.seconds += 1;
        (self.report)(Progress {
            status: "Extracting".to_owned(),
            id: Some(self.blob.digest.short().to_owned()),
            current: Some(self.seconds),
            units: Some("s".to_owned()),
            detail: true,
            ..Progress::default()
        });
    }

    fn done(&mut self) {
        if self.seconds == 0 {
            self.extracting();
        }
        report_layer(self.report, self.blob, "Pull complete", true);
    }
}

/// A line about a layer without counts.
pub(super) fn report_layer(report: &Report, blob: &Descriptor, status: &str, hide_counts: bool) {
    report(Progress {
        status: status.to_owned(),
        id: Some(blob.digest.short().to_owned()),
        hide_counts,
        detail: true,
        ..Progress::default()
    });
}
