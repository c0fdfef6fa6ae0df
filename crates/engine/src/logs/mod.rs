//! Reading a container's log: the json-file files, encoded for the client as they are read.
//!
//! The monitor writes `<id>-json.log` and rotates it to `.1`, `.2`...; nobody but this module reads
//! them. Lines are parsed, filtered and framed in one pass on a blocking thread and handed over in
//! chunks, so a line costs no allocation of its own. A follower waits on inotify, not on a timer.

mod follow;
mod reader;
mod record;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bytes::Bytes;
use davit_types::{Context, Result};
use tokio::sync::{mpsc, watch};

use reader::Reader;

/// How much encoded output is handed over at once, bytes.
const CHUNK: usize = 64 * 1024;

/// Where a log is and what a client wants of it.
#[derive(Debug, Clone)]
pub struct LogRequest {
    /// The present file; rotated ones have `.1`, `.2`, ... (and `.gz`) appended.
    pub path: PathBuf,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// Only lines at or after this time, nanoseconds since the epoch.
    pub since: Option<i64>,
    /// Only lines at or before this time, nanoseconds since the epoch.
    pub until: Option<i64>,
    /// Only the last so many records; absent: all.
    pub tail: Option<u64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Put the attributes before each line.
    pub details: bool,
    /// Docker's 8-byte headers (not for a terminal's log).
    pub multiplexed: bool,
}

/// Reads the log, and follows it until `ended` turns true when that is given.
///
/// Dropping the receiver ends the reading.
pub fn stream(
    request: LogRequest,
    ended: Option<watch::Receiver<bool>>,
) -> mpsc::Receiver<Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(error) = run(request, ended, &sender).await {
            // A failed send means that the client has gone, and the error with it.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

async fn run(
    request: LogRequest,
    ended: Option<watch::Receiver<bool>>,
    sender: &mpsc::Sender<Result<Bytes>>,
) -> Result<()> {
    let until = request.until;
    // Watched before the first read: what is written between them is not missed.
    let mut follower =
        ended.map(|ended| follow::Follower::new(&request.path, ended, until)).transpose()?;
    let path = request.path.clone();
    let open = tokio::task::spawn_blocking(move || Reader::open(request));
    let mut reader = open.await.context(|| format!("read log {}", path.display()))??;
    loop {
        // Asked before reading: what was written before the end is read after it.
        let last = follower.as_mut().is_none_or(follow::Follower::has_ended);
        loop {
            let chunk;
            (reader, chunk) = read_chunk(reader).await?;
            if chunk.is_empty() {
                break;
            }
            if sender.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        }
        match &mut follower {
            Some(follower) if !last && !reader.is_done() => {
                tokio::select! {
                    waited = follower.wait() => waited?,
                    () = sender.closed() => return Ok(()),
                }
            }
            _ => return Ok(()),
        }
    }
}

async fn read_chunk(mut reader: Reader) -> Result<(Reader, Bytes)> {
    let read = tokio::task::spawn_blocking(move || {
        let chunk = reader.next_chunk(CHUNK)?;
        Ok((reader, chunk))
    });
    read.await.context(|| "read log")?
}
