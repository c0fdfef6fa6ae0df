//! Errors as clients see them: the kind becomes the status, the chain becomes the message.

use davit_api::ErrorResponse;
use davit_types::{Error, Kind};
use http::StatusCode;

use super::response::{Response, empty, json_with};

/// The status of a kind of error. The only place where it is decided.
pub(crate) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::InvalidParameter => StatusCode::BAD_REQUEST,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a request that failed.
pub(crate) fn respond(error: &Error) -> Response {
    match status(error.kind()) {
        StatusCode::NOT_MODIFIED => empty(StatusCode::NOT_MODIFIED),
        status => json_with(status, &ErrorResponse { message: format!("{error:#}") }),
    }
}

/// There is no such path, or not with this method: Docker does not tell them apart.
pub(crate) fn page_not_found() -> Error {
    Error::not_found("page not found")
}
