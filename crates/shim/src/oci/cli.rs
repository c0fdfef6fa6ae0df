//! The command line: runc's verbs and flags, in Go's spellings as well as in everybody's.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueEnum};

use super::{
    checkpoint, create, delete, events, exec, features, freeze, kill, list, log, ps, restore, run,
    spec, start, state, update,
};

/// An OCI runtime with runc's command line.
#[derive(Debug, Parser)]
#[command(
    name = "davit-runc",
    // What engines read: name, "version" and number in the first line, the specification below.
    version = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0"),
    disable_version_flag = true,
    args_override_self = true,
    subcommand_required = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What stands in front of the verb.
#[derive(Debug, clap::Args)]
pub(crate) struct Globals {
    /// Log debug messages, too
    #[arg(long)]
    pub(crate) debug: bool,
    /// File that messages are appended to (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Form of the messages in the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: log::Format,
    /// Directory of the containers' state, on a file system that a reboot empties
    /// (default: /run/davit-runc, or davit-runc in XDG_RUNTIME_DIR for an ordinary user)
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Make cgroups through systemd; cgroupsPath is SLICE:PREFIX:NAME then
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Whether a cgroup that may not be made is done without when nothing is limited
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    pub(crate) rootless: Rootless,
    /// Show the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: (),
}

/// `--rootless`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rootless {
    /// For everybody but root
    Auto,
    /// Always
    True,
    /// Never
    False,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Save a container as files, through criu
    #[command(
        after_help = "Example: davit-runc checkpoint --image-path /var/lib/saved --tcp-established box"
    )]
    Checkpoint(Box<checkpoint::Args>),
    /// Create a container, which waits for `start`
    #[command(
        after_help = "Example: davit-runc create --bundle /srv/box --pid-file /run/box.pid box"
    )]
    Create(create::Args),
    /// Delete a container that has stopped, or with --force any
    #[command(after_help = "Example: davit-runc delete --force box")]
    Delete(delete::Args),
    /// Run a further process in a container
    #[command(
        after_help = "Example: davit-runc exec --tty --user 1000:1000 --env LANG=C box sh -c 'id; pwd'"
    )]
    Exec(Box<exec::Args>),
    /// Show what this program implements, as JSON
    #[command(after_help = "Example: davit-runc features")]
    Features(features::Args),
    /// Show what a container uses, and when it has run out of memory
    #[command(after_help = "Example: davit-runc events --stats box")]
    Events(events::Args),
    /// Send a signal to a container's first process
    #[command(after_help = "Example: davit-runc kill box TERM")]
    Kill(kill::Args),
    /// List the containers below --root
    #[command(after_help = "Example: davit-runc list --format json")]
    List(list::Args),
    /// Stop all processes of a container for a while
    #[command(after_help = "Example: davit-runc pause box")]
    Pause(freeze::Args),
    /// List the processes of a container
    #[command(after_help = "Example: davit-runc ps box -ef")]
    Ps(ps::Args),
    /// Make a container of what checkpoint saved, through criu
    #[command(
        after_help = "Example: davit-runc restore --image-path /var/lib/saved --bundle /srv/box --detach box"
    )]
    Restore(Box<restore::Args>),
    /// Let the processes of a paused container go on
    #[command(after_help = "Example: davit-runc resume box")]
    Resume(freeze::Args),
    /// Create a container, start it, and delete it when it ends
    #[command(after_help = "Example: davit-runc run --bundle /srv/box box")]
    Run(run::Args),
    /// Write a config.json to start from
    #[command(after_help = "Example: davit-runc spec --bundle /srv/box --rootless")]
    Spec(spec::Args),
    /// Let a created container execute its program
    #[command(after_help = "Example: davit-runc start box")]
    Start(start::Args),
    /// Show the state of a container, as JSON
    #[command(after_help = "Example: davit-runc state box")]
    State(state::Args),
    /// Change the limits of a container
    #[command(
        after_help = "Example: davit-runc update --memory 512M --cpu-quota 50000 --pids-limit 100 box"
    )]
    Update(Box<update::Args>),
}

/// Writes `args` as clap wants them: `-flag` becomes `--flag`, `--flag=true` becomes `--flag` and
/// `--flag=false` goes away. Nothing behind the first argument of `exec` or `ps` is touched: it belongs
/// to another program.
pub(crate) fn normalise(args: &[OsString]) -> Vec<OsString> {
    let top = Cli::command();
    let mut command = &top;
    let mut normal = Vec::with_capacity(args.len());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(text) = arg.to_str() else {
            normal.push(arg.clone());
            continue;
        };
        if text == "--" {
            normal.push(arg.clone());
            break;
        }
        let Some(name) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else {
            normal.push(arg.clone());
            match command.find_subcommand(text) {
                Some(verb) => command = verb,
                None if ["exec", "ps"].contains(&command.get_name()) => break,
                None => {}
            }
            continue;
        };
        let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
        let Some(flag) = find(command, name) else {
            normal.push(arg.clone());
            continue;
        };
        let long = flag.get_long().map_or_else(|| text.to_owned(), |long| format!("--{long}"));
        let switch = matches!(flag.get_action(), ArgAction::SetTrue);
        match (switch, value) {
            (true, Some("false" | "f" | "F" | "0" | "FALSE" | "False")) => {}
            (true, None | Some("true" | "t" | "T" | "1" | "TRUE" | "True")) => {
                normal.push(long.into());
            }
            (_, Some(value)) => normal.push(format!("{long}={value}").into()),
            (false, None) => {
                normal.push(long.into());
                // Its value is never a verb or a flag.
                normal.extend(rest.next().cloned());
            }
        }
    }
    normal.extend(rest.cloned());
    normal
}

fn find<'c>(command: &'c clap::Command, name: &str) -> Option<&'c clap::Arg> {
    let short = |arg: &&clap::Arg| {
        name.len() == 1 && arg.get_short().is_some_and(|short| name.starts_with(short))
    };
    command.get_arguments().find(|arg| arg.get_long() == Some(name) || short(arg))
}

/// Where errors of the command line itself go: what clap would make of `--log` and `--log-format`.
pub(crate) fn log_of(args: &[OsString]) -> (Option<PathBuf>, log::Format) {
    let value = |flag: &str| {
        let given = |pair: &[OsString]| {
            let text = pair[0].to_str()?;
            match text.strip_prefix(flag)? {
                "" => pair.get(1).cloned(),
                rest => rest.strip_prefix('=').map(OsString::from),
            }
        };
        let pairs = (0..args.len()).map(|at| &args[at..(at + 2).min(args.len())]);
        pairs.filter_map(given).next_back()
    };
    let json = value("--log-format").as_deref() == Some(OsStr::new("json"));
    let format = if json { log::Format::Json } else { log::Format::Text };
    (value("--log").map(PathBuf::from), format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Cli {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let normal = std::iter::once("davit-runc".into()).chain(normalise(&args));
        Cli::try_parse_from(normal).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_flag_is_explained_with_an_example_that_works() {
        for verb in Cli::command().get_subcommands() {
            let name = verb.get_name();
            assert!(verb.get_about().is_some(), "{name}");
            for argument in verb.get_arguments() {
                let explained = argument.get_help().is_some();
                assert!(explained, "{name}: {}", argument.get_id());
            }
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = help.strip_prefix("Example: davit-runc ").expect(name);
            assert!(example.starts_with(name), "{name}: {example}");
            parsed(example);
        }
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        let cli = parsed("--root /a --root /b --log /x -log /y state c");
        assert_eq!(cli.globals.root.as_deref(), Some("/b".as_ref()));
        assert_eq!(cli.globals.log.as_deref(), Some("/y".as_ref()));
    }

    #[test]
    fn gos_spellings_are_understood() {
        let cli =
            parsed("-root=/a --systemd-cgroup=true --debug=false create -bundle /b -no-pivot c");
        assert!(cli.globals.systemd_cgroup && !cli.globals.debug);
        let Verb::Create(create) = cli.verb else { panic!("not create") };
        assert_eq!(create.bundle.bundle, PathBuf::from("/b"));
        assert!(create.launch.no_pivot);
    }

    #[test]
    fn the_command_of_an_exec_is_left_alone() {
        let cli = parsed("exec -e A=1 -e B=2 -t=false c ls -all --root=x");
        let Verb::Exec(exec) = cli.verb else { panic!("not exec") };
        assert_eq!(exec.env, ["A=1", "B=2"]);
        assert_eq!((exec.tty, exec.id.as_str()), (false, "c"));
        assert_eq!(exec.command, ["ls", "-all", "--root=x"]);
    }

    #[test]
    fn the_log_is_found_on_a_command_line_that_is_wrong() {
        let args = ["--log", "/l", "--log-format=json", "nosuch"].map(OsString::from);
        let (path, format) = log_of(&args);
        assert_eq!((path, format), (Some(PathBuf::from("/l")), log::Format::Json));
    }
}
