//! Images as archives, and images made here: save, load, import, commit.

use davit_api::container::Config;
use davit_api::progress::ProgressMessage;
use davit_engine::{CommitContainerOptions, ImportOptions};
use davit_types::{Error, Kind, Platform, Reference, Result};
use http::StatusCode;
use serde_json::json;

use super::archive::upload;
use super::progress;
use super::request::Request;
use super::response::{self, Response, json_with};

/// `GET /images/get` and `GET /images/{name}/get`
pub(crate) async fn save(request: Request, names: Vec<String>) -> Result<Response> {
    if names.is_empty() {
        return Err(Error::invalid("no image names were given"));
    }
    let chunks = request.engine().save_images(names, platforms(&request)?).await?;
    Ok(response::stream("application/x-tar", response::receive(chunks)))
}

/// `POST /images/load`
pub(crate) async fn load(request: Request) -> Result<Response> {
    let platforms = platforms(&request)?;
    let app = request.app.clone();
    let body = upload(request.into_parts().1);
    progress::answer(move |lines| async move {
        for image in app.engine.load_images(body, platforms).await? {
            let told = match image.name {
                Some(name) => format!("Loaded image: {name}\n"),
                None => format!("Loaded image ID: {}\n", image.id),
            };
            lines.send(&ProgressMessage { stream: told, ..ProgressMessage::default() });
        }
        Ok(())
    })
    .await
}

/// `POST /images/create?fromSrc=-`
pub(crate) async fn import(request: Request) -> Result<Response> {
    let query = &request.query;
    if query.get("fromSrc") != "-" {
        let message = "importing from a URL is not supported: send the archive itself";
        return Err(Error::new(Kind::NotImplemented, message));
    }
    let options = ImportOptions {
        message: query.get("message").to_owned(),
        changes: query.all("changes").map(str::to_owned).collect(),
        platform: query.non_empty("platform").map(Platform::parse).transpose()?,
        name: name(query.get("repo"), query.get("tag"))?,
    };
    let app = request.app.clone();
    let body = upload(request.into_parts().1);
    progress::answer(move |lines| async move {
        let id = app.engine.import_image(body, options).await?;
        lines.send(&ProgressMessage { status: id.to_string(), ..ProgressMessage::default() });
        Ok(())
    })
    .await
}

/// `POST /commit`
pub(crate) async fn commit(mut request: Request) -> Result<Response> {
    let config: Option<Config> = request.optional_json().await?;
    let query = &request.query;
    let container = query.get("container").to_owned();
    let options = CommitContainerOptions {
        author: query.get("author").to_owned(),
        comment: query.get("comment").to_owned(),
        changes: query.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
        config,
        pause: query.truth_or("pause", true),
        name: name(query.get("repo"), query.get("tag"))?,
    };
    let id = request.engine().commit(&container, options).await?;
    Ok(json_with(StatusCode::CREATED, &json!({ "Id": id })))
}

fn name(repository: &str, tag: &str) -> Result<Option<Reference>> {
    if repository.is_empty() {
        return Ok(None);
    }
    let text = if tag.is_empty() { repository.to_owned() } else { format!("{repository}:{tag}") };
    let name = Reference::parse_familiar(&text)?;
    if name.digest().is_some() {
        return Err(Error::invalid("cannot use a digest as the name of an image"));
    }
    Ok(Some(name))
}

fn platforms(request: &Request) -> Result<Vec<Platform>> {
    request.query.all("platform").map(super::images::parse_platform).collect()
}
