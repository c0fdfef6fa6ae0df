//! The writing half of the registry client: blobs in sessions of chunks, then manifests.

use bytes::Bytes;
use davit_types::{Context as _, Digest, Error, Result};
use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::Registry;
use crate::manifest;

/// What the registry said to the wish to upload a blob.
pub(crate) enum Begun {
    /// It took the blob over from another repository.
    Mounted,
    /// The bytes are to go here.
    Session(Url),
}

impl Registry {
    /// Whether the repository has the blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let response = self.send(Method::HEAD, url, &[]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.check(response).await.map(|_| true)
    }

    /// Whether the repository has the manifest under this name.
    pub(crate) async fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        let url = self.url(&format!("manifests/{digest}"))?;
        let response = self.send(Method::HEAD, url, &[(ACCEPT, manifest::ACCEPT)]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.check(response).await.map(|_| true)
    }

    /// Opens an upload; with `from`, asks first for the blob of that repository.
    pub(crate) async fn begin_upload(&self, digest: &Digest, from: Option<&str>) -> Result<Begun> {
        let mut url = self.url("blobs/uploads/")?;
        if let Some(from) = from {
            url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        }
        let none = Bytes::new();
        let response =
            self.send_body(Method::POST, url, &[], &none, from.unwrap_or_default()).await?;
        let response = self.check(response).await?;
        if from.is_some() && response.status() == StatusCode::CREATED {
            return Ok(Begun::Mounted);
        }
        session(&response).map(Begun::Session)
    }

    /// Sends the bytes that start at `offset`; says where the next ones go.
    pub(crate) async fn upload_chunk(&self, url: Url, data: &Bytes, offset: u64) -> Result<Url> {
        let end = offset + (data.len() as u64).saturating_sub(1);
        let range = format!("{offset}-{end}");
        let headers = [(CONTENT_TYPE, "application/octet-stream"), (CONTENT_RANGE, range.as_str())];
        let response = self.send_body(Method::PATCH, url, &headers, data, "").await?;
        let response = self.check(response).await?;
        session(&response)
    }

    /// How many bytes a session has, and where the next ones go. `None` when it is gone.
    pub(crate) async fn upload_status(&self, url: Url) -> Result<Option<(Url, u64)>> {
        let response = self.send(Method::GET, url, &[]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.check(response).await?;
        let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok());
        // `0-0` means nothing or one byte; sending that byte again is refused by none.
        let last = range.and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
        let count = last.filter(|last| *last > 0).map_or(0, |last| last + 1);
        Ok(Some((session(&response)?, count)))
    }

    /// All bytes are there: makes them the blob.
    pub(crate) async fn finish_upload(&self, mut url: Url, digest: &Digest) -> Result<()> {
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let headers = [(CONTENT_TYPE, "application/octet-stream")];
        let response = self.send_body(Method::PUT, url, &headers, &Bytes::new(), "").await?;
        self.check(response).await.map(drop)
    }

    /// Stores a manifest or index under a tag or its digest.
    pub(crate) async fn put_manifest(&self, name: &str, kind: &str, bytes: Bytes) -> Result<()> {
        let url = self.url(&format!("manifests/{name}"))?;
        let response =
            self.send_body(Method::PUT, url, &[(CONTENT_TYPE, kind)], &bytes, "").await?;
        self.check(response).await.map(drop).context(|| format!("push manifest {name}"))
    }
}

fn session(response: &Response) -> Result<Url> {
    let place = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let place = place.ok_or_else(|| Error::internal("the registry gives no upload location"))?;
    response.url().join(place).context(|| format!("upload location {place:?}"))
}
