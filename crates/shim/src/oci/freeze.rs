//! `pause` and `resume`

use davit_types::Result;

use super::{Host, failed};

/// Flags of both.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn pause(host: &Host<'_>, args: &Args) -> Result<()> {
    davit_runtime::pause(&host.root, &args.id).map_err(failed)
}

pub(crate) fn resume(host: &Host<'_>, args: &Args) -> Result<()> {
    davit_runtime::resume(&host.root, &args.id).map_err(failed)
}
