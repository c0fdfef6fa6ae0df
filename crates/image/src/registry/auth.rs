//! Signing in at a registry: from a challenge to an `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use davit_types::{Context as _, Error, Kind, Result};
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::transport::{is_plain, request_error};
use crate::image::RegistryAuth;

/// What a token server is told about who asks.
const CLIENT_ID: &str = "davit";

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// Answers the challenges of a 401 with a header for the next attempt. With `widen`, `scope` counts
/// rather than what the challenge asks for.
pub(super) async fn authorize<'header>(
    client: &reqwest::Client,
    headers: impl Iterator<Item = &'header HeaderValue>,
    auth: Option<&RegistryAuth>,
    scope: &str,
    widen: bool,
    insecure: &[String],
) -> Result<HeaderValue> {
    let challenges: Vec<Challenge> =
        headers.filter_map(|header| header.to_str().ok()).flat_map(challenge::parse).collect();
    let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
    if let Some(bearer) = find("bearer") {
        let token = fetch_token(client, bearer, auth, (scope, widen), insecure).await?;
        return secret(format!("Bearer {token}"));
    }
    if find("basic").is_some() {
        let auth = auth.filter(|auth| !auth.username.is_empty());
        let auth =
            auth.ok_or_else(|| Error::new(Kind::Unauthorized, "no basic auth credentials"))?;
        return secret(basic(auth));
    }
    Err(Error::new(Kind::Unauthorized, "registry offers no way to sign in that is known here"))
}

async fn fetch_token(
    client: &reqwest::Client,
    challenge: &Challenge,
    auth: Option<&RegistryAuth>,
    (scope, widen): (&str, bool),
    insecure: &[String],
) -> Result<String> {
    let get = |name: &str| challenge.parameters.get(name).map(String::as_str);
    let realm = get("realm").unwrap_or_default();
    let mut url = Url::parse(realm).context(|| format!("token server {realm:?}"))?;
    // A push is challenged request by request; one token for all of them is asked for at once.
    let scope = get("scope").filter(|_| !widen).unwrap_or(scope);
    let service = get("service").unwrap_or_default();
    let has_secret = auth.is_some();
    if has_secret && url.scheme() != "https" && !is_plain(url.authority(), insecure) {
        let message = format!("token server {realm} would get the credentials in clear text");
        return Err(Error::new(Kind::Unauthorized, message));
    }
    let refresh = auth.map(|auth| auth.identity_token.as_str()).filter(|token| !token.is_empty());
    let request = if let Some(refresh) = refresh {
        let mut form = Url::parse("form:").context(|| "make form")?;
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service)
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", scope)
            .append_pair("refresh_token", refresh);
        let body = form.query().unwrap_or_default().to_owned();
        let kind = "application/x-www-form-urlencoded";
        client.post(url.clone()).header("Content-Type", kind).body(body)
    } else {
        url.query_pairs_mut().append_pair("service", service);
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        let request = client.get(url.clone());
        match auth.filter(|auth| !auth.username.is_empty()) {
            Some(auth) => request.header("Authorization", secret(basic(auth))?),
            None => request,
        }
    };
    let response = request.send().await.map_err(|error| request_error("Get", &url, &error))?;
    let status = response.status();
    if !status.is_success() {
        let kind = if status.is_client_error() { Kind::Unauthorized } else { Kind::Unavailable };
        let message = format!(
            "failed to authorize: failed to fetch oauth token: unexpected status from request to \
             {}: {status}",
            url.origin().ascii_serialization() + url.path()
        );
        return Err(Error::new(kind, message));
    }
    let body = response.bytes().await.map_err(|error| request_error("Get", &url, &error))?;
    let token: Token =
        serde_json::from_slice(&body).context(|| "parse the token server's answer")?;
    let token = if token.token.is_empty() { token.access_token } else { token.token };
    if token.is_empty() {
        return Err(Error::new(Kind::Unauthorized, "token server gave no token"));
    }
    Ok(token)
}

fn basic(auth: &RegistryAuth) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", auth.username, auth.password)))
}

/// A header value that debug output does not show.
fn secret(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text).context(|| "make Authorization header")?;
    value.set_sensitive(true);
    Ok(value)
}
