//! Answers: JSON documents with Go's trailing newline, empty ones, and streams.

use std::convert::Infallible;

use bytes::Bytes;
use davit_types::Error;
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response as HttpResponse, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

/// A failure while a body is read or written.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any kind.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// An answer.
pub(crate) type Response = HttpResponse<Body>;

/// Content type of documents.
pub(crate) const JSON: &str = "application/json";

/// `value` as a document under `status`.
pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(value).expect("API documents have string keys only");
    text.push(b'\n');
    with_body(status, JSON, full(text))
}

/// `value` as a document under 200.
pub(crate) fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

/// `status` without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = HttpResponse::new(Empty::new().map_err(never).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// 204.
pub(crate) fn no_content() -> Response {
    empty(StatusCode::NO_CONTENT)
}

/// Text under `status`.
pub(crate) fn text(status: StatusCode, content_type: &'static str, text: String) -> Response {
    with_body(status, content_type, full(text))
}

/// A body of unknown length under 200. Its head is sent at once, before the first chunk is there.
pub(crate) fn stream<S>(content_type: &'static str, chunks: S) -> Response
where
    S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
{
    let frames = chunks.map(|chunk| chunk.map(Frame::data).map_err(BoxError::from));
    with_body(StatusCode::OK, content_type, StreamBody::new(frames).boxed_unsync())
}

/// What comes out of a channel, as a stream.
pub(crate) fn receive<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

/// `status`, content type and body.
pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = HttpResponse::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

fn never(impossible: Infallible) -> BoxError {
    match impossible {}
}
