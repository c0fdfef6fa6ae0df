//! Volumes.

use davit_api::filters;
use davit_api::volume::VolumeCreateRequest;
use davit_types::{Error, Kind, Result};
use http::{Method, StatusCode};

use super::error;
use super::request::Request;
use super::response::{Response, json, json_with, no_content};

/// Requests below `/volumes`.
pub(crate) async fn route(mut request: Request, path: &[&str]) -> Result<Response> {
    match (request.http.method().clone(), path) {
        (Method::GET, []) => {
            let filters = request.filters(filters::VOLUMES)?;
            Ok(json(&request.engine().volumes(&filters)?))
        }
        (Method::POST, ["create"]) => {
            let body: VolumeCreateRequest = request.json().await?;
            Ok(json_with(StatusCode::CREATED, &request.engine().create_volume(body).await?))
        }
        (Method::POST, ["prune"]) => {
            let mut filters = request.filters(filters::VOLUMES_PRUNE)?;
            if request.older_than(42) {
                filters.add("all", "true"); // Named volumes were pruned too.
            }
            Ok(json(&request.engine().prune_volumes(&filters).await?))
        }
        (Method::GET, [name]) => Ok(json(&request.engine().inspect_volume(name)?)),
        (Method::PUT, [_]) => Err(Error::new(
            Kind::Unavailable,
            "volume update only valid for cluster volumes, but swarm is unavailable",
        )),
        (Method::DELETE, [name]) => {
            request.engine().remove_volume(name, request.query.truth("force")).await?;
            Ok(no_content())
        }
        _ => Err(error::page_not_found()),
    }
}
