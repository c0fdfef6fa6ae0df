//! Attach: the client's connection becomes the container's standard streams.

use davit_api::stream::{MULTIPLEXED, RAW};
use davit_engine::AttachOptions;
use davit_types::{Error, Result};

use super::error;
use super::hijack::{self, Hijack};
use super::request::Request;
use super::response::{Response, text};

/// `POST /containers/{name}/attach`
pub(crate) async fn attach(request: Request, name: &str) -> Result<Response> {
    let options = options(&request);
    // From here on a start waits until the engine has this client.
    let settled = request.app.attaching.clone().read_owned().await;
    let multiplexed = match request.engine().attach_check(name, &options) {
        Ok(multiplexed) => multiplexed,
        Err(failure) => return Ok(refuse(&failure)),
    };
    let framed = multiplexed && !request.older_than(42) && hijack::wants_upgrade(&request.http);
    let content_type = if framed { MULTIPLEXED } else { RAW };
    let (app, name) = (request.app.clone(), name.to_owned());
    let Hijack { response, client } = hijack::take_over(request.http, content_type)?;
    tokio::spawn(async move {
        let attached = match client.await {
            Ok(client) => app.engine.attach(&name, options, client).await,
            Err(gone) => Err(gone),
        };
        drop(settled);
        if let Err(failure) = attached {
            tracing::warn!(container = name, "attach failed: {failure:#}");
        }
    });
    Ok(response)
}

fn options(request: &Request) -> AttachOptions {
    let query = &request.query;
    AttachOptions {
        logs: query.truth("logs"),
        stream: query.truth("stream"),
        stdin: query.truth("stdin"),
        stdout: query.truth("stdout"),
        stderr: query.truth("stderr"),
        detach_keys: query.non_empty("detachKeys").map(str::to_owned),
    }
}

/// Docker answers a failed attach in the stream's content type, as plain text.
fn refuse(failure: &Error) -> Response {
    text(error::status(failure.kind()), RAW, format!("{failure:#}\r\n"))
}
