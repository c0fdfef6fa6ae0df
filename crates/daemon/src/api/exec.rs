//! Exec instances.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use davit_api::exec::{ExecCreateRequest, ExecStartRequest};
use davit_api::stream::{MULTIPLEXED, RAW, StreamKind, frame};
use davit_engine::ClientStream;
use davit_types::{Error, Kind, Result};
use http::{Method, StatusCode};

use super::hijack::{self, Hijack};
use super::request::Request;
use super::response::{Response, empty, json, json_with};
use super::{App, containers, error};

/// Requests below `/exec/{id}`.
pub(crate) async fn route(request: Request, id: &str, action: &str) -> Result<Response> {
    match (request.http.method().clone(), action) {
        (Method::GET, "json") => Ok(json(&request.engine().exec_inspect(id).await?)),
        (Method::POST, "start") => start(request, id).await,
        (Method::POST, "resize") => resize(request, id).await,
        _ => Err(error::page_not_found()),
    }
}

/// `POST /containers/{name}/exec`
pub(crate) async fn create(mut request: Request, container: &str) -> Result<Response> {
    let body: ExecCreateRequest = request.json().await?;
    if body.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("No exec command specified"));
    }
    let created = request.engine().exec_create(container, body).await?;
    Ok(json_with(StatusCode::CREATED, &created))
}

async fn resize(request: Request, id: &str) -> Result<Response> {
    let (height, width) = containers::terminal_size(&request)?;
    request.engine().exec_resize(id, height, width).await?;
    Ok(empty(StatusCode::OK))
}

async fn start(mut request: Request, id: &str) -> Result<Response> {
    let body: ExecStartRequest = request.json().await?;
    // Only an unknown one is an error by status; others come once the client has the stream.
    let checked = match request.engine().exec_start_check(id) {
        Err(error) if error.kind() == Kind::NotFound => return Err(error),
        checked => checked.map(drop),
    };
    if body.detach {
        checked?;
        request.engine().exec_start(id, body, None).await?;
        return Ok(empty(StatusCode::OK));
    }
    let framed = !body.tty && !request.older_than(42) && hijack::wants_upgrade(&request.http);
    let content_type = if framed { MULTIPLEXED } else { RAW };
    let (app, id) = (request.app.clone(), id.to_owned());
    let Hijack { response, client } = hijack::take_over(request.http, content_type)?;
    tokio::spawn(async move {
        match client.await {
            Ok(client) => run(app, &id, body, client, checked).await,
            Err(gone) => tracing::warn!(exec = id, "exec not started: {gone:#}"),
        }
    });
    Ok(response)
}

/// Starts it. The status is out already, so a failure is written into the stream.
async fn run(
    app: Arc<App>,
    id: &str,
    body: ExecStartRequest,
    client: ClientStream,
    checked: Result<()>,
) {
    let tty = body.tty;
    let kept = client.fd.as_fd().try_clone_to_owned();
    let started = match checked {
        Ok(()) => app.engine.exec_start(id, body, Some(client)).await,
        refused => refused,
    };
    let (Err(failure), Ok(client)) = (started, kept) else { return };
    tracing::debug!(exec = id, "exec failed: {failure:#}");
    let text = format!("{failure:#}\r\n").into_bytes();
    let text = if tty { text } else { frame(StreamKind::Stdout, &text) };
    report(client, &text);
}

/// A few bytes into an idle socket: they fit its buffer. A client that is gone misses nothing.
fn report(client: OwnedFd, text: &[u8]) {
    let _ = std::fs::File::from(client).write_all(text);
}
