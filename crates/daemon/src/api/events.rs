//! The event stream, in the newest form or with the keys that clients before 1.52 need.

use bytes::Bytes;
use davit_api::filters;
use davit_types::Result;
use futures_util::StreamExt as _;
use http::Method;
use http::header::ACCEPT;

use super::request::Request;
use super::response::{self, JSON, Response};
use super::streams::{json_line, moment};
use super::{compat, error};

/// JSON text sequences (RFC 7464) put this in front of each document.
const RECORD_SEPARATOR: u8 = 0x1e;

/// `GET /events`
pub(crate) fn route(request: Request) -> Result<Response> {
    if request.http.method() != Method::GET {
        return Err(error::page_not_found());
    }
    let since = moment(request.query.get("since"))?;
    let until = moment(request.query.get("until"))?;
    let filters = request.filters(filters::EVENTS)?;
    let content_type = content_type(&request);
    let events = request.engine().events(since, until, filters)?;
    let version = request.version;
    let lines = response::receive(events).map(move |event| {
        let line = json_line(&compat::event(&event, version));
        Ok(match content_type {
            "application/json-seq" => Bytes::from([&[RECORD_SEPARATOR], &line[..]].concat()),
            _ => line,
        })
    });
    Ok(response::stream(content_type, lines))
}

fn content_type(request: &Request) -> &'static str {
    if request.older_than(52) {
        return JSON;
    }
    match request.header(ACCEPT.as_str()) {
        accept if accept.contains("application/x-ndjson") => "application/x-ndjson",
        accept if accept.contains("application/json-seq") => "application/json-seq",
        _ => "application/jsonl",
    }
}
