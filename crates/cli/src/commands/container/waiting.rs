//! Waiting for a container's exit status.

use davit_api::container::WaitResponse;
use http::Method;
use hyper::body::Incoming;

use crate::client::{Query, Request, read_all};
use crate::failure::{CLI_ERROR, Failure, Outcome};
use crate::session::Session;

/// An open wait request: the daemon has taken note of us, so no exit from now on is missed.
pub(super) struct Waiting(http::Response<Incoming>);

impl Waiting {
    /// Opens the request; `condition` is the daemon's word for what to wait for.
    pub(super) async fn open(session: &Session, container: &str, condition: &str) -> Outcome<Self> {
        let query =
            Query::new().with_some("condition", Some(condition).filter(|text| !text.is_empty()));
        let request = Request::new(Method::POST, super::path(container, "/wait"), &query);
        session.client.send(request).await.map(Self)
    }

    /// The exit status, once there is one.
    pub(super) async fn status(self) -> Outcome<i64> {
        let bytes = read_all(self.0).await?;
        let response: WaitResponse = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(format!("error waiting for container: {error}")))?;
        match response.error {
            Some(error) if !error.message.is_empty() => {
                Err(Failure::new(format!("error waiting for container: {}", error.message))
                    .with_code(CLI_ERROR))
            }
            _ => Ok(response.status_code),
        }
    }

    /// The exit status as ours.
    pub(super) async fn exit_code(self) -> Outcome {
        self.status().await.map(|status| (status & 0xff) as u8)
    }
}
