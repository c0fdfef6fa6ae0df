//! `start`

use davit_types::Result;

use super::{Host, failed, notify};

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A container that was created
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let proxy = notify::listen(host, &args.id)?;
    start(host, &args.id)?;
    match proxy {
        Some(proxy) => proxy.until_ready(host, &args.id),
        None => Ok(()),
    }
}

/// Lets the program run. Hooks that fail afterwards are only told of.
pub(crate) fn start(host: &Host<'_>, id: &str) -> Result<()> {
    warn(host, davit_runtime::start(&host.root, id).map_err(failed)?);
    Ok(())
}

pub(crate) fn warn(host: &Host<'_>, failures: Vec<davit_runtime::Failure>) {
    for failure in failures {
        host.log.warn(&failure.message);
    }
}
