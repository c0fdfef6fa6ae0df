//! Networks: the predefined ones can be looked at; there are no others yet.

use davit_api::filters;
use davit_api::network::NetworksPruneResponse;
use davit_types::{Error, Kind, Result};
use http::Method;

use super::request::Request;
use super::response::{Response, json};
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
        (Method::POST, ["create"]) => create(&mut request).await,
        (Method::POST, ["prune"]) => {
            request.filters(filters::PRUNE)?;
            Ok(json(&NetworksPruneResponse { networks_deleted: None }))
        }
        (Method::POST, [name, "connect" | "disconnect"]) => {
            request.engine().inspect_network(name)?;
            Err(unsupported("connecting running containers to networks is not supported"))
        }
        (Method::DELETE, [name]) => remove(&request, name),
        _ => Err(error::page_not_found()),
    }
}

async fn create(request: &mut Request) -> Result<Response> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Named {
        name: String,
    }
    let Named { name } = request.json().await?;
    if request.engine().inspect_network(&name).is_ok() {
        return Err(Error::new(
            Kind::Forbidden,
            format!("operation is not permitted on predefined {name} network "),
        ));
    }
    Err(unsupported("user-defined networks are not supported"))
}

/// Every network there is, is predefined.
fn remove(request: &Request, name: &str) -> Result<Response> {
    let network = request.engine().inspect_network(name)?;
    Err(Error::new(
        Kind::Forbidden,
        format!("{} is a pre-defined network and cannot be removed", network.name),
    ))
}

fn unsupported(what: &str) -> Error {
    Error::new(Kind::NotImplemented, what)
}
