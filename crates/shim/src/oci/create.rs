//! `create`

use davit_runtime::{CreateRequest, Created, NotCreated, Stdio};
use davit_types::oci::runtime::Spec;
use davit_types::{Context, Result};

use super::{Host, bundle, failed, launch, notify, start};

/// Flags of `create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) bundle: bundle::Args,
    #[command(flatten)]
    pub(crate) launch: launch::Args,
    /// Name of the new container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let (dir, spec) = args.bundle.load(host)?;
    let make = || {
        let created = create(host, &args.id, &dir, spec, &args.launch, true)?;
        let announced = args.launch.handles.announce(&created, "standard");
        announced.inspect_err(|_| undo(host, &args.id))
    };
    make().context(|| "davit-runc create failed")
}

/// The terminal, if there is one, goes to the console socket when `detached`.
pub(crate) fn create(
    host: &Host<'_>,
    id: &str,
    dir: &std::path::Path,
    mut spec: Spec,
    args: &launch::Args,
    detached: bool,
) -> Result<Created> {
    let process = spec.process().as_ref();
    let terminal = process.and_then(|process| process.terminal()).unwrap_or(false);
    args.handles.check_terminal(terminal, detached)?;
    if let Some(process) = spec.process_mut().as_mut().filter(|_| !detached) {
        bundle::size_terminal(process);
    }
    notify::prepare(host, id, &mut spec)?;
    let created = davit_runtime::create(&CreateRequest {
        id,
        bundle: dir,
        root: &host.root,
        spec,
        stdio: if terminal { Stdio::Terminal } else { Stdio::Inherit },
        seccomp_cache: Some(&host.root.join(super::SECCOMP_CACHE)),
        launch: args.launch(host),
    });
    created.map_err(|NotCreated { failure, warnings }| {
        // The directory belongs to the container that has the id already.
        if failure.errno != EEXIST {
            notify::remove(host, id);
        }
        start::warn(host, warnings);
        failed(*failure)
    })
}

const EEXIST: i32 = 17;

/// Takes a container back that nobody could be told of.
pub(crate) fn undo(host: &Host<'_>, id: &str) {
    // The failure that led here is what the caller has to hear, and what hooks got wrong.
    start::warn(host, davit_runtime::force_delete(&host.root, id).unwrap_or_default());
    notify::remove(host, id);
}
