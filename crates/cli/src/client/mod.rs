//! The REST client: requests over a unix or TCP socket, JSON in and out, upgraded streams.
//!
//! No ping comes first: a request goes out at once under the newest API version, and only a daemon that finds
//! it too new costs a `/_ping` and a second try. `davit ps` is one connection and one round trip that way.

mod address;
pub(crate) mod autostart;
mod query;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};

use davit_api::version::{ApiVersion, NEWEST};

pub(crate) use address::Address;
pub(crate) use query::{Query, escape, escape_path};

use crate::failure::{Failure, Outcome};
use crate::stream::Duplex;

/// A request body.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What is asked of the daemon.
pub(crate) struct Request {
    method: Method,
    path: String,
    content_type: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    payload: Payload,
}

enum Payload {
    Whole(Bytes),
    Streamed(Body),
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: Method, path: impl Into<String>, query: &Query) -> Self {
        let path = path.into() + query.as_str();
        Self {
            method,
            path,
            content_type: None,
            headers: Vec::new(),
            payload: Payload::Whole(Bytes::new()),
        }
    }

    /// Puts a JSON document into the body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Outcome<Self> {
        let text = serde_json::to_vec(body).map_err(|error| Failure::new(error.to_string()))?;
        self.payload = Payload::Whole(text.into());
        self.content_type = Some("application/json");
        Ok(self)
    }

    /// Streams the body.
    pub(crate) fn streamed(mut self, body: Body, content_type: &'static str) -> Self {
        self.payload = Payload::Streamed(body);
        self.content_type = Some(content_type);
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A connection to one daemon.
pub(crate) struct Client {
    address: Address,
    may_start_daemon: bool,
    version: Mutex<ApiVersion>,
    pinned: bool,
    idle: Arc<Mutex<Option<SendRequest<Body>>>>,
}

impl Client {
    /// A client of the daemon at `address`; nothing is connected yet. With `may_start_daemon`, a daemon is
    /// started when none answers.
    pub(crate) fn new(address: Address, may_start_daemon: bool) -> Outcome<Self> {
        let pin = std::env::var("DOCKER_API_VERSION").ok().filter(|text| !text.is_empty());
        let version = match &pin {
            Some(text) => text
                .trim_start_matches('v')
                .parse()
                .map_err(|_| Failure::new(format!("invalid API version: {text}")))?,
            None => NEWEST,
        };
        Ok(Self {
            address,
            may_start_daemon,
            version: Mutex::new(version),
            pinned: pin.is_some(),
            idle: Arc::default(),
        })
    }

    /// The API version that requests are sent under.
    pub(crate) fn version(&self) -> ApiVersion {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a GET and reads the JSON answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Outcome<T> {
        let answer = self.send(Request::new(Method::GET, path, query)).await?;
        self.read_json(answer).await
    }

    /// Sends a GET and reads the body as it is.
    pub(crate) async fn get_raw(&self, path: &str, query: &Query) -> Outcome<Bytes> {
        let answer = self.send(Request::new(Method::GET, path, query)).await?;
        read_all(answer).await
    }

    /// Sends a POST without a body and drops the answer.
    pub(crate) async fn post(&self, path: &str, query: &Query) -> Outcome<()> {
        let answer = self.send(Request::new(Method::POST, path, query)).await?;
        read_all(answer).await.map(drop)
    }

    /// Sends a POST with a JSON body and reads the JSON answer.
    pub(crate) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        body: &impl Serialize,
    ) -> Outcome<T> {
        let answer = self.send(Request::new(Method::POST, path, query).json(body)?).await?;
        self.read_json(answer).await
    }

    /// Sends a POST without a body and reads the JSON answer.
    pub(crate) async fn post_for<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
    ) -> Outcome<T> {
        let answer = self.send(Request::new(Method::POST, path, query)).await?;
        self.read_json(answer).await
    }

    /// Sends a DELETE and reads the body as it is.
    pub(crate) async fn delete(&self, path: &str, query: &Query) -> Outcome<Bytes> {
        let answer = self.send(Request::new(Method::DELETE, path, query)).await?;
        read_all(answer).await
    }

    /// Sends a request and returns the answer once its head is there, or the daemon's error.
    pub(crate) async fn send(&self, request: Request) -> Outcome<http::Response<Incoming>> {
        let answer = self.exchange(request, false).await?;
        if answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        Err(daemon_error(answer).await)
    }

    /// Sends a request that turns the connection into a raw stream.
    pub(crate) async fn hijack(&self, request: Request) -> Outcome<Duplex> {
        let answer = self.exchange(request, true).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(daemon_error(answer).await);
        }
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| Failure::new(format!("upgrade the connection: {error}")))?;
        Duplex::new(upgraded)
    }

    /// Learns the daemon's API version; needed only before a request that cannot be repeated.
    pub(crate) async fn negotiate(&self) -> Outcome<()> {
        if self.pinned {
            return Ok(());
        }
        let request = Request::new(Method::GET, "/_ping", &Query::new());
        let answer = self
            .attempt("", &request.method, &request.path, &request, Body::default(), false)
            .await?;
        let offered = answer.headers().get("api-version").and_then(|value| value.to_str().ok());
        if let Some(offered) = offered.and_then(|text| text.parse::<ApiVersion>().ok()) {
            let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
            *version = (*version).min(offered);
        }
        read_all(answer).await.map(drop)
    }

    /// One request and its answer, under an API version that the daemon takes.
    async fn exchange(&self, request: Request, upgrade: bool) -> Outcome<http::Response<Incoming>> {
        let Request { method, path, payload, .. } = &request;
        let (first, again) = match payload {
            Payload::Whole(bytes) => (whole(bytes), Some(bytes.clone())),
            Payload::Streamed(_) => {
                self.negotiate().await?;
                (Body::default(), None)
            }
        };
        let (method, path) = (method.clone(), path.clone());
        let mut request = request;
        let first = match std::mem::replace(&mut request.payload, Payload::Whole(Bytes::new())) {
            Payload::Streamed(body) => body,
            Payload::Whole(_) => first,
        };
        let prefix = format!("/v{}", self.version());
        let answer = self.attempt(&prefix, &method, &path, &request, first, upgrade).await?;
        let too_new = answer.status() == StatusCode::BAD_REQUEST && !self.pinned;
        match again {
            Some(bytes) if too_new => {
                let failure = daemon_error(answer).await;
                if !failure.text.contains("is too new") {
                    return Err(failure);
                }
                self.negotiate().await?;
                let prefix = format!("/v{}", self.version());
                self.attempt(&prefix, &method, &path, &request, whole(&bytes), upgrade).await
            }
            _ => Ok(answer),
        }
    }

    async fn attempt(
        &self,
        prefix: &str,
        method: &Method,
        path: &str,
        request: &Request,
        body: Body,
        upgrade: bool,
    ) -> Outcome<http::Response<Incoming>> {
        let mut builder = http::Request::builder()
            .method(method)
            .uri(format!("{prefix}{path}"))
            .header(header::HOST, "api.moby.localhost")
            .header(
                header::USER_AGENT,
                concat!("Docker-Client/davit-", env!("CARGO_PKG_VERSION"), " (linux)"),
            );
        if let Some(content_type) = request.content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        if upgrade {
            builder = builder.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "tcp");
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let message = builder.body(body).map_err(|error| Failure::new(error.to_string()))?;
        let mut sender = self.sender().await?;
        let answer = sender.send_request(message).await;
        if !upgrade {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }
        answer.map_err(|error| {
            Failure::new(format!("error during connect: {method} {path}: {error}"))
        })
    }

    /// The idle connection if it is still good, else a new one.
    async fn sender(&self) -> Outcome<SendRequest<Body>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        match idle {
            Some(sender) if sender.is_ready() => Ok(sender),
            _ => self.connect().await,
        }
    }

    async fn connect(&self) -> Outcome<SendRequest<Body>> {
        match &self.address {
            Address::Unix(path) => {
                let stream = match UnixStream::connect(path).await {
                    Ok(stream) => stream,
                    Err(error) if self.may_start_daemon && is_absent(&error) => {
                        autostart::start_and_connect(path).await?
                    }
                    Err(error) => return Err(self.unreachable(&error)),
                };
                handshake(TokioIo::new(stream)).await
            }
            Address::Tcp(authority) => {
                let stream = TcpStream::connect(authority)
                    .await
                    .map_err(|error| self.unreachable(&error))?;
                stream.set_nodelay(true)?;
                handshake(TokioIo::new(stream)).await
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let address = self.address.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Failure::new(format!(
                "permission denied while trying to connect to the Docker daemon socket at {address}: \
                 connect: permission denied"
            ));
        }
        Failure::new(format!(
            "Cannot connect to the Docker daemon at {address}. Is the docker daemon running?"
        ))
    }

    async fn read_json<T: DeserializeOwned>(&self, answer: http::Response<Incoming>) -> Outcome<T> {
        let bytes = read_all(answer).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(format!("the daemon's answer is not understood: {error}"))
        })
    }
}

async fn handshake<T>(io: T) -> Outcome<SendRequest<Body>>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(io)
        .await
        .map_err(|error| Failure::new(format!("error during connect: {error}")))?;
    // Its end is the end of the requests on it, which report it themselves.
    tokio::spawn(async move { connection.with_upgrades().await });
    Ok(sender)
}

/// Whether nothing listens, as opposed to something that refuses us.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn whole(bytes: &Bytes) -> Body {
    if bytes.is_empty() {
        return Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync()
}

/// Reads an answer's body to its end.
pub(crate) async fn read_all(answer: http::Response<Incoming>) -> Outcome<Bytes> {
    let body = answer.into_body().collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| Failure::new(format!("read the daemon's answer: {error}")))
}

async fn daemon_error(answer: http::Response<Incoming>) -> Failure {
    #[derive(serde::Deserialize)]
    struct ErrorBody {
        message: String,
    }
    let status = answer.status();
    let text = match read_all(answer).await {
        Ok(bytes) => match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => body.message,
            Err(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        },
        Err(failure) => failure.text,
    };
    let text =
        if text.is_empty() { status.canonical_reason().unwrap_or("").to_owned() } else { text };
    Failure {
        code: 1,
        text: format!("Error response from daemon: {text}"),
        status: Some(status.as_u16()),
    }
}
