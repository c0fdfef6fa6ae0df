//! Images: pull, list, inspect, history, tag, remove.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use davit_api::filters;
use davit_api::image::RegistryAuth;
use davit_engine::RemoveImageOptions;
use davit_types::{Error, Kind, Platform, Result};
use http::{Method, StatusCode};

use super::request::Request;
use super::response::{Response, empty, json};
use super::{bundles, compat, error, progress};

/// Requests below `/images`. Names have slashes in them, hence the rest patterns.
pub(crate) async fn route(request: Request, path: &[&str]) -> Result<Response> {
    match (request.http.method().clone(), path) {
        (Method::GET, ["json"]) => list(request).await,
        (Method::POST, ["create"]) => pull(request).await,
        (Method::POST, ["prune"]) => prune(request).await,
        (Method::GET, ["search"]) => Err(unsupported("searching registries is not supported")),
        (Method::POST, ["load"]) => bundles::load(request).await,
        (Method::GET, ["get"]) => {
            let names = request.query.all("names").flat_map(|names| names.split(','));
            let names = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
            bundles::save(request, names).await
        }
        (Method::DELETE, name) if !name.is_empty() => remove(request, &name.join("/")).await,
        (method, [name @ .., action]) if !name.is_empty() => {
            one(request, method, &name.join("/"), action).await
        }
        _ => Err(error::page_not_found()),
    }
}

async fn one(request: Request, method: Method, name: &str, action: &str) -> Result<Response> {
    match (method, action) {
        (Method::GET, "json") => {
            let platform = platform(&request)?;
            let image = request.engine().inspect_image(name, platform.as_ref()).await?;
            Ok(json(&compat::image(&image, request.version)))
        }
        (Method::GET, "history") => Ok(json(&request.engine().image_history(name).await?)),
        (Method::POST, "tag") => {
            let (repository, tag) = (request.query.get("repo"), request.query.get("tag"));
            request.engine().tag_image(name, repository, tag).await?;
            Ok(empty(StatusCode::CREATED))
        }
        (Method::POST, "push") => push(request, name).await,
        (Method::GET, "get") => bundles::save(request, vec![name.to_owned()]).await,
        _ => Err(error::page_not_found()),
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(Kind::NotImplemented, what)
}

async fn list(request: Request) -> Result<Response> {
    let filters = request.filters(filters::IMAGES)?;
    let images = request.engine().list_images(request.query.truth("all"), &filters).await?;
    Ok(json(&compat::images(&images, request.version)))
}

async fn remove(request: Request, name: &str) -> Result<Response> {
    if request.query.non_empty("platforms").is_some() {
        return Err(unsupported("deleting single platforms of an image is not supported"));
    }
    let options = RemoveImageOptions {
        force: request.query.truth("force"),
        no_prune: request.query.truth("noprune"),
    };
    Ok(json(&request.engine().remove_image(name, options).await?))
}

async fn prune(request: Request) -> Result<Response> {
    let filters = request.filters(filters::IMAGES_PRUNE)?;
    Ok(json(&request.engine().prune_images(&filters).await?))
}

/// `POST /images/create`
async fn pull(request: Request) -> Result<Response> {
    if request.query.non_empty("fromSrc").is_some() {
        return bundles::import(request).await;
    }
    let reference = pull_reference(request.query.get("fromImage"), request.query.get("tag"));
    let platform = request.query.non_empty("platform").map(str::to_owned);
    let credentials = credentials(request.header("x-registry-auth"));
    let app = request.app.clone();
    progress::answer(move |lines| async move {
        let report = progress::reporter(lines);
        let pull = app.engine.pull_image(&reference, platform.as_deref(), credentials, report);
        pull.await.map(drop)
    })
    .await
}

/// `POST /images/{name}/push`
async fn push(request: Request, name: &str) -> Result<Response> {
    let name = name.to_owned();
    let tag = request.query.non_empty("tag").map(str::to_owned);
    let platform = platform(&request)?;
    let credentials = credentials(request.header("x-registry-auth"));
    let app = request.app.clone();
    progress::answer(move |lines| async move {
        let report = progress::reporter(lines);
        app.engine.push_image(&name, tag.as_deref(), platform, credentials, report).await
    })
    .await
}

/// The parameter `platform`: a JSON document, as newer endpoints take it, or `os/arch/variant`.
fn platform(request: &Request) -> Result<Option<Platform>> {
    request.query.non_empty("platform").map(parse_platform).transpose()
}

/// A platform as a JSON document or as text.
pub(crate) fn parse_platform(text: &str) -> Result<Platform> {
    if !text.starts_with('{') {
        return Platform::parse(text);
    }
    let document: davit_api::image::Platform = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("failed to parse platform: {error}")))?;
    Ok(Platform::new(&document.os, &document.architecture, &document.variant))
}

/// `fromImage` and `tag`, where the tag may be a digest.
fn pull_reference(image: &str, tag: &str) -> String {
    let image = image.trim_end_matches(':');
    match tag {
        "" => image.to_owned(),
        digest if digest.contains(':') => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    }
}

/// The header `X-Registry-Auth`; as with Docker, one that can't be read counts as none.
fn credentials(header: &str) -> Option<davit_engine::RegistryAuth> {
    let tolerant =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = GeneralPurpose::new(&base64::alphabet::URL_SAFE, tolerant);
    let decoded = alphabet.decode(header.replace('+', "-").replace('/', "_")).ok()?;
    let auth: RegistryAuth = serde_json::from_slice(&decoded).ok()?;
    let given = !auth.username.is_empty() || !auth.identity_token.is_empty();
    given.then_some(davit_engine::RegistryAuth {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        server_address: auth.server_address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_pull_may_be_a_digest() {
        assert_eq!(pull_reference("nginx", "1"), "nginx:1");
        assert_eq!(pull_reference("nginx", "sha256:ab"), "nginx@sha256:ab");
        assert_eq!(pull_reference("nginx:", ""), "nginx");
    }

    #[test]
    fn credentials_are_read_with_and_without_padding() {
        // {"username":"u","password":"p"}
        let text = "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ";
        for header in [text.to_owned(), format!("{text}==")] {
            let auth = credentials(&header).expect("credentials");
            assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p"));
        }
        assert!(credentials("").is_none());
        assert!(credentials("e30=").is_none());
        assert!(credentials("!").is_none());
    }
}
