//! What happens to every request, whatever it asks for: version gate, standard headers, errors.

use davit_api::version::{ApiVersion, NEWEST, OLDEST};
use davit_types::{Error, Result};
use http::header::{HeaderName, HeaderValue, SERVER};
use http::{Method, StatusCode};

use super::error;
use super::query;
use super::response::{Body, Response, empty, text};

/// Version of the engine as clients are told.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Below this version errors are plain text.
const JSON_ERRORS: ApiVersion = ApiVersion(1, 24);

/// A path without its version: decoded segments, and the version asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) version: ApiVersion,
    pub(crate) segments: Vec<String>,
}

/// Serves one request with `handler`, which sees only requests of a version that is spoken.
pub(crate) async fn serve<F>(
    request: http::Request<Body>,
    handler: impl FnOnce(http::Request<Body>, Target) -> F,
) -> Response
where
    F: Future<Output = Result<Response>>,
{
    let mut response = if request.method() == Method::OPTIONS {
        empty(StatusCode::OK)
    } else {
        match gate(request.uri().path()) {
            Ok(target) => match handler(request, target).await {
                Ok(response) => response,
                Err(failure) => error::respond(&failure),
            },
            Err(response) => *response,
        }
    };
    // A hijacked connection starts with nothing but what the upgrade needs.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        add_standard_headers(&mut response);
    }
    response
}

/// Splits the path, and refuses versions that are not spoken.
fn gate(path: &str) -> Result<Target, Box<Response>> {
    let decoded = query::decode(path, false);
    let path = decoded.strip_prefix('/').unwrap_or(&decoded);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let (version, path) = match version_segment(first) {
        Some(version) => (check(version)?, rest),
        None => (NEWEST, path),
    };
    Ok(Target { version, segments: path.split('/').map(str::to_owned).collect() })
}

/// `v` and digits and dots.
fn version_segment(segment: &str) -> Option<&str> {
    let version = segment.strip_prefix('v')?;
    let is_version = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    (!version.is_empty() && version.bytes().all(is_version)).then_some(version)
}

fn check(version: &str) -> Result<ApiVersion, Box<Response>> {
    let asked: ApiVersion =
        version.parse().map_err(|_| error::respond(&error::page_not_found()))?;
    let message = if asked < OLDEST {
        format!(
            "client version {version} is too old. Minimum supported API version is {OLDEST}, \
             please upgrade your client to a newer version"
        )
    } else if asked > NEWEST {
        format!("client version {version} is too new. Maximum supported API version is {NEWEST}")
    } else {
        return Ok(asked);
    };
    Err(Box::new(if asked < JSON_ERRORS {
        let plain = "text/plain; charset=utf-8";
        let mut response = text(StatusCode::BAD_REQUEST, plain, format!("{message}\n"));
        let name = HeaderName::from_static("x-content-type-options");
        response.headers_mut().insert(name, HeaderValue::from_static("nosniff"));
        response
    } else {
        error::respond(&Error::invalid(message))
    }))
}

fn add_standard_headers(response: &mut Response) {
    let server = format!("Docker/{VERSION} (linux)");
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).expect("versions are plain ASCII");
        headers.insert(name, value);
    };
    set(SERVER, &server);
    set(HeaderName::from_static("api-version"), &NEWEST.to_string());
    set(HeaderName::from_static("ostype"), "linux");
    set(HeaderName::from_static("docker-experimental"), "false");
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::super::response::json;
    use super::*;

    /// Status, content type and body of the answer; the handler echoes what it was asked for.
    async fn ask(method: Method, path: &str) -> (u16, String, String) {
        let body = Empty::new().map_err(|impossible| match impossible {}).boxed_unsync();
        let request = http::Request::builder().method(method).uri(path).body(body);
        let handler = |_, target: Target| async move {
            match target.segments[0].as_str() {
                "known" => Ok(json(&format!("{} {:?}", target.version, target.segments))),
                _ => Err(error::page_not_found()),
            }
        };
        let response = serve(request.expect("a request"), handler).await;
        assert_eq!(response.headers()["api-version"], "1.56");
        assert_eq!(response.headers()["ostype"], "linux");
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").cloned();
        let content_type = content_type.map(|value| value.to_str().expect("text").to_owned());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        (status, content_type.unwrap_or_default(), body)
    }

    #[tokio::test]
    async fn paths_come_with_and_without_a_version() {
        let (status, _, body) = ask(Method::GET, "/v1.44/known/a%2Fb?x=y").await;
        assert_eq!(
            (status, body.as_str()),
            (200, "\"1.44 [\\\"known\\\", \\\"a\\\", \\\"b\\\"]\"\n")
        );
        let (_, _, body) = ask(Method::GET, "/known").await;
        assert_eq!(body, "\"1.56 [\\\"known\\\"]\"\n");
    }

    #[tokio::test]
    async fn versions_outside_the_window_are_refused_in_dockers_words() {
        let (status, content_type, body) = ask(Method::GET, "/v1.10/known").await;
        assert_eq!((status, content_type.as_str()), (400, "text/plain; charset=utf-8"));
        assert_eq!(
            body,
            "client version 1.10 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version\n"
        );
        let (_, content_type, body) = ask(Method::GET, "/v1.30/known").await;
        assert_eq!(content_type, "application/json");
        assert!(body.starts_with("{\"message\":\"client version 1.30 is too old. "));
        let (status, _, body) = ask(Method::GET, "/v1.99/known").await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            "{\"message\":\"client version 1.99 is too new. Maximum supported API version is 1.56\"}\n"
        );
    }

    #[tokio::test]
    async fn unknown_pages_are_json_and_options_is_always_fine() {
        let (status, content_type, body) = ask(Method::GET, "/nosuch").await;
        assert_eq!((status, content_type.as_str()), (404, "application/json"));
        assert_eq!(body, "{\"message\":\"page not found\"}\n");
        assert_eq!(ask(Method::OPTIONS, "/nosuch").await, (200, String::new(), String::new()));
    }
}
