//! `POST /containers/{id}/attach`: the client's connection goes to the monitor, which serves it from
//! then on; the daemon is out of the way.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use base64::Engine as _;
use davit_monitor::protocol::{Attach, Request};
use davit_types::{Context, Error, Result};
use tokio::io::AsyncWriteExt;

use super::{Container, detached};
use crate::Engine;
use crate::engine::Inner;
use crate::logs;
use crate::options::{AttachOptions, ClientStream, LogOptions};

/// Ctrl-p, ctrl-q.
const DEFAULT_DETACH_KEYS: [u8; 2] = [16, 17];

impl Engine {
    /// To be asked before the connection is upgraded: says whether the stream is multiplexed, that is,
    /// whether there is no terminal.
    ///
    /// # Errors
    /// No such container; paused or restarting (409); detach keys that make no sense (400).
    pub fn attach_check(&self, name: &str, options: &AttachOptions) -> Result<bool> {
        let container = self.inner().containers.find(name)?;
        let snapshot = container.snapshot();
        snapshot.record.state.check_attach(container.id.as_str())?;
        detach_keys(options.detach_keys.as_deref())?;
        Ok(!snapshot.record.config.tty)
    }

    /// Hands an upgraded connection over. Returns when that is done, not when the stream ends.
    ///
    /// # Errors
    /// Those of [`Engine::attach_check`]; the monitor does not take it.
    pub async fn attach(
        &self,
        name: &str,
        options: AttachOptions,
        client: ClientStream,
    ) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        container.snapshot().record.state.check_attach(container.id.as_str())?;
        detached(async move { attach(&inner, &container, &options, client).await }).await
    }
}

async fn attach(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    options: &AttachOptions,
    client: ClientStream,
) -> Result<()> {
    let snapshot = container.snapshot();
    if options.logs {
        replay(container, options, &client.fd).await?;
    }
    if !options.stream {
        return Ok(());
    }
    let request = Attach {
        stdin: options.stdin && snapshot.record.config.open_stdin,
        stdout: options.stdout,
        stderr: options.stderr,
        multiplexed: !snapshot.record.config.tty,
        detach_keys: detach_keys(options.detach_keys.as_deref())?,
        early_input: encode(&client.early_input),
    };
    inner.publish(&snapshot, "attach", &[]);
    match container.monitor_or_wait(request, client.fd) {
        Some((monitor, request, client)) => {
            monitor.request(Request::Attach(request), Some(client)).await
        }
        None => Ok(()),
    }
}

/// What the client sent early travels in the message as text.
pub(crate) fn encode(early_input: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(early_input)
}

/// Writes the log so far to the client.
async fn replay(container: &Container, options: &AttachOptions, client: &OwnedFd) -> Result<()> {
    let snapshot = container.snapshot();
    if snapshot.host_config.log_config.kind != "json-file" || snapshot.record.log_path.is_empty() {
        return Ok(());
    }
    let wanted =
        LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
    let mut chunks = logs::stream(super::logging::log_request(container, &wanted), None);
    let failed = || "send the log to an attached client";
    // The descriptor is shared with the socket that the monitor gets; only this copy is closed here.
    let copy = client.as_fd().try_clone_to_owned().context(failed)?;
    let stream = std::os::unix::net::UnixStream::from(copy);
    stream.set_nonblocking(true).context(failed)?;
    let mut stream = tokio::net::UnixStream::from_std(stream).context(failed)?;
    while let Some(chunk) = chunks.recv().await {
        stream.write_all(&chunk?).await.context(failed)?;
    }
    // Dropping the halves would shut the connection down; the plain socket is only closed.
    drop(stream.into_std().context(failed)?);
    Ok(())
}

/// `ctrl-a,x` as bytes; absent: ctrl-p, ctrl-q.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_DETACH_KEYS.to_vec());
    };
    let invalid = || Error::invalid(format!("Invalid detach keys ({text}) provided"));
    text.split(',')
        .map(|key| match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
            Some([b'@']) => Ok(0),
            Some([symbol @ (b'[' | b'\\' | b']' | b'^' | b'_')]) => Ok(symbol - b'[' + 27),
            Some(_) => Err(invalid()),
            None => match key.as_bytes() {
                [byte] => Ok(*byte),
                _ => Err(invalid()),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_bytes() {
        for (text, bytes) in [
            (None, vec![16, 17]),
            (Some(""), vec![16, 17]),
            (Some("ctrl-a,x"), vec![1, b'x']),
            (Some("ctrl-@"), vec![0]),
            (Some("ctrl-["), vec![27]),
            (Some("ctrl-_"), vec![31]),
        ] {
            assert_eq!(detach_keys(text).expect("valid"), bytes, "{text:?}");
        }
        let error = detach_keys(Some("zzz")).expect_err("three letters");
        assert_eq!(error.to_string(), "Invalid detach keys (zzz) provided");
    }
}
