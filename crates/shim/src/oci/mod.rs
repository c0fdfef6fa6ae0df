//! The program as an OCI runtime: runc's verbs, for engines that use it in runc's place.
//!
//! One verb a file: its flags, and what it calls of [`davit_runtime`]. A container outlives the
//! `create` that made it, so its process waits at a gate in the state directory
//! ([`davit_runtime::Launch::gated`]) and not for its creator.

mod bundle;
mod checkpoint;
mod cli;
mod console;
mod create;
mod criu;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod freeze;
mod kill;
mod launch;
mod list;
mod log;
mod notify;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use davit_types::{Context, Error, Result};

use cli::{Cli, Globals, Rootless, Verb};
use log::Log;

/// The specification that is implemented.
pub(crate) const SPEC_VERSION: &str = "1.3.0";
/// Compiled filters, below the root. No container's id begins with a dot.
pub(crate) const SECCOMP_CACHE: &str = ".seccomp";

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    /// Directory of the containers' states.
    pub(crate) root: PathBuf,
    pub(crate) log: &'a Log,
    pub(crate) systemd_cgroup: bool,
    pub(crate) rootless: bool,
}

/// Runs the verb of `args`.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let sealed = seal(args);
    davit_sys::heap::begin();
    let args = cli::normalise(args);
    let cli = match Cli::try_parse_from(std::iter::once("davit-runc".into()).chain(args.clone())) {
        Ok(cli) => cli,
        Err(error) => return usage(&args, &error),
    };
    let Cli { globals, verb } = cli;
    // Before anything is opened, which would take the numbers of descriptors that are missing.
    let preserved = launch::check_preserved(&verb);
    let log = match Log::open(globals.log.as_deref(), globals.log_format, globals.debug) {
        Ok(log) => log,
        Err(error) => return finish(&Log::stderr(globals.log_format), Err(error)),
    };
    let host = sealed.and(preserved).and_then(|()| Host::new(&globals, &log));
    finish(&log, host.and_then(|host| host.run(verb)))
}

/// Before processes of this program enter a container: nobody there may write it. The verb is only
/// guessed, since the arguments are understood once and not twice.
fn seal(args: &[OsString]) -> Result<()> {
    if ["create", "run", "exec"].iter().any(|verb| args.iter().any(|arg| arg == verb)) {
        davit_sys::sealed::ensure().context(|| "protect the runtime's own program")?;
    }
    Ok(())
}

impl<'a> Host<'a> {
    fn new(globals: &Globals, log: &'a Log) -> Result<Self> {
        let user = !rustix::process::geteuid().is_root();
        let root = globals.root.clone().unwrap_or_else(|| default_root(user));
        Ok(Self {
            root: std::path::absolute(&root).context(|| format!("find {}", root.display()))?,
            log,
            systemd_cgroup: globals.systemd_cgroup,
            rootless: match globals.rootless {
                Rootless::Auto => user,
                Rootless::True => true,
                Rootless::False => false,
            },
        })
    }

    /// The exit status.
    fn run(&self, verb: Verb) -> Result<u8> {
        self.log.debug(&format!("{verb:?}"));
        match verb {
            Verb::Checkpoint(args) => checkpoint::run(self, &args).map(|()| 0),
            Verb::Create(args) => create::run(self, &args).map(|()| 0),
            Verb::Delete(args) => delete::run(self, &args).map(|()| 0),
            Verb::Events(args) => events::run(self, &args).map(|()| 0),
            Verb::Exec(args) => exec::run(self, &args),
            Verb::Features(args) => features::run(&args).map(|()| 0),
            Verb::Kill(args) => kill::run(self, &args).map(|()| 0),
            Verb::List(args) => list::run(self, &args).map(|()| 0),
            Verb::Pause(args) => freeze::pause(self, &args).map(|()| 0),
            Verb::Ps(args) => ps::run(self, &args).map(|()| 0),
            Verb::Restore(args) => restore::run(self, &args),
            Verb::Resume(args) => freeze::resume(self, &args).map(|()| 0),
            Verb::Run(args) => run::run(self, &args),
            Verb::Spec(args) => spec::run(&args).map(|()| 0),
            Verb::Start(args) => start::run(self, &args).map(|()| 0),
            Verb::State(args) => state::run(self, &args).map(|()| 0),
            Verb::Update(args) => update::run(self, &args).map(|()| 0),
        }
    }
}

/// A failure of the runtime as an error: its message says all, with the hint behind it.
pub(crate) fn failed(failure: davit_runtime::Failure) -> Error {
    Error::internal(failure.to_string())
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written =
            rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), rest));
        rest = &rest[written.context(|| "write to standard output")?..];
    }
    Ok(())
}

fn finish(log: &Log, result: Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(&format!("{error:#}"));
            // What callers of an exec tell from the program's own end.
            let exec = error.message() == exec::FAILED;
            if exec { ExitCode::from(exec::FAILED_STATUS) } else { ExitCode::FAILURE }
        }
    }
}

/// A command line that is wrong is a failure like others, which the caller reads in the log. Help goes
/// to standard output, also when nothing is asked for.
fn usage(args: &[OsString], error: &clap::Error) -> ExitCode {
    let (path, format) = cli::log_of(args);
    let log = Log::open(path.as_deref(), format, false).unwrap_or_else(|_| Log::stderr(format));
    let asked = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Some(error.to_string()),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Some(Cli::command().render_help().to_string())
        }
        _ => None,
    };
    if let Some(text) = asked {
        return finish(&log, print(&text).map(|()| 0));
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    finish(&log, Err(Error::invalid(lines.join(" "))))
}

fn default_root(user: bool) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| user && !dir.is_empty());
    runtime.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("davit-runc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_engines_parse() {
        let text = Cli::command().render_version();
        let expected =
            format!("davit-runc version {}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(text, expected);
    }
}
