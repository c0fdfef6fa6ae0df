//! `kill`

use davit_sys::signal_names;
use davit_types::{Error, Result};

use super::{Host, failed};

/// Flags of `kill`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// To all processes of the container, which may have stopped
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// Name (with or without SIG) or number; 0 only asks whether there is a process
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let number = number(&args.signal)
        .ok_or_else(|| Error::invalid(format!("unknown signal {:?}", args.signal)))?;
    let kill = if args.all { davit_runtime::kill_all } else { davit_runtime::kill };
    kill(&host.root, &args.id, number).map_err(failed)
}

/// 0 only asks.
fn number(text: &str) -> Option<i32> {
    if text == "0" { Some(0) } else { signal_names::number(text) }
}
