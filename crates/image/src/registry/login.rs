//! `docker login`: does a registry take these credentials?

use davit_types::{Context as _, Error, Kind, Result};
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};

use super::auth;
use super::hosts::RegistryHosts;
use super::transport::{base_url, client, is_plain, request_error};
use crate::image::RegistryAuth;

/// Names of Docker Hub that are not its registry's.
const HUB: [&str; 4] = ["", "docker.io", "index.docker.io", "registry-1.docker.io"];

/// Shows the credentials to the registry they are for.
///
/// # Errors
/// [`Kind::Unauthorized`] when it does not take them; no answer.
pub async fn login(auth: &RegistryAuth, hosts: &RegistryHosts) -> Result<()> {
    let insecure = hosts.plain();
    let address = auth.server_address.trim();
    let host = address.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    let host = if HUB.contains(&host) { "docker.io" } else { host };
    let client = client(is_plain(host, &insecure), host, hosts)?;
    let text = format!("{}/v2/", base_url(host, &insecure));
    let url = Url::parse(&text).context(|| format!("registry address {address:?}"))?;
    let send = |authorization| {
        let mut request = client.get(url.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let url = &url;
        async move { request.send().await.map_err(|error| request_error("Get", url, &error)) }
    };
    let mut response = send(None).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let answer = auth::authorize(&client, challenges.iter(), Some(auth), "", true, &insecure);
        let answer = answer.await.context(|| format!("Get \"{url}\""))?;
        response = send(Some(answer)).await?;
    }
    match response.status() {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::new(
            Kind::Unauthorized,
            format!("Get \"{url}\": unauthorized: authentication required"),
        )),
        status => {
            let said = format!("login attempt to {url} failed with status: {status}");
            Err(Error::internal(said))
        }
    }
}
