//! `state`

use std::collections::BTreeMap;
use std::path::PathBuf;

use davit_runtime::state::{State, Status};
use davit_types::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::{Host, failed, print};

/// Flags of `state`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

/// A container as `state` and `list` show it, field by field as runc does.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    oci_version: String,
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
    pub(crate) bundle: PathBuf,
    rootfs: PathBuf,
    pub(crate) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(crate) owner: String,
}

impl View {
    pub(crate) fn new(state: State, owner: String) -> Self {
        let status = state.status();
        let created = Timestamp::from_nanosecond(i128::from(state.created)).unwrap_or_default();
        Self {
            oci_version: state.oci_version,
            id: state.id,
            // A container that has stopped has no process.
            pid: if status == Status::Stopped { 0 } else { state.pid },
            status: status.as_str(),
            bundle: state.bundle,
            rootfs: state.rootfs,
            created: created.to_string(),
            annotations: state.annotations,
            owner,
        }
    }

    /// A container of which no more than its name can be read.
    pub(crate) fn unknown(id: String) -> Self {
        Self {
            oci_version: super::SPEC_VERSION.to_owned(),
            id,
            pid: 0,
            status: "unknown",
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            created: Timestamp::UNIX_EPOCH.to_string(),
            annotations: BTreeMap::new(),
            owner: String::new(),
        }
    }
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let state = State::load(&host.root, &args.id).map_err(failed)?;
    let text = serde_json::to_string_pretty(&View::new(state, String::new()));
    print(&(text.expect("only strings and numbers") + "\n"))
}
