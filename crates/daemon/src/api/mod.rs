//! Docker's REST API: one file per resource, each turning requests into calls of the engine.
//!
//! A handler parses, calls, and serialises; it decides nothing about containers. Answers are made
//! in their newest form, `compat` turns them into what older clients expect.

mod archive;
mod attach;
mod bundles;
mod compat;
mod containers;
mod error;
mod events;
mod exec;
mod front;
mod hijack;
mod images;
mod networks;
mod progress;
mod query;
mod request;
mod response;
mod streams;
mod system;
mod unavailable;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use davit_engine::Engine;
use davit_types::{Error, Result};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::RwLock;

pub(crate) use front::VERSION;
use request::Request;
use response::{BoxError, Response};

/// What all requests share.
pub(crate) struct App {
    /// The engine.
    pub(crate) engine: Engine,
    /// Read-locked from before an attach is answered until the engine has the connection, so that
    /// a start that comes after the answer finds the client attached and no output is lost.
    pub(crate) attaching: Arc<RwLock<()>>,
}

/// How long a start waits for attaches under way; one that stalls must not stop the world.
const ATTACH_PATIENCE: Duration = Duration::from_secs(5);

impl App {
    /// For an engine.
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, attaching: Arc::default() }
    }

    /// Returns when the attaches answered before are in place.
    async fn attaches_settled(&self) {
        if tokio::time::timeout(ATTACH_PATIENCE, self.attaching.write()).await.is_err() {
            tracing::warn!("an attach has not been handed over in time, starting without it");
        }
    }

    /// Serves one request. The handler runs on a task of its own: when the client goes away in the
    /// middle, what was begun is still finished.
    pub(crate) async fn serve(self: Arc<Self>, request: http::Request<Incoming>) -> Response {
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        tracing::debug!(method = %request.method(), uri = %request.uri(), "request");
        front::serve(request, |http, target| async move {
            let request = Request::new(self, target.version, http);
            let task = tokio::spawn(async move {
                let segments: Vec<&str> = target.segments.iter().map(String::as_str).collect();
                route(request, &segments).await
            });
            task.await
                .unwrap_or_else(|panic| Err(Error::internal("handle request").with_source(panic)))
        })
        .await
    }
}

/// Finds the file for a path; the files find the handler for the rest of it and the method.
async fn route(request: Request, path: &[&str]) -> Result<Response> {
    match path {
        ["_ping" | "version" | "info" | "system" | "auth", ..] => {
            system::route(request, path).await
        }
        ["commit"] if request.http.method() == http::Method::POST => bundles::commit(request).await,
        ["events"] => events::route(request),
        ["containers", rest @ ..] => containers::route(request, rest).await,
        ["exec", id, action] => exec::route(request, id, action).await,
        ["images", rest @ ..] => images::route(request, rest).await,
        ["networks", rest @ ..] => networks::route(request, rest).await,
        ["volumes", rest @ ..] => volumes::route(request, rest).await,
        _ => unavailable::route(&request, path),
    }
}
