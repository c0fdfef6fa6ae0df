//! `restore`

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use davit_runtime::{Created, Failure, RestoreRequest, StartHandle};
use davit_sys::pidfd;
use davit_types::{Context, Error, Kind, Result};
use rustix::process::Pid;
use serde_json::Value;

use super::criu::{self, Criu};
use super::foreground::Foreground;
use super::{Host, bundle, failed, start};

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) criu: criu::Args,
    #[command(flatten)]
    pub(crate) bundle: bundle::Args,
    /// Don't wait for the container's end, nor delete it then
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// File for the process' pid
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Unix socket that gets the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Leave the container's orphans to whoever takes them
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    /// Profile of a security module to restore under
    #[arg(long, value_name = "TYPE:NAME")]
    pub(crate) lsm_profile: Option<String>,
    /// Context of a security module for mounts
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) lsm_mount_context: Option<String>,
    /// Name of the new container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<u8> {
    if args.console_socket.is_some() {
        let text = "restoring a terminal for a console socket is not supported by this runtime";
        return Err(Error::new(Kind::NotImplemented, text));
    }
    let (dir, spec) = args.bundle.load(host)?;
    let config = bundle::read(&dir)?;
    let criu = Criu::find(host)?;
    if !args.no_subreaper && !args.detach {
        rustix::process::set_child_subreaper(Pid::from_raw(1)).context(|| "become a subreaper")?;
    }
    let foreground = (!args.detach).then(Foreground::new).transpose()?;
    let request = RestoreRequest { id: &args.id, bundle: &dir, root: &host.root, spec };
    let state = davit_runtime::restore(request, |root| {
        restore(&criu, args, root, &config).map_err(|error| Failure {
            stage: "restore".to_owned(),
            errno: 0,
            call: String::new(),
            hint: "".into(),
            object: args.id.clone(),
            message: format!("{error:#}"),
        })
    });
    let state = state.map_err(failed)?;
    if let Some(path) = &args.pid_file {
        super::launch::write_pid(path, state.pid)?;
    }
    let Some(foreground) = foreground else { return Ok(0) };
    let pidfd = pidfd::open(state.pid).context(|| "open the restored process")?;
    // It waits for nothing.
    let start = StartHandle(pidfd.try_clone().context(|| "copy a pidfd")?);
    let status =
        foreground.attend(Created { pid: state.pid, pidfd, start, console_master: None })?;
    start::warn(host, davit_runtime::delete(&host.root, &args.id).map_err(failed)?);
    Ok(status)
}

/// The pid of the restored process.
fn restore(criu: &Criu, args: &Args, root: &Path, config: &Value) -> Result<i32> {
    let directory = args.criu.work_path.as_ref().unwrap_or(&args.criu.image_path);
    let pid_file =
        std::path::absolute(directory.join("restored.pid")).context(|| "find the checkpoint")?;
    let words = arguments(args, root, &pid_file, config)?;
    // Of an earlier restore; criu doesn't write over it.
    let _ = fs::remove_file(&pid_file);
    criu.run("restore", &words, &args.criu)?;
    let what = || format!("read {}", pid_file.display());
    let text = fs::read_to_string(&pid_file).context(what)?;
    let _ = fs::remove_file(&pid_file);
    text.trim().parse().context(what)
}

fn arguments(args: &Args, root: &Path, pid_file: &Path, config: &Value) -> Result<Vec<OsString>> {
    let mut words: Vec<OsString> = vec!["--restore-detached".into(), "--root".into(), root.into()];
    words.extend(["--pidfile".into(), pid_file.into()]);
    let labels =
        [("--lsm-profile", &args.lsm_profile), ("--lsm-mount-context", &args.lsm_mount_context)];
    for (flag, value) in labels {
        words.extend(value.iter().flat_map(|value| [flag.into(), value.into()]));
    }
    words.extend(criu::external_mounts(config, criu::Direction::Restore));
    words.extend(criu::inherited_streams(&args.criu.image_path)?);
    Ok(words)
}
