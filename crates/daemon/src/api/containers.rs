//! Containers: life cycle, list, inspect. Streams and files have their own modules.

use davit_api::container::{CreateRequest, UpdateRequest};
use davit_api::filters;
use davit_engine::{ListOptions, RemoveOptions, WaitCondition};
use davit_types::{Error, Result};
use futures_util::FutureExt as _;
use http::{Method, StatusCode};

use super::request::Request;
use super::response::{self, JSON, Response, empty, json, json_with, no_content};
use super::{archive, attach, compat, error, exec, streams};

/// Requests below `/containers`. A name may have a slash in front, hence the rest patterns.
pub(crate) async fn route(request: Request, path: &[&str]) -> Result<Response> {
    match (request.http.method().clone(), path) {
        (Method::GET, ["json"]) => list(request).await,
        (Method::POST, ["create"]) => create(request).await,
        (Method::POST, ["prune"]) => prune(request).await,
        (Method::DELETE, name) if !name.is_empty() => remove(request, &name.join("/")).await,
        (method, [name @ .., action]) if !name.is_empty() => {
            one(request, method, &name.join("/"), action).await
        }
        _ => Err(error::page_not_found()),
    }
}

async fn one(request: Request, method: Method, name: &str, action: &str) -> Result<Response> {
    match (method, action) {
        (Method::GET, "json") => inspect(request, name).await,
        (Method::GET, "top") => top(request, name).await,
        (Method::GET, "logs") => streams::logs(request, name).await,
        (Method::GET, "stats") => streams::stats(request, name).await,
        (Method::GET, "export") => archive::export(request, name).await,
        (Method::GET, "changes") => Ok(json(&request.engine().changes(name).await?)),
        (Method::GET | Method::POST, "checkpoints") => checkpoints(request, name).await,
        (Method::HEAD, "archive") => archive::stat(request, name).await,
        (Method::GET, "archive") => archive::get(request, name).await,
        (Method::PUT, "archive") => archive::put(request, name).await,
        (Method::POST, "start") => start(request, name).await,
        (Method::POST, "stop" | "restart") => stop_or_restart(request, name, action).await,
        (Method::POST, "kill") => kill(request, name).await,
        (Method::POST, "pause") => request.engine().pause(name).await.map(|()| no_content()),
        (Method::POST, "unpause") => request.engine().unpause(name).await.map(|()| no_content()),
        (Method::POST, "rename") => rename(request, name).await,
        (Method::POST, "resize") => resize(request, name).await,
        (Method::POST, "update") => update(request, name).await,
        (Method::POST, "wait") => wait(request, name).await,
        (Method::POST, "attach") => attach::attach(request, name).await,
        (Method::POST, "exec") => exec::create(request, name).await,
        _ => Err(error::page_not_found()),
    }
}

async fn list(request: Request) -> Result<Response> {
    let options = ListOptions {
        all: request.query.truth("all"),
        limit: request.query.number("limit")?.and_then(|limit| limit.try_into().ok()).unwrap_or(0),
        size: request.query.truth("size"),
        filters: request.filters(filters::CONTAINERS)?,
    };
    let mut containers = request.engine().list(options).await?;
    compat::summaries(&mut containers, request.version);
    Ok(json(&containers))
}

async fn create(mut request: Request) -> Result<Response> {
    let body: Option<CreateRequest> = request.optional_json().await?;
    let mut body = body
        .ok_or_else(|| Error::invalid("config cannot be empty in order to create a container"))?;
    if request.older_than(44) {
        read_only_without_submounts(&mut body);
    }
    let (name, platform) = (request.query.non_empty("name"), request.query.non_empty("platform"));
    let created = request.engine().create_container(name, platform, body).await?;
    Ok(json_with(StatusCode::CREATED, &created))
}

/// Before API 1.44 a read-only mount left what is mounted below it as it was.
fn read_only_without_submounts(body: &mut CreateRequest) {
    let mounts = body.host_config.mounts.iter_mut();
    for mount in mounts.filter(|mount| mount.kind == "bind" && mount.read_only) {
        mount.bind_options.get_or_insert_default().read_only_non_recursive = true;
    }
}

async fn inspect(request: Request, name: &str) -> Result<Response> {
    let container = request.engine().inspect(name, request.query.truth("size")).await?;
    Ok(json(&compat::inspect(&container, request.version)))
}

async fn start(mut request: Request, name: &str) -> Result<Response> {
    // Before API 1.24 a start had a body; clients still send `{}` or `null`.
    if request.body().await?.len() > 7 {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and \
             removed in v1.24",
        ));
    }
    request.app.attaches_settled().await;
    request.engine().start(name).await?;
    Ok(no_content())
}

async fn stop_or_restart(request: Request, name: &str, action: &str) -> Result<Response> {
    let timeout = request.query.number("t")?;
    // The signal of a stop is newer than the oldest API; there it was ignored.
    let signal = request.query.non_empty("signal").filter(|_| !request.older_than(42));
    if action == "stop" {
        request.engine().stop(name, timeout, signal).await?;
    } else {
        request.engine().restart(name, timeout, signal).await?;
    }
    Ok(no_content())
}

async fn kill(request: Request, name: &str) -> Result<Response> {
    request.engine().kill(name, request.query.non_empty("signal")).await?;
    Ok(no_content())
}

async fn rename(request: Request, name: &str) -> Result<Response> {
    request.engine().rename(name, request.query.get("name")).await?;
    Ok(no_content())
}

async fn resize(request: Request, name: &str) -> Result<Response> {
    let (height, width) = terminal_size(&request)?;
    request.engine().resize(name, height, width).await?;
    Ok(empty(StatusCode::OK))
}

/// The parameters `h` and `w`, both required.
pub(crate) fn terminal_size(request: &Request) -> Result<(u16, u16)> {
    let side = |key, what| {
        let text = request.query.get(key);
        let number: Result<u32, _> = text.parse();
        let number = number.map_err(|_| {
            Error::invalid(format!("invalid resize {what} {text:?}: invalid syntax"))
        })?;
        // A terminal's size is 16 bits; the API has 32.
        Ok(u16::try_from(number).unwrap_or(u16::MAX))
    };
    Ok((side("h", "height")?, side("w", "width")?))
}

async fn update(mut request: Request, name: &str) -> Result<Response> {
    let body: UpdateRequest = request.json().await?;
    Ok(json(&request.engine().update(name, body).await?))
}

/// The head goes out as soon as the wait is in place: clients wait for it before they start.
async fn wait(request: Request, name: &str) -> Result<Response> {
    let condition = WaitCondition::parse(request.query.get("condition"))?;
    let ended = request.engine().wait(name, condition)?;
    let line = ended.map(|answer| {
        let mut line = serde_json::to_vec(&answer).expect("a struct of plain values is JSON");
        line.push(b'\n');
        Ok(line.into())
    });
    Ok(response::stream(JSON, line.into_stream()))
}

async fn remove(request: Request, name: &str) -> Result<Response> {
    let options = RemoveOptions {
        force: request.query.truth("force"),
        volumes: request.query.truth("v"),
        link: request.query.truth("link"),
    };
    request.engine().remove(name, options).await?;
    Ok(no_content())
}

async fn prune(request: Request) -> Result<Response> {
    let filters = request.filters(filters::PRUNE)?;
    Ok(json(&request.engine().prune_containers(&filters).await?))
}

async fn top(request: Request, name: &str) -> Result<Response> {
    let arguments = request.query.non_empty("ps_args").unwrap_or("-ef");
    Ok(json(&request.engine().top(name, arguments).await?))
}

/// There never is one, but a container that doesn't exist is told apart, as Docker does.
async fn checkpoints(request: Request, name: &str) -> Result<Response> {
    request.engine().inspect(name, false).await?;
    Err(Error::new(davit_types::Kind::NotImplemented, "checkpoints are not supported"))
}
