//! Makes clap accept and refuse what Docker's flag parser (Go's pflag) does, in the same words.
//!
//! Differences that scripts notice: a boolean takes `=true`, `=0` and so on, a value may begin with a dash,
//! a repeated flag wins over the earlier one, and the texts and exit status of errors.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::catalogue::{Arity, Entry};
use crate::failure::{CLI_ERROR, Failure};

/// The name of every command's positional arguments.
pub(crate) const OPERANDS: &str = "operands";

/// What parsing a command line gave.
pub(crate) enum Parsed {
    /// Flags and arguments to run with.
    Matches(ArgMatches),
    /// `--help` was among the flags.
    Help,
}

/// Parses the words after `path` (such as `container ls`) for `entry`.
pub(crate) fn parse(entry: &Entry, path: &str, words: &[OsString]) -> Result<Parsed, Failure> {
    let command = command(entry);
    let matches = match command.clone().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return Err(refusal(&error, &command, path, entry.usage, words)),
    };
    if matches.get_flag("help") {
        return Ok(Parsed::Help);
    }
    let count = matches.try_get_raw(OPERANDS).ok().flatten().map_or(0, |values| values.count());
    match entry.arity.complaint(count) {
        None => Ok(Parsed::Matches(matches)),
        Some(complaint) => Err(Failure::new(format!(
            "davit: 'davit {path}' {complaint}\n\nUsage:  davit {path} {}\n\n\
             {} 'davit {path} --help' for more information",
            entry.usage,
            if matches!(entry.arity, Arity::AtLeast(_)) { "See" } else { "Run" },
        ))),
    }
}

/// The clap command of an entry, with pflag's habits.
pub(crate) fn command(entry: &Entry) -> Command {
    let command = (entry.augment)(Command::new(entry.name));
    with_pflag_habits(command)
}

/// Gives every flag of `command` the behaviour it has under pflag, and adds `--help`.
pub(crate) fn with_pflag_habits(command: Command) -> Command {
    let short_h_taken = command.get_arguments().any(|arg| arg.get_short() == Some('h'));
    let help = Arg::new("help").long("help").help("Print usage").action(ArgAction::SetTrue);
    let help = if short_h_taken { help } else { help.short('h') };
    command
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(help)
        .mut_args(|arg| {
            if arg.is_positional() {
                return arg.num_args(0..);
            }
            match arg.get_action() {
                ArgAction::SetTrue => switch(arg),
                _ => arg.allow_hyphen_values(true),
            }
        })
}

/// A flag that is true when it stands alone and also takes `=value`.
fn switch(arg: Arg) -> Arg {
    let default = if arg.get_default_values().is_empty() { "false" } else { "true" };
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value(default)
        .value_parser(super::values::boolean)
}

fn refusal(
    error: &clap::Error,
    command: &Command,
    path: &str,
    usage: &str,
    words: &[OsString],
) -> Failure {
    let path = if path.is_empty() { String::new() } else { format!(" {path}") };
    let text = format!(
        "{}\n\nUsage:  davit{path} {usage}\n\nRun 'davit{path} --help' for more information",
        complaint(error, command, words),
    );
    Failure::new(text).with_code(CLI_ERROR)
}

/// Parses the global flags that stand before the command's name.
pub(crate) fn parse_globals(command: &Command, words: &[OsString]) -> Result<ArgMatches, Failure> {
    command
        .clone()
        .try_get_matches_from(words)
        .map_err(|error| refusal(&error, command, "", "[OPTIONS] COMMAND [ARG...]", words))
}

fn complaint(error: &clap::Error, command: &Command, words: &[OsString]) -> String {
    let argument = context(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => match argument.strip_prefix("--") {
            Some(_) => format!("unknown flag: {argument}"),
            None => {
                let letter = argument.trim_start_matches('-');
                format!("unknown shorthand flag: '{letter}' in -{letter}")
            }
        },
        ErrorKind::InvalidValue if context(error, ContextKind::InvalidValue).is_empty() => {
            missing_value(words)
        }
        _ => {
            let value = context(error, ContextKind::InvalidValue);
            let reason = std::error::Error::source(error).map(ToString::to_string);
            format!(
                "invalid argument {value:?} for {:?} flag: {}",
                flag_title(command, &argument),
                reason.unwrap_or_else(|| "invalid value".to_owned())
            )
        }
    }
}

/// A flag without its value can only be the last word.
fn missing_value(words: &[OsString]) -> String {
    let last = words.last().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    match last.strip_prefix("--") {
        Some(_) => format!("flag needs an argument: {last}"),
        None => {
            let letter = last.chars().last().unwrap_or('-');
            format!("flag needs an argument: '{letter}' in -{letter}")
        }
    }
}

/// `-m, --memory` for the `--memory <bytes>` that clap names.
fn flag_title(command: &Command, argument: &str) -> String {
    let name = argument.split([' ', '=', '[']).next().unwrap_or(argument);
    let long = name.trim_start_matches('-');
    let arg = command.get_arguments().find(|arg| {
        arg.get_long() == Some(long)
            || arg.get_short().is_some_and(|short| long == short.to_string())
    });
    match arg.map(|arg| (arg.get_short(), arg.get_long())) {
        Some((Some(short), Some(long))) => format!("-{short}, --{long}"),
        Some((None, Some(long))) => format!("--{long}"),
        _ => name.to_owned(),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    }
}
