//! `checkpoint`

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use davit_runtime::state::{State, Status};
use davit_types::{Context, Error, Result};
use serde_json::Value;

use super::criu::{self, Criu};
use super::{Host, bundle, failed, start};

/// Flags of `checkpoint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) criu: criu::Args,
    /// Directory of an earlier --pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    pub(crate) parent_path: Option<PathBuf>,
    /// Let the container run on
    #[arg(long)]
    pub(crate) leave_running: bool,
    /// Leave TCP connections out that are not established yet
    #[arg(long)]
    pub(crate) tcp_skip_in_flight: bool,
    /// Link deleted files that are open to a name again
    #[arg(long)]
    pub(crate) link_remap: bool,
    /// Descriptor that is told when --lazy-pages is ready
    #[arg(long, value_name = "FD")]
    pub(crate) status_fd: Option<i32>,
    /// Send the pages to this server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) page_server: Option<String>,
    /// Only the memory, and let the container run on
    #[arg(long)]
    pub(crate) pre_dump: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let state = State::load(&host.root, &args.id).map_err(failed)?;
    if !matches!(state.status(), Status::Running | Status::Paused) {
        let status = state.status().as_str();
        return Err(Error::conflict(format!("Container cannot be checkpointed in {status} state")));
    }
    let criu = Criu::find(host)?;
    for directory in
        [Some(&args.criu.image_path), args.criu.work_path.as_ref()].into_iter().flatten()
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .context(|| format!("create {}", directory.display()))?;
    }
    let config = bundle::read(&state.bundle)?;
    let verb = if args.pre_dump { "pre-dump" } else { "dump" };
    let words = arguments(args, state.pid, &state.rootfs, &config)?;
    if !args.pre_dump {
        criu::save_streams(&args.criu.image_path, state.pid)?;
    }
    criu.run(verb, &words, &args.criu)?;
    if args.pre_dump || args.leave_running {
        return Ok(());
    }
    // What criu has ended is no container any more.
    start::warn(host, davit_runtime::force_delete(&host.root, &args.id).map_err(failed)?);
    Ok(())
}

fn arguments(args: &Args, pid: i32, root: &Path, config: &Value) -> Result<Vec<OsString>> {
    let mut words: Vec<OsString> = vec!["--tree".into(), pid.to_string().into()];
    words.extend(["--root".into(), root.into()]);
    if let Some(parent) = &args.parent_path {
        words.extend(["--prev-images-dir".into(), parent.into()]);
    }
    let flags = [
        (args.pre_dump || args.parent_path.is_some(), "--track-mem"),
        (args.leave_running && !args.pre_dump, "--leave-running"),
        (args.tcp_skip_in_flight, "--skip-in-flight"),
        (args.link_remap, "--link-remap"),
    ];
    words.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| OsString::from(flag)));
    if let Some(fd) = args.status_fd {
        words.extend(["--status-fd".into(), fd.to_string().into()]);
    }
    if let Some(server) = &args.page_server {
        let (address, port) = server.rsplit_once(':').ok_or_else(|| {
            Error::invalid(format!("--page-server {server:?}: use --page-server ADDRESS:PORT"))
        })?;
        let port: u16 = port.parse().context(|| format!("--page-server {server:?}: bad port"))?;
        words.extend(["--page-server", "--address", address, "--port"].map(OsString::from));
        words.push(port.to_string().into());
    }
    words.extend(criu::external_mounts(config, criu::Direction::Dump));
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn words(line: &str) -> Result<String> {
        let words = std::iter::once("checkpoint").chain(line.split(' '));
        let args = Line::try_parse_from(words).expect("a command line").args;
        let words = arguments(&args, 7, Path::new("/r"), &json!({}))?;
        Ok(words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn flags_become_criu_s() {
        let cases = [
            ("c", "--tree 7 --root /r"),
            ("--leave-running --link-remap c", "--tree 7 --root /r --leave-running --link-remap"),
            ("--pre-dump c", "--tree 7 --root /r --track-mem"),
            ("--parent-path ../p c", "--tree 7 --root /r --prev-images-dir ../p --track-mem"),
            (
                "--page-server [::1]:27 --status-fd 5 c",
                "--tree 7 --root /r --status-fd 5 --page-server --address [::1] --port 27",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).expect(line), expected, "{line}");
        }
        assert!(words("--page-server nowhere c").is_err());
    }
}
