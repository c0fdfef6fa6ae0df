//! Files in and out of containers: `docker cp` and `docker export`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use davit_api::container::PathStat;
use davit_engine::PutArchiveOptions;
use davit_types::{Error, Result};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::request::{Request, unreadable};
use super::response::{self, Body, Response, empty};

/// Chunks of an upload that wait for the disk.
const UPLOAD_QUEUE: usize = 8;

/// `HEAD /containers/{name}/archive`
pub(crate) async fn stat(request: Request, name: &str) -> Result<Response> {
    let stat = request.engine().archive_stat(name, path(&request)?).await?;
    let mut response = empty(StatusCode::OK);
    add_stat(response.headers_mut(), &stat);
    Ok(response)
}

/// `GET /containers/{name}/archive`
pub(crate) async fn get(request: Request, name: &str) -> Result<Response> {
    let (stat, chunks) = request.engine().archive_get(name, path(&request)?).await?;
    let mut response = response::stream("application/x-tar", response::receive(chunks));
    add_stat(response.headers_mut(), &stat);
    Ok(response)
}

/// `PUT /containers/{name}/archive`
pub(crate) async fn put(request: Request, name: &str) -> Result<Response> {
    let path = path(&request)?.to_owned();
    let options = PutArchiveOptions {
        no_overwrite_dir_non_dir: request.query.truth("noOverwriteDirNonDir"),
        copy_uid_gid: request.query.truth("copyUIDGID"),
    };
    let app = request.app.clone();
    let chunks = upload(request.into_parts().1);
    app.engine.archive_put(name, &path, options, chunks).await?;
    Ok(empty(StatusCode::OK))
}

/// `GET /containers/{name}/export`
pub(crate) async fn export(request: Request, name: &str) -> Result<Response> {
    let chunks = request.engine().export(name).await?;
    Ok(response::stream("application/octet-stream", response::receive(chunks)))
}

fn path(request: &Request) -> Result<&str> {
    request.query.non_empty("path").ok_or_else(|| Error::invalid("missing parameter in path: path"))
}

fn add_stat(headers: &mut HeaderMap, stat: &PathStat) {
    let text = serde_json::to_vec(stat).expect("a struct of plain values is JSON");
    let value = HeaderValue::from_str(&BASE64_STANDARD.encode(text)).expect("base64 is ASCII");
    headers.insert(HeaderName::from_static("x-docker-container-path-stat"), value);
}

/// The body's chunks, read as fast as they are taken.
pub(crate) fn upload(mut body: Body) -> mpsc::Receiver<Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(UPLOAD_QUEUE);
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let chunk = match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => Ok(data),
                Ok(Err(_trailers)) => continue,
                Err(error) => Err(unreadable(error)),
            };
            if sender.send(chunk).await.is_err() {
                break; // The extraction has failed; its error is the answer.
            }
        }
    });
    receiver
}
