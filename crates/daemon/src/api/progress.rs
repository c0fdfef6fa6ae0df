//! Work that tells how it goes: JSON lines as they come. As long as there is none, a failure still
//! is a real status.

use std::sync::Arc;

use bytes::Bytes;
use davit_api::progress::{ProgressDetail, ProgressMessage};
use davit_engine::Progress;
use davit_types::{Error, Result};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc::{self, UnboundedSender};

use super::response::{self, JSON, Response};

/// Where the work's lines go.
#[derive(Clone)]
pub(crate) struct Lines(UnboundedSender<Bytes>);

impl Lines {
    /// Sends a line. That the client has gone is noticed elsewhere.
    pub(crate) fn send(&self, message: &ProgressMessage) {
        drop(self.0.send(line(message)));
    }

    /// Sends a step of a transfer.
    pub(crate) fn step(&self, step: Progress) {
        self.send(&message(step));
    }
}

/// Answers with what `work` reports. It is dropped when the client goes away.
pub(crate) async fn answer<F>(work: impl FnOnce(Lines) -> F) -> Result<Response>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, mut lines) = mpsc::unbounded_channel();
    let last = sender.clone();
    let work = work(Lines(sender));
    let task = tokio::spawn(async move {
        tokio::select! {
            result = work => result,
            () = last.closed() => Ok(()),
        }
    });
    let Some(first) = lines.recv().await else {
        return flat(task.await).map(|()| response::stream(JSON, stream::empty()));
    };
    let rest = stream::unfold(lines, |mut lines| async { lines.recv().await.map(|l| (l, lines)) });
    let end = stream::once(async { flat(task.await).err() }).filter_map(|failure| async {
        failure.map(|error| line(&ProgressMessage::failure(format!("{error:#}"))))
    });
    let all = stream::once(async { first }).chain(rest).chain(end).map(Ok);
    Ok(response::stream(JSON, all))
}

/// For work that reports through a function.
pub(crate) fn reporter(lines: Lines) -> impl Fn(Progress) + Send + Sync + 'static {
    let lines = Arc::new(lines);
    move |step| lines.step(step)
}

fn flat(joined: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    joined.unwrap_or_else(|panic| Err(Error::internal("move image").with_source(panic)))
}

fn message(step: Progress) -> ProgressMessage {
    let number = |value: Option<u64>| i64::try_from(value.unwrap_or(0)).unwrap_or(i64::MAX);
    let detail = ProgressDetail {
        current: number(step.current),
        total: number(step.total),
        start: 0,
        hide_counts: step.hide_counts,
        units: step.units.unwrap_or_default(),
    };
    ProgressMessage {
        status: step.status,
        id: step.id.unwrap_or_default(),
        progress_detail: step.detail.then_some(detail),
        aux: step.aux,
        ..ProgressMessage::default()
    }
}

fn line(message: &ProgressMessage) -> Bytes {
    message.to_line().into()
}
