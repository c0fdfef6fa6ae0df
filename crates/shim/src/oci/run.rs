//! `run`

use davit_types::{Context, Result};
use rustix::process::Pid;

use super::foreground::Foreground;
use super::{Host, bundle, create, failed, launch, notify, start};

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) bundle: bundle::Args,
    #[command(flatten)]
    pub(crate) launch: launch::Args,
    /// Don't wait for the container's end, nor delete it then
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Don't delete the container when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
    /// Leave the container's orphans to whoever takes them
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    /// Name of the new container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<u8> {
    let (dir, spec) = args.bundle.load(host)?;
    if !args.no_subreaper && !args.detach {
        rustix::process::set_child_subreaper(Pid::from_raw(1)).context(|| "become a subreaper")?;
    }
    // Before there is a process that a signal could be meant for.
    let foreground = (!args.detach).then(Foreground::new).transpose()?;
    let make = || -> Result<_> {
        let created = create::create(host, &args.id, &dir, spec, &args.launch, args.detach)?;
        let started = begin(host, args, &created);
        started.inspect_err(|_| create::undo(host, &args.id))?;
        Ok(created)
    };
    let created = make().context(|| "davit-runc run failed")?;
    let Some(foreground) = foreground else { return Ok(0) };
    let status = foreground.attend(created)?;
    if !args.keep {
        start::warn(host, davit_runtime::delete(&host.root, &args.id).map_err(failed)?);
        notify::remove(host, &args.id);
    }
    Ok(status)
}

fn begin(host: &Host<'_>, args: &Args, created: &davit_runtime::Created) -> Result<()> {
    args.launch.handles.announce(created, "standard")?;
    let proxy = notify::listen(host, &args.id)?;
    start::start(host, &args.id)?;
    match proxy {
        // Whoever watches this process learns from it; one that goes away has to wait.
        Some(proxy) if args.detach => proxy.until_ready(host, &args.id),
        Some(proxy) => proxy.in_background(host, &args.id),
        None => Ok(()),
    }
}
