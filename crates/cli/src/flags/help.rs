//! `--help` in the layout that Docker's CLI has: usage, description, sorted options wrapped at the terminal's width.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use crate::catalogue::{Entry, GROUPS, Group, TOP};

/// The help page of one command.
pub(crate) fn page(entry: &Entry, path: &str) -> String {
    let mut text = format!("Usage:  davit {path} {}\n\n{}\n", entry.usage, entry.about);
    let aliases = other_names(entry, path);
    if aliases.len() > 1 {
        let _ = write!(text, "\nAliases:\n  {}\n", aliases.join(", "));
    }
    let command = super::pflag::command(entry);
    let options = options(&command);
    if !options.is_empty() {
        let _ = write!(text, "\nOptions:\n{options}");
    }
    text
}

/// The help page of a group such as `davit container`.
pub(crate) fn group_page(group: &Group) -> String {
    let mut text =
        format!("Usage:  davit {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    text += &listing(group.entries.iter().map(|entry| (entry.name, entry.about)));
    let _ = write!(
        text,
        "\nRun 'davit {} COMMAND --help' for more information on a command.\n",
        group.name
    );
    text
}

/// The page that plain `davit` prints.
pub(crate) fn root_page(globals: &Command) -> String {
    const COMMON: [&str; 7] = ["run", "exec", "ps", "pull", "images", "version", "info"];
    let about = |name: &str| TOP.iter().find(|entry| entry.name == name).map_or("", |e| e.about);
    let mut text = String::from(
        "Usage:  davit [OPTIONS] COMMAND\n\nA container engine for Linux\n\nCommon Commands:\n",
    );
    text += &listing(COMMON.iter().map(|name| (*name, about(name))));
    text += "\nManagement Commands:\n";
    text += &listing(GROUPS.iter().map(|group| (group.name, group.about)));
    text += "\nCommands:\n";
    let rest = TOP.iter().filter(|entry| !COMMON.contains(&entry.name));
    text += &listing(rest.map(|entry| (entry.name, entry.about)));
    text += "  daemon      Serve the Docker API (see 'davit daemon --help')\n";
    let _ = write!(text, "\nGlobal Options:\n{}", options(globals));
    text += "\nRun 'davit COMMAND --help' for more information on a command.\n";
    text
}

fn listing<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    items.fold(String::new(), |mut text, (name, about)| {
        let _ = writeln!(text, "  {name:<11} {about}");
        text
    })
}

/// Every full name under which the command can be called, management form first.
fn other_names(entry: &Entry, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for group in GROUPS {
        for candidate in group.entries.iter().filter(|candidate| candidate.is_same_as(entry)) {
            names.push(format!("davit {} {}", group.name, candidate.name));
            names.extend(
                candidate.aliases.iter().map(|alias| format!("davit {} {alias}", group.name)),
            );
        }
    }
    for candidate in TOP.iter().filter(|candidate| candidate.is_same_as(entry)) {
        names.push(format!("davit {}", candidate.name));
    }
    if names.is_empty() { vec![format!("davit {path}")] } else { names }
}

/// The options of `command`, sorted by name, descriptions wrapped beside them.
fn options(command: &Command) -> String {
    let mut args: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !arg.is_hide_set() && arg.get_id() != "help")
        .collect();
    args.sort_by_key(|arg| arg.get_long().unwrap_or_default());
    let rows: Vec<(String, String)> = args.into_iter().map(row).collect();
    let left = rows.iter().map(|(title, _)| title.len()).max().unwrap_or(0) + 3;
    let width = terminal_width().saturating_sub(left).max(24);
    let mut text = String::new();
    for (title, about) in rows {
        let lines = wrap(&about, width);
        let _ = writeln!(text, "{title:<left$}{}", lines.first().map_or("", String::as_str));
        for line in lines.iter().skip(1) {
            let _ = writeln!(text, "{:left$}{line}", "");
        }
    }
    text
}

fn row(arg: &Arg) -> (String, String) {
    let long = arg.get_long().unwrap_or_default();
    let mut title = match arg.get_short() {
        Some(short) => format!("  -{short}, --{long}"),
        None => format!("      --{long}"),
    };
    let is_switch = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    if !is_switch {
        let _ = write!(title, " {}", value_type(arg));
    }
    let mut about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if let [default] = defaults.as_slice()
        && default != "false"
        && !default.is_empty()
    {
        let quoted =
            if value_type(arg) == "string" { format!("{default:?}") } else { default.to_string() };
        let _ = write!(about, " (default {quoted})");
    }
    (title, about)
}

/// The value's type: what the flag declares in lower case, else by its action.
fn value_type(arg: &Arg) -> String {
    let declared = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    match declared {
        Some(name) if name.chars().all(|c| !c.is_ascii_uppercase()) => name,
        _ if matches!(arg.get_action(), ArgAction::Append) => "list".to_owned(),
        _ => "string".to_owned(),
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn terminal_width() -> usize {
    crate::terminal::size().map_or(80, |size| usize::from(size.columns)).max(60)
}
