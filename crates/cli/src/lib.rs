//! Davit's command line: flags to a REST request, the answer to the terminal.
//!
//! It behaves like Docker's CLI, so that scripts can't tell: the same commands, flags, texts and exit statuses.
//! It knows nothing of the engine but its API, and works with any daemon that speaks it.

mod catalogue;
mod client;
mod commands;
mod credentials;
mod failure;
mod flags;
mod output;
mod session;
mod signals;
mod stream;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches};

use catalogue::Named;
use failure::{Failure, Outcome};
use flags::pflag::{self, Parsed};
use session::Session;

/// The flags before the command's name.
#[derive(Args)]
struct Globals {
    /// Folder of the client's configuration files
    #[arg(long)]
    config: Option<String>,
    /// Context to use, which names a daemon
    #[arg(long, short)]
    context: Option<String>,
    /// Debug output
    #[arg(long, short = 'D')]
    debug: bool,
    /// Socket of the daemon to talk to
    #[arg(long, short = 'H')]
    host: Vec<String>,
    /// How much to log: debug, info, warn, error or fatal
    #[arg(long, short, default_value = "info")]
    log_level: String,
    /// Print the version and leave
    #[arg(long, short)]
    version: bool,
    #[arg(trailing_var_arg = true)]
    operands: Vec<String>,
}

/// Runs the command line `args` (the program's name first) and returns its exit status.
pub fn run(args: Vec<OsString>) -> ExitCode {
    if args.get(1).is_some_and(|word| word == client::autostart::LAUNCH) {
        return client::autostart::launch();
    }
    match dispatch(args.get(1..).unwrap_or_default()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !failure.text.is_empty() {
                output::complain(&failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(words: &[OsString]) -> Outcome {
    let command = pflag::with_pflag_habits(Globals::augment_args(Command::new("davit")));
    let matches = pflag::parse_globals(&command, words)?;
    let wants_help = matches.get_flag("help");
    let globals =
        Globals::from_arg_matches(&matches).map_err(|error| Failure::new(error.to_string()))?;
    if globals.version {
        return output::line(&format!("Docker version {}, build davit", env!("CARGO_PKG_VERSION")));
    }
    let mut names = globals.operands.clone();
    let is_help_command = names.first().is_some_and(|word| word == "help");
    if is_help_command {
        names.remove(0);
    }
    if names.is_empty() {
        return output::text(&flags::help::root_page(&command));
    }
    match catalogue::find(&names)? {
        Named::Group(group) => output::text(&flags::help::group_page(group)),
        Named::Command(entry, path, _) if is_help_command || wants_help => {
            output::text(&flags::help::page(entry, &path))
        }
        Named::Command(entry, path, used) => {
            let start = words.len() - (names.len() - used);
            match pflag::parse(entry, &path, &words[start..])? {
                Parsed::Help => output::text(&flags::help::page(entry, &path)),
                Parsed::Matches(matches) => {
                    execute(|session| (entry.run)(&matches, session), &globals)
                }
            }
        }
    }
}

fn execute<'m, F>(run: F, globals: &Globals) -> Outcome
where
    F: for<'a> FnOnce(&'a Session) -> catalogue::Running<'a> + 'm,
{
    if globals.host.len() > 1 {
        return Err(Failure::new("specify only one -H"));
    }
    if let Some(context) = globals.context.as_deref().filter(|name| *name != "default") {
        return Err(Failure::new(format!(
            "context {context:?}: contexts are not supported, use -H"
        )));
    }
    let session = Session::new(globals.host.first().map(String::as_str))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(&session));
    drop(session);
    // A thread may still wait for standard input: it must not keep us.
    runtime.shutdown_background();
    outcome
}
