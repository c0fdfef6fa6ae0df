//! The program that checkpoints and restores: finding it, and what it is told in both directions.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use davit_types::{Context, Error, Kind, Result};
use serde_json::Value;

use super::Host;

/// Flags of `checkpoint` and `restore`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Directory of the checkpoint
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    pub(crate) image_path: PathBuf,
    /// Directory of logs and other files of criu's (default: that of the checkpoint)
    #[arg(long, value_name = "DIR")]
    pub(crate) work_path: Option<PathBuf>,
    /// Allow established TCP connections
    #[arg(long)]
    pub(crate) tcp_established: bool,
    /// Allow Unix sockets whose other end is outside
    #[arg(long)]
    pub(crate) ext_unix_sk: bool,
    /// Allow a terminal of the caller's
    #[arg(long)]
    pub(crate) shell_job: bool,
    /// Bring the memory when it is used
    #[arg(long)]
    pub(crate) lazy_pages: bool,
    /// Allow file locks
    #[arg(long)]
    pub(crate) file_locks: bool,
    /// How cgroups are saved and restored: soft, full, strict or ignore
    #[arg(long, value_name = "MODE")]
    pub(crate) manage_cgroups_mode: Option<CgroupMode>,
    /// A namespace that is made, but whose content is left out
    #[arg(long, value_name = "network")]
    pub(crate) empty_ns: Vec<EmptyNamespace>,
    /// Store pages that come twice only once
    #[arg(long)]
    pub(crate) auto_dedup: bool,
}

/// `--manage-cgroups-mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CgroupMode {
    /// Make those that are missing
    Soft,
    /// Make and set all
    Full,
    /// None may be there
    Strict,
    /// Leave them alone
    Ignore,
}

/// `--empty-ns`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EmptyNamespace {
    /// The network
    Network,
}

impl Args {
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--images-dir".into(), (&self.image_path).into()];
        if let Some(path) = &self.work_path {
            words.extend(["--work-dir".into(), path.into()]);
        }
        let flags = [
            (self.tcp_established, "--tcp-established"),
            (self.ext_unix_sk, "--ext-unix-sk"),
            (self.shell_job, "--shell-job"),
            (self.lazy_pages, "--lazy-pages"),
            (self.file_locks, "--file-locks"),
            (self.auto_dedup, "--auto-dedup"),
        ];
        words.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| OsString::from(flag)));
        let mode = match self.manage_cgroups_mode {
            None | Some(CgroupMode::Soft) => "soft",
            Some(CgroupMode::Full) => "full",
            Some(CgroupMode::Strict) => "strict",
            Some(CgroupMode::Ignore) => "ignore",
        };
        words.push(format!("--manage-cgroups={mode}").into());
        if !self.empty_ns.is_empty() {
            words.extend(["--empty-ns", "net"].map(OsString::from));
        }
        words
    }

    /// Where criu writes its log.
    fn log(&self, verb: &str) -> PathBuf {
        self.work_path.as_ref().unwrap_or(&self.image_path).join(format!("{verb}.log"))
    }
}

/// The program, which can work on this machine.
#[derive(Debug)]
pub(crate) struct Criu(PathBuf);

impl Criu {
    /// Looks it up and lets it check the kernel.
    pub(crate) fn find(host: &Host<'_>) -> Result<Self> {
        let program = PathBuf::from("criu");
        let checked = Command::new(&program).arg("check").stdin(Stdio::null()).output();
        let checked = match checked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = "checkpoint and restore need the program criu, which is not in $PATH";
                return Err(Error::new(Kind::Unavailable, text));
            }
            other => other.context(|| "run criu check")?,
        };
        if !checked.status.success() {
            let text = [checked.stdout, checked.stderr].concat();
            let why = reason(&String::from_utf8_lossy(&text));
            let text = format!("criu can't work on this machine (criu check): {why}");
            return Err(Error::new(Kind::Unavailable, text));
        }
        host.log.debug("criu check: fine");
        Ok(Self(program))
    }

    /// Runs `verb`; what went wrong is in its log.
    pub(crate) fn run(&self, verb: &str, words: &[OsString], args: &Args) -> Result<()> {
        let mut command = Command::new(&self.0);
        command.arg(verb).args(args.words()).args(words);
        command.arg("--log-file").arg(format!("{verb}.log"));
        let output = command.output().context(|| format!("run criu {verb}"))?;
        if output.status.success() {
            return Ok(());
        }
        let log = args.log(verb);
        let text = fs::read_to_string(&log).unwrap_or_default();
        let text = text + &String::from_utf8_lossy(&output.stderr);
        let (status, why) = (output.status, reason(&text));
        Err(Error::internal(format!(
            "criu {verb} failed ({status}): {why} (log: {})",
            log.display()
        )))
    }
}

/// The last line that tells of an error.
fn reason(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rfind(|line| line.contains("Error"));
    error.or_else(|| lines().next_back()).unwrap_or("it doesn't say why").to_owned()
}

/// Which way a container goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Into a checkpoint.
    Dump,
    /// Out of one.
    Restore,
}

/// What is mounted from outside: criu neither saves nor finds it by itself.
pub(crate) fn external_mounts(config: &Value, direction: Direction) -> Vec<OsString> {
    let list =
        |pointer: &str| config.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let binds = list("/mounts").filter(|mount| {
        let options = mount["options"].as_array().into_iter().flatten();
        mount["type"] == "bind" || options.into_iter().any(|o| o == "bind" || o == "rbind")
    });
    let mut words = Vec::new();
    for mount in binds {
        let (Some(inside), Some(outside)) =
            (mount["destination"].as_str(), mount["source"].as_str())
        else {
            continue;
        };
        let where_to = if direction == Direction::Dump { inside } else { outside };
        words.extend(["--external".into(), format!("mnt[{inside}]:{where_to}").into()]);
    }
    words
}

/// Where the standard streams lead, as runc writes it beside a checkpoint.
const DESCRIPTORS: &str = "descriptors.json";

/// Remembers where the streams of `pid` lead.
pub(crate) fn save_streams(images: &Path, pid: i32) -> Result<()> {
    let target = |number: i32| {
        let path = format!("/proc/{pid}/fd/{number}");
        let target = fs::read_link(&path).context(|| format!("read {path}"))?;
        Ok(target.to_string_lossy().into_owned())
    };
    let targets = (0..3).map(target).collect::<Result<Vec<_>>>()?;
    let path = images.join(DESCRIPTORS);
    fs::write(&path, serde_json::to_vec(&targets).expect("a list of strings"))
        .context(|| format!("write {}", path.display()))
}

/// Streams that were pipes become the caller's.
pub(crate) fn inherited_streams(images: &Path) -> Result<Vec<OsString>> {
    let path = images.join(DESCRIPTORS);
    let what = || format!("read {}", path.display());
    let targets: Vec<String> =
        serde_json::from_slice(&fs::read(&path).context(what)?).context(what)?;
    Ok(inherit(&targets))
}

fn inherit(targets: &[String]) -> Vec<OsString> {
    let pipe = |(number, target): (usize, &String)| {
        let inode = target.strip_prefix("pipe:[")?.strip_suffix(']')?;
        Some(["--inherit-fd".into(), format!("fd[{number}]:pipe[{inode}]").into()])
    };
    targets.iter().enumerate().filter_map(pipe).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bind_mounts_are_named_in_both_directions() {
        let config = json!({"mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/etc/hosts", "type": "bind", "source": "/c/hosts"},
            {"destination": "/data", "type": "none", "source": "/v", "options": ["rbind", "ro"]},
        ]});
        let dump = external_mounts(&config, Direction::Dump);
        assert_eq!(
            dump,
            ["--external", "mnt[/etc/hosts]:/etc/hosts", "--external", "mnt[/data]:/data"]
        );
        let restore = external_mounts(&config, Direction::Restore);
        assert_eq!(
            restore,
            ["--external", "mnt[/etc/hosts]:/c/hosts", "--external", "mnt[/data]:/v"]
        );
    }

    #[test]
    fn only_pipes_are_inherited() {
        let targets = ["/dev/null", "pipe:[42]", "/dev/pts/0"].map(str::to_owned);
        assert_eq!(inherit(&targets), ["--inherit-fd", "fd[1]:pipe[42]"]);
    }

    #[test]
    fn the_reason_is_the_last_error() {
        let log =
            "Warn  x\nError (a.c:1): first\nError (b.c:2): Unexpected rt vDSO area bounds\nbye\n";
        assert_eq!(reason(log), "Error (b.c:2): Unexpected rt vDSO area bounds");
        assert_eq!(reason("just this\n\n"), "just this");
        assert_eq!(reason(""), "it doesn't say why");
    }
}
