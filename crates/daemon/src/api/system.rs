//! The engine itself: ping, version, info, disk usage, registry logins.

use std::sync::Arc;

use davit_api::image::{AuthResponse, RegistryAuth};
use davit_types::{Error, Result};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue, PRAGMA};
use http::{Method, StatusCode};

use super::request::Request;
use super::response::{Response, json, text};
use super::{App, compat, error};

/// Requests that ask about the engine.
pub(crate) async fn route(mut request: Request, path: &[&str]) -> Result<Response> {
    match (request.http.method().clone(), path) {
        (Method::GET | Method::HEAD, ["_ping"]) => Ok(ping(request.http.method())),
        (Method::GET, ["version"]) => Ok(json(&request.engine().version())),
        (Method::GET, ["info"]) => {
            let info = request.engine().info().await?;
            Ok(json(&compat::info(&info, request.version)))
        }
        (Method::GET, ["system", "df"]) => disk_usage(request).await,
        (Method::POST, ["system", "check"]) => check(request).await,
        (Method::POST, ["auth"]) => {
            let credentials: RegistryAuth = request.json().await?;
            login(Arc::clone(&request.app), credentials).await
        }
        _ => Err(error::page_not_found()),
    }
}

/// What clients negotiate with; cheap, and the same for both methods but for the body.
fn ping(method: &Method) -> Response {
    let body = if method == Method::HEAD { "" } else { "OK" };
    let mut response = text(StatusCode::OK, "text/plain; charset=utf-8", body.to_owned());
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let no_cache = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, no_cache);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // The classic builder: there is no BuildKit to talk to.
    headers.insert(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"));
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive"));
    response
}

async fn disk_usage(request: Request) -> Result<Response> {
    let kinds = ["container", "image", "volume", "build-cache"];
    if let Some(unknown) = request.query.all("type").find(|kind| !kinds.contains(kind)) {
        return Err(Error::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted: Vec<&str> = request.query.all("type").collect();
    let usage = request.engine().disk_usage().await?;
    let verbose = request.query.truth("verbose");
    Ok(json(&compat::disk_usage(&usage, &wanted, verbose, request.version)))
}

/// `POST /system/check`, Davit's own: what is wrong with all that is stored.
async fn check(request: Request) -> Result<Response> {
    let found = request.engine().check(request.query.truth("repair")).await?;
    let entries: Vec<_> = found
        .into_iter()
        .map(|finding| {
            serde_json::json!({
                "Object": finding.object, "Problem": finding.problem, "Repaired": finding.repaired,
            })
        })
        .collect();
    Ok(json(&serde_json::json!({ "Findings": entries })))
}

/// Shows the credentials to the registry, which judges them.
async fn login(app: Arc<App>, credentials: RegistryAuth) -> Result<Response> {
    if credentials.username.is_empty() && credentials.identity_token.is_empty() {
        return Err(Error::invalid("login needs a user name and a password, or a token"));
    }
    let auth = davit_engine::RegistryAuth {
        username: credentials.username,
        password: credentials.password,
        identity_token: credentials.identity_token,
        server_address: credentials.server_address,
    };
    app.engine.login(&auth).await?;
    Ok(json(&AuthResponse { status: "Login Succeeded".to_owned(), identity_token: String::new() }))
}
