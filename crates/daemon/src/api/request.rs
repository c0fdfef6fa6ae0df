//! A request after the version was split off its path, and how its body is read.

use std::sync::Arc;

use bytes::Bytes;
use davit_api::{ApiVersion, Filters};
use davit_engine::Engine;
use davit_types::{Error, Result};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;

use super::App;
use super::query::Query;
use super::response::{Body, BoxError};

/// A request on its way to a handler.
pub(crate) struct Request {
    pub(crate) app: Arc<App>,
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    pub(crate) http: http::Request<Body>,
}

impl Request {
    /// Reads the query string; the path is the router's.
    pub(crate) fn new(app: Arc<App>, version: ApiVersion, http: http::Request<Body>) -> Self {
        let query = Query::parse(http.uri().query().unwrap_or_default());
        Self { app, version, query, http }
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.app.engine
    }

    /// Whether the client speaks an API older than `1.minor`.
    pub(crate) fn older_than(&self, minor: u16) -> bool {
        self.version < ApiVersion(1, minor)
    }

    /// A header's text, empty when it is missing or not text.
    pub(crate) fn header(&self, name: &str) -> &str {
        header(self.http.headers(), name)
    }

    /// The parameter `filters`, checked against the keys accepted.
    pub(crate) fn filters(&self, accepted: &[&str]) -> Result<Filters> {
        let filters = Filters::from_json(self.query.get("filters"))?;
        filters.check(accepted)?;
        Ok(filters)
    }

    /// The body as a document; `None` when it is empty.
    pub(crate) async fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        check_content_type(self.http.headers(), self.http.body().size_hint().exact() == Some(0))?;
        let bytes = self.body().await?;
        parse_json(&bytes)
    }

    /// The body as a document; the default when it is empty.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        Ok(self.optional_json().await?.unwrap_or_default())
    }

    /// The whole body.
    pub(crate) async fn body(&mut self) -> Result<Bytes> {
        let read = self.http.body_mut().collect().await;
        read.map(http_body_util::Collected::to_bytes).map_err(unreadable)
    }

    /// Head and body apart.
    pub(crate) fn into_parts(self) -> (Parts, Body) {
        self.http.into_parts()
    }
}

/// The client's body could not be read.
pub(crate) fn unreadable(error: BoxError) -> Error {
    Error::invalid("read request body").with_source(error)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A body must be declared as JSON; only an absent one needs no type.
fn check_content_type(headers: &HeaderMap, is_empty: bool) -> Result<()> {
    let content_type = header(headers, CONTENT_TYPE.as_str());
    if content_type.is_empty() && (is_empty || header(headers, CONTENT_LENGTH.as_str()) == "0") {
        return Ok(());
    }
    let mime = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match mime.as_str() {
        "application/json" => Ok(()),
        "" => Err(Error::invalid(format!(
            "malformed Content-Type header ({content_type}): mime: no media type"
        ))),
        _ => Err(Error::invalid(format!(
            "unsupported Content-Type header ({content_type}): must be 'application/json'"
        ))),
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut documents = serde_json::Deserializer::from_slice(bytes);
    let document = Option::<T>::deserialize(&mut documents)
        .map_err(|error| Error::invalid(format!("invalid JSON: {error}")))?;
    documents.end().map_err(|_| Error::invalid("unexpected content after JSON"))?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.expect_err("must fail").to_string()
    }

    #[test]
    fn a_body_must_say_it_is_json() {
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().expect("a header"));
            headers
        };
        assert!(check_content_type(&HeaderMap::new(), true).is_ok());
        assert!(check_content_type(&headers("Application/JSON; charset=utf-8"), false).is_ok());
        assert_eq!(
            message(check_content_type(&HeaderMap::new(), false)),
            "malformed Content-Type header (): mime: no media type"
        );
        assert_eq!(
            message(check_content_type(&headers("text/plain"), false)),
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
    }

    #[test]
    fn one_document_and_nothing_else() {
        type Numbers = Vec<u8>;
        assert_eq!(parse_json::<Numbers>(b" \n").expect("empty"), None);
        assert_eq!(parse_json::<Numbers>(b"[1]\n").expect("one"), Some(vec![1]));
        assert_eq!(message(parse_json::<Numbers>(b"[1] [2]")), "unexpected content after JSON");
        assert!(message(parse_json::<Numbers>(b"{bad")).starts_with("invalid JSON: "));
    }
}
