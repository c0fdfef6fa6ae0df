//! `delete`

use davit_types::Result;

use super::{Host, failed, notify, start};

/// Flags of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kill what runs, and remove a container whose state is damaged; none is fine, too
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    const ENOENT: i32 = 2;
    if args.force {
        match davit_runtime::force_delete(&host.root, &args.id) {
            Ok(failures) => start::warn(host, failures),
            Err(failure) if failure.errno == ENOENT => {}
            Err(failure) => return Err(failed(failure)),
        }
    } else {
        start::warn(host, davit_runtime::delete(&host.root, &args.id).map_err(failed)?);
    }
    notify::remove(host, &args.id);
    Ok(())
}
