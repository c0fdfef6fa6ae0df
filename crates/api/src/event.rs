//! Events: what happened to which object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct EventMessage {
    /// `container`, `image`, `network`, `volume`, `daemon`...
    #[serde(rename = "Type", deserialize_with = "null")]
    pub kind: String,
    /// What happened.
    #[serde(deserialize_with = "null")]
    pub action: String,
    /// To what.
    #[serde(deserialize_with = "null")]
    pub actor: EventActor,
    /// `local`.
    #[serde(rename = "scope", deserialize_with = "null")]
    pub scope: String,
    /// Unix time.
    #[serde(rename = "time", deserialize_with = "null")]
    pub time: i64,
    /// Unix time in nanoseconds.
    #[serde(rename = "timeNano", deserialize_with = "null")]
    pub time_nano: i64,
}

/// The object of an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct EventActor {
    /// Its id.
    #[serde(rename = "ID", deserialize_with = "null")]
    pub id: String,
    /// Its name, labels and the details of the event.
    #[serde(deserialize_with = "null")]
    pub attributes: BTreeMap<String, String>,
}
