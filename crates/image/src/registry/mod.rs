//! The registry client: manifests, blobs and tags of one repository over the distribution API.

mod auth;
mod challenge;
mod hosts;
mod login;
mod proxy;
mod transport;
mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use davit_types::{Context as _, Digest, Error, Kind, Reference, Result};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RANGE,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::RwLock;
use tracing::debug;

use crate::image::{Descriptor, RegistryAuth};
use crate::manifest;
pub use hosts::{RegistryHosts, RegistryRule};
pub use login::login;
pub use proxy::{Proxies, without_credentials};
use transport::{base_url, client, is_plain, request_error};
pub(crate) use upload::Begun;

/// Manifests, indexes and configs larger than this are refused.
const MAXIMUM_DOCUMENT: u64 = 16 << 20;
/// A registry that asks for more patience than this gets none.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Times a request is sent again because the registry said when.
const WAITS: u32 = 5;
const CONTENT_DIGEST: &str = "Docker-Content-Digest";

/// One repository at its registry, with what it takes to be let in.
pub(crate) struct Registry {
    client: reqwest::Client,
    base: String,
    /// Its name there; mirrors may have another one.
    repository: String,
    reference: Reference,
    auth: Option<RegistryAuth>,
    insecure: Vec<String>,
    /// What tokens are asked for, beside what the registry's challenge says.
    access: Access,
    authorization: RwLock<Option<HeaderValue>>,
    /// Asked first.
    mirrors: Vec<Registry>,
    /// A mirror that does not answer is not asked again.
    is_down: AtomicBool,
}

/// What is to be done at the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// A document as the registry served it.
pub(crate) struct Served {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

impl Registry {
    pub(crate) fn new(
        reference: &Reference,
        auth: Option<&RegistryAuth>,
        hosts: &RegistryHosts,
        access: Access,
    ) -> Result<Self> {
        let registry = reference.registry();
        let insecure = hosts.plain();
        let is_set = |auth: &&RegistryAuth| **auth != RegistryAuth::default();
        let auth = auth.filter(is_set).cloned().or_else(|| hosts.credentials(registry));
        let own = Self {
            client: client(is_plain(registry, &insecure), registry, hosts)?,
            base: base_url(registry, &insecure),
            repository: reference.repository().to_owned(),
            reference: reference.clone(),
            auth,
            insecure,
            access,
            authorization: RwLock::new(None),
            mirrors: Vec::new(),
            is_down: AtomicBool::new(false),
        };
        let mut mirrors = Vec::new();
        // What is pushed goes to the registry itself.
        for (address, repository) in hosts.mirrors(registry, reference.repository()) {
            if access == Access::Pull {
                mirrors.push(own.mirror(&address, repository, hosts)?);
            }
        }
        Ok(Self { mirrors, ..own })
    }

    /// A mirror of this repository. It never sees the registry's credentials.
    fn mirror(&self, address: &str, repository: String, hosts: &RegistryHosts) -> Result<Self> {
        let url = Url::parse(address).context(|| format!("mirror {address:?}"))?;
        let host = url.authority();
        Ok(Self {
            client: client(url.scheme() == "http", host, hosts)?,
            base: address.trim_end_matches('/').to_owned(),
            repository,
            reference: self.reference.clone(),
            auth: hosts.credentials(host),
            insecure: self.insecure.clone(),
            access: Access::Pull,
            authorization: RwLock::new(None),
            mirrors: Vec::new(),
            is_down: AtomicBool::new(false),
        })
    }

    /// Asks the mirrors, then the registry itself.
    async fn read(
        &self,
        method: Method,
        rest: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response> {
        for mirror in self.mirrors.iter().filter(|mirror| !mirror.is_down.load(Ordering::Relaxed)) {
            match mirror.send(method.clone(), mirror.url(rest)?, headers).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    debug!(mirror = mirror.base, status = %response.status(), "mirror passed over");
                }
                Err(error) => {
                    tracing::warn!(mirror = mirror.base, "mirror not used: {error:#}");
                    mirror.is_down.store(true, Ordering::Relaxed);
                }
            }
        }
        self.send(method, self.url(rest)?, headers).await
    }

    /// The digest that a tag points to, without fetching; `None` if the registry does not say.
    pub(crate) async fn digest_of(&self, tag: &str) -> Result<Option<Digest>> {
        let rest = format!("manifests/{tag}");
        let response = self.read(Method::HEAD, &rest, &[(ACCEPT, manifest::ACCEPT)]).await?;
        let response = self.check(response).await?;
        let digest = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| Digest::parse(digest).ok()))
    }

    /// A manifest or index by tag or digest. The caller compares the digest.
    pub(crate) async fn manifest(&self, name: &str) -> Result<Served> {
        let rest = format!("manifests/{name}");
        let response = self.read(Method::GET, &rest, &[(ACCEPT, manifest::ACCEPT)]).await?;
        let response = self.check(response).await?;
        let media_type = response.headers().get(CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = read_limited(response).await.context(|| format!("read manifest {name}"))?;
        let digest = Digest::from_sha256(Sha256::digest(&bytes));
        Ok(Served { bytes, media_type, digest })
    }

    /// A small blob, checked against its descriptor.
    pub(crate) async fn document(&self, descriptor: &Descriptor) -> Result<Bytes> {
        manifest::require_sha256(&descriptor.digest)?;
        let (response, _) = self.blob(descriptor, 0).await?;
        let bytes = read_limited(response).await?;
        let actual = Digest::from_sha256(Sha256::digest(&bytes));
        if actual != descriptor.digest {
            return Err(Error::internal(format!(
                "blob {} verification failed: got {actual}",
                descriptor.digest
            )));
        }
        Ok(bytes)
    }

    /// The bytes of a blob, from `offset` on if the registry can do that, and where they start.
    /// A foreign layer that the registry does not have comes from where its descriptor says.
    pub(crate) async fn blob(&self, blob: &Descriptor, offset: u64) -> Result<(Response, u64)> {
        let digest = &blob.digest;
        let rest = format!("blobs/{digest}");
        let range = format!("bytes={offset}-");
        let headers = if offset == 0 { &[][..] } else { &[(RANGE, range.as_str())][..] };
        let mut response = self.read(Method::GET, &rest, headers).await?;
        if response.status() == StatusCode::NOT_FOUND && !blob.urls.is_empty() {
            response = self.foreign(&blob.urls, headers).await?;
        }
        let response = self.check(response).await.context(|| format!("fetch blob {digest}"))?;
        let is_partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let start = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let fits = start.is_some_and(|start| start.starts_with(&format!("bytes {offset}-")));
        match (is_partial, fits) {
            (true, true) => Ok((response, offset)),
            (true, false) if offset > 0 => {
                Err(Error::internal(format!("registry resumes blob {digest} at another place")))
            }
            _ => Ok((response, 0)),
        }
    }

    /// The first of `urls` that answers, without our credentials.
    async fn foreign(&self, urls: &[String], headers: &[(HeaderName, &str)]) -> Result<Response> {
        let mut last = Error::not_found("foreign layer: no URL");
        for text in urls {
            let url = Url::parse(text).context(|| format!("foreign layer {text:?}"))?;
            let mut request = self.client.get(url.clone());
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            match request.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    last = Error::internal(format!("unexpected status from {url}: {status}"));
                }
                Err(error) => last = request_error("Get", &url, &error),
            }
        }
        Err(last)
    }

    /// All tags of the repository.
    pub(crate) async fn tags(&self) -> Result<Vec<String>> {
        let response = self.read(Method::GET, "tags/list", &[]).await?;
        let response = self.check(response).await?;
        let body = read_limited(response).await.context(|| "read tag list")?;
        let list: TagList = serde_json::from_slice(&body).context(|| "parse tag list")?;
        Ok(list.tags.unwrap_or_default())
    }

    fn url(&self, rest: &str) -> Result<Url> {
        let text = format!("{}/v2/{}/{rest}", self.base, self.repository);
        Url::parse(&text).context(|| format!("make URL {text:?}"))
    }

    /// Sends a request; a 401 is answered once with fresh authorization. Redirects are followed,
    /// and the client drops `Authorization` when one leads to another host.
    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response> {
        self.send_body(method, url, headers, &Bytes::new(), "").await
    }

    /// Like [`Registry::send`], with a body. `also` is a repository to be read beside ours.
    async fn send_body(
        &self,
        method: Method,
        url: Url,
        headers: &[(HeaderName, &str)],
        body: &Bytes,
        also: &str,
    ) -> Result<Response> {
        let (mut attempts, mut waits) = (0, 0);
        let verb = match method {
            Method::HEAD => "Head",
            Method::POST => "Post",
            Method::PUT => "Put",
            Method::PATCH => "Patch",
            _ => "Get",
        };
        loop {
            let mut request = self.client.request(method.clone(), url.clone());
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            if let Some(authorization) = self.authorization.read().await.clone() {
                request = request.header(AUTHORIZATION, authorization);
            }
            if matches!(method, Method::POST | Method::PUT | Method::PATCH) {
                request = request.body(body.clone());
            }
            let response =
                request.send().await.map_err(|error| request_error(verb, &url, &error))?;
            debug!(%method, %url, status = %response.status(), "registry answered");
            if let Some(wait) = asked_to_wait(&response).filter(|_| waits < WAITS) {
                waits += 1;
                tracing::warn!(%url, ?wait, "the registry asks for patience");
                tokio::time::sleep(wait).await;
                continue;
            }
            attempts += 1;
            if response.status() != StatusCode::UNAUTHORIZED || attempts > 1 {
                return Ok(response);
            }
            let challenges = response.headers().get_all(WWW_AUTHENTICATE);
            let scope = self.scope(also);
            let authorization = auth::authorize(
                &self.client,
                challenges.iter(),
                self.auth.as_ref(),
                &scope,
                self.access == Access::Push,
                &self.insecure,
            )
            .await?;
            *self.authorization.write().await = Some(authorization);
        }
    }

    fn scope(&self, also: &str) -> String {
        let ours = &self.repository;
        match (self.access, also) {
            (Access::Pull, _) => format!("repository:{ours}:pull"),
            (Access::Push, "") => format!("repository:{ours}:pull,push"),
            (Access::Push, also) => {
                format!("repository:{ours}:pull,push repository:{also}:pull")
            }
        }
    }

    /// Turns an error status into what Docker says.
    async fn check(&self, response: Response) -> Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = response.url().clone();
        let body = read_limited(response).await.unwrap_or_default();
        let errors = serde_json::from_slice::<ErrorBody>(&body).unwrap_or_default().errors;
        let said: Vec<String> = errors
            .iter()
            .map(|error| format!("{}: {}", error.code.to_ascii_lowercase(), error.message))
            .collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) };
        Err(match status {
            StatusCode::NOT_FOUND => Error::not_found(format!("{}: not found", self.reference)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.access == Access::Push => {
                let denied = "denied: requested access to the resource is denied";
                Error::new(
                    Kind::Forbidden,
                    format!(
                        "push access denied, repository does not exist or may require \
                         authorization: server message: {}",
                        said.strip_prefix(": ").unwrap_or(denied)
                    ),
                )
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let denied = "denied: requested access to the resource is denied";
                Error::not_found(format!(
                    "pull access denied for {}, repository does not exist or may require \
                     'docker login': {}",
                    self.reference.familiar_name(),
                    said.strip_prefix(": ").unwrap_or(denied)
                ))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let said = if said.is_empty() { ": too many requests" } else { &said };
                Error::new(Kind::Unavailable, format!("toomanyrequests{said}"))
            }
            status => Error::internal(format!("unexpected status from {url}: {status}{said}")),
        })
    }
}

/// How long a busy registry says to wait, if it says so and it is bearable.
fn asked_to_wait(response: &Response) -> Option<Duration> {
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let asked =
        response.headers().get(RETRY_AFTER).filter(|_| busy.contains(&response.status()))?;
    let text = asked.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let moment = jiff::fmt::rfc2822::DateTimeParser::new()
                .relaxed_weekday(true)
                .parse_timestamp(text)
                .ok()?;
            Duration::try_from(moment - jiff::Timestamp::now()).unwrap_or_default()
        }
    };
    (wait <= LONGEST_WAIT).then_some(wait)
}

async fn read_limited(mut response: Response) -> Result<Bytes> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.context(|| "read the registry's answer")? {
        if bytes.len() as u64 + chunk.len() as u64 > MAXIMUM_DOCUMENT {
            return Err(Error::internal("the registry's answer is too large"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}
