//! Families of the API that this engine does not have, answered as Docker answers without them.

use davit_types::{Error, Kind, Result};
use http::Method;
use serde_json::json;

use super::error::page_not_found;
use super::request::Request;
use super::response::{self, Response};

const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker \
                        swarm join\" to connect this node to swarm and try again.";

/// Requests that no other file takes.
pub(crate) fn route(request: &Request, path: &[&str]) -> Result<Response> {
    match (request.http.method(), path) {
        (&Method::POST, ["swarm", "init" | "join"]) => {
            Err(Error::new(Kind::NotImplemented, "swarm mode is not supported"))
        }
        (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => {
            Err(Error::new(Kind::Unavailable, NO_SWARM))
        }
        (&Method::GET, ["plugins"]) => Ok(response::json(&json!([]))),
        (_, ["plugins", name, ..]) => Err(Error::not_found(format!("plugin {name:?} not found"))),
        (&Method::POST, ["session" | "grpc"]) => Err(Error::invalid("no upgrade proto in request")),
        (&Method::POST, ["build"]) => Err(Error::new(
            Kind::NotImplemented,
            "building images is not supported: pull them, or build them with another tool",
        )),
        (&Method::POST, ["build", "prune"]) => {
            Ok(response::json(&json!({"CachesDeleted": null, "SpaceReclaimed": 0})))
        }
        (&Method::GET, ["distribution", ..]) => {
            Err(Error::new(Kind::NotImplemented, "distribution inspect is not supported"))
        }
        _ => Err(page_not_found()),
    }
}
