//! The registry client: manifests, blobs and tags of one repository over the distribution API.

mod auth;
mod challenge;
mod transport;

use bytes::Bytes;
use davit_types::{Context as _, Digest, Error, Kind, Reference, Result};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::RwLock;
use tracing::debug;

use crate::image::{Descriptor, PullOptions, RegistryAuth};
use crate::manifest;
use transport::{base_url, client, is_plain, request_error};

/// Manifests, indexes and configs larger than this are refused.
const MAXIMUM_DOCUMENT: u64 = 16 << 20;
const CONTENT_DIGEST: &str = "Docker-Content-Digest";

/// One repository at its registry, with what it takes to be let in.
pub(crate) struct Registry {
    client: reqwest::Client,
    base: String,
    reference: Reference,
    auth: Option<RegistryAuth>,
    insecure: Vec<String>,
    authorization: RwLock<Option<HeaderValue>>,
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
    pub(crate) fn new(reference: &Reference, options: &PullOptions) -> Result<Self> {
        let insecure = options.insecure_registries.clone();
        let is_set = |auth: &&RegistryAuth| **auth != RegistryAuth::default();
        Ok(Self {
            client: client(is_plain(reference.registry(), &insecure))?,
            base: base_url(reference.registry(), &insecure),
            reference: reference.clone(),
            auth: options.auth.as_ref().filter(is_set).cloned(),
            insecure,
            authorization: RwLock::new(None),
        })
    }

    /// The digest that a tag points to, without fetching; `None` if the registry does not say.
    pub(crate) async fn digest_of(&self, tag: &str) -> Result<Option<Digest>> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let response = self.send(Method::HEAD, url, &[(ACCEPT, manifest::ACCEPT)]).await?;
        let response = self.check(response).await?;
        let digest = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| Digest::parse(digest).ok()))
    }

    /// A manifest or index by tag or digest. The caller compares the digest.
    pub(crate) async fn manifest(&self, name: &str) -> Result<Served> {
        let url = self.url(&format!("manifests/{name}"))?;
        let response = self.send(Method::GET, url, &[(ACCEPT, manifest::ACCEPT)]).await?;
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
        let response = self.blob(&descriptor.digest, 0).await?;
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

    /// The bytes of a blob from `offset` on.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Response> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let range = format!("bytes={offset}-");
        let headers = if offset == 0 { &[][..] } else { &[(RANGE, range.as_str())][..] };
        let response = self.send(Method::GET, url, headers).await?;
        let response = self.check(response).await.context(|| format!("fetch blob {digest}"))?;
        let is_partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let start = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let fits = start.is_some_and(|start| start.starts_with(&format!("bytes {offset}-")));
        if offset > 0 && !(is_partial && fits) {
            return Err(Error::internal(format!("registry does not resume blob {digest}")));
        }
        Ok(response)
    }

    /// All tags of the repository.
    pub(crate) async fn tags(&self) -> Result<Vec<String>> {
        let response = self.send(Method::GET, self.url("tags/list")?, &[]).await?;
        let response = self.check(response).await?;
        let body = read_limited(response).await.context(|| "read tag list")?;
        let list: TagList = serde_json::from_slice(&body).context(|| "parse tag list")?;
        Ok(list.tags.unwrap_or_default())
    }

    fn url(&self, rest: &str) -> Result<Url> {
        let text = format!("{}/v2/{}/{rest}", self.base, self.reference.repository());
        Url::parse(&text).context(|| format!("make URL {text:?}"))
    }

    /// Sends a request; a 401 is answered once with fresh authorization. Redirects are followed,
    /// and the client drops `Authorization` when one leads to another host.
    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(reqwest::header::HeaderName, &str)],
    ) -> Result<Response> {
        let mut attempts = 0;
        loop {
            let mut request = self.client.request(method.clone(), url.clone());
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            if let Some(authorization) = self.authorization.read().await.clone() {
                request = request.header(AUTHORIZATION, authorization);
            }
            let verb = if method == Method::HEAD { "Head" } else { "Get" };
            let response =
                request.send().await.map_err(|error| request_error(verb, &url, &error))?;
            debug!(%method, %url, status = %response.status(), "registry answered");
            attempts += 1;
            if response.status() != StatusCode::UNAUTHORIZED || attempts > 1 {
                return Ok(response);
            }
            let challenges = response.headers().get_all(WWW_AUTHENTICATE);
            let scope = format!("repository:{}:pull", self.reference.repository());
            let authorization = auth::authorize(
                &self.client,
                challenges.iter(),
                self.auth.as_ref(),
                &scope,
                &self.insecure,
            )
            .await?;
            *self.authorization.write().await = Some(authorization);
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
