//! The body of every error answer.

use serde::{Deserialize, Serialize};

/// `{"message": ...}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// What went wrong, in the words clients match on.
    pub message: String,
}
