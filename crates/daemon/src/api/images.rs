//! Images: pull, list, inspect, history, tag, remove.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use davit_api::filters;
use davit_api::image::RegistryAuth;
use davit_api::progress::{ProgressDetail, ProgressMessage};
use davit_engine::{Progress, RemoveImageOptions};
use davit_types::{Error, Kind, Result};
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use tokio::sync::mpsc;

use super::request::Request;
use super::response::{self, JSON, Response, empty, json};
use super::{compat, error};

/// Requests below `/images`. Names have slashes in them, hence the rest patterns.
pub(crate) async fn route(request: Request, path: &[&str]) -> Result<Response> {
    match (request.http.method().clone(), path) {
        (Method::GET, ["json"]) => list(request).await,
        (Method::POST, ["create"]) => pull(request).await,
        (Method::POST, ["prune"]) => prune(request).await,
        (Method::GET, ["search"]) => Err(unsupported("searching registries is not supported")),
        (Method::POST, ["load"]) | (Method::GET, ["get"]) => {
            Err(unsupported("image archives are not supported"))
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
            let image = request.engine().inspect_image(name).await?;
            Ok(json(&compat::image(&image, request.version)))
        }
        (Method::GET, "history") => Ok(json(&request.engine().image_history(name).await?)),
        (Method::POST, "tag") => {
            let (repository, tag) = (request.query.get("repo"), request.query.get("tag"));
            request.engine().tag_image(name, repository, tag).await?;
            Ok(empty(StatusCode::CREATED))
        }
        (Method::POST, "push") => Err(unsupported("pushing images is not supported")),
        (Method::GET, "get") => Err(unsupported("image archives are not supported")),
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

/// Progress as it comes. As long as there is none, a failure still is a real status.
async fn pull(request: Request) -> Result<Response> {
    if request.query.non_empty("fromSrc").is_some() {
        return Err(unsupported("importing images is not supported"));
    }
    let reference = pull_reference(request.query.get("fromImage"), request.query.get("tag"));
    let platform = request.query.non_empty("platform").map(str::to_owned);
    let credentials = credentials(request.header("x-registry-auth"));
    let (sender, mut lines) = mpsc::unbounded_channel();
    let (app, last) = (request.app.clone(), sender.clone());
    let task = tokio::spawn(async move {
        let progress = {
            let sender = last.clone();
            // Fails when the client has gone; then the pull is dropped below.
            move |step: Progress| drop(sender.send(line(&message(step))))
        };
        let pull = app.engine.pull_image(&reference, platform.as_deref(), credentials, progress);
        let result = tokio::select! {
            result = pull => result,
            () = last.closed() => return Ok(()),
        };
        result.map(drop)
    });
    drop(sender);
    let Some(first) = lines.recv().await else {
        return flat(task.await).map(|()| response::stream(JSON, stream::empty()));
    };
    let rest = stream::unfold(lines, |mut lines| async { lines.recv().await.map(|l| (l, lines)) });
    let end = stream::once(async { flat(task.await).err() }).filter_map(|failure| async {
        failure.map(|error| line(&ProgressMessage::failure(format!("{error:#}"))))
    });
    let all = stream::once(async { first }).chain(rest).chain(end).map(Ok);
    Ok(response::stream(JSON, all))
}

fn flat(joined: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    joined.unwrap_or_else(|panic| Err(Error::internal("pull image").with_source(panic)))
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

fn message(step: Progress) -> ProgressMessage {
    let number = |value: Option<u64>| i64::try_from(value.unwrap_or(0)).unwrap_or(i64::MAX);
    let detail = ProgressDetail {
        current: number(step.current),
        total: number(step.total),
        start: 0,
        hide_counts: step.hide_counts,
        units: step.units.unwrap_or_default(),
    };
    ProgressMessage {
        status: step.status,
        id: step.id.unwrap_or_default(),
        progress_detail: step.detail.then_some(detail),
        ..ProgressMessage::default()
    }
}

fn line(message: &ProgressMessage) -> Bytes {
    message.to_line().into()
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
