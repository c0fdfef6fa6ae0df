//! Networks.

use davit_api::filters;
use davit_api::network::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use davit_types::Result;
use http::{Method, StatusCode};

use super::request::Request;
use super::response::{Response, empty, json, json_with, no_content};
use super::{compat, error};

/// Requests below `/networks`.
pub(crate) async fn route(mut request: Request, path: &[&str]) -> Result<Response> {
    match (request.http.method().clone(), path) {
        (Method::GET, [] | [""]) => {
            let filters = request.filters(filters::NETWORKS)?;
            Ok(json(&request.engine().networks(&filters)?))
        }
        (Method::GET, [name]) => {
            let mut network = request.engine().inspect_network(name)?;
            compat::network(&mut network, request.version);
            Ok(json(&network))
        }
        (Method::POST, ["create"]) => {
            let body: NetworkCreateRequest = request.json().await?;
            let made = request.engine().create_network(body).await?;
            Ok(json_with(StatusCode::CREATED, &made))
        }
        (Method::POST, ["prune"]) => {
            let filters = request.filters(filters::PRUNE)?;
            Ok(json(&request.engine().prune_networks(&filters).await?))
        }
        (Method::POST, [name, "connect"]) => {
            let body: NetworkConnectRequest = request.json().await?;
            request.engine().connect_network(name, body).await?;
            Ok(empty(StatusCode::OK))
        }
        (Method::POST, [name, "disconnect"]) => {
            let body: NetworkDisconnectRequest = request.json().await?;
            request.engine().disconnect_network(name, body).await?;
            Ok(empty(StatusCode::OK))
        }
        (Method::DELETE, [name]) => {
            request.engine().remove_network(name).await?;
            Ok(no_content())
        }
        _ => Err(error::page_not_found()),
    }
}
