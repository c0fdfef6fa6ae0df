//! `list`

use std::fmt::Write;
use std::fs;

use clap::ValueEnum;
use davit_runtime::state::State;
use davit_types::{Context, Result};

use super::state::View;
use super::{Host, print};

/// Flags of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Form of the list
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Only the names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let containers = containers(host)?;
    if args.quiet {
        return print(&containers.iter().map(|one| one.id.clone() + "\n").collect::<String>());
    }
    match args.format {
        Format::Table => print(&table(&containers)),
        // As Go writes an empty slice that was never made.
        Format::Json if containers.is_empty() => print("null"),
        Format::Json => print(&serde_json::to_string(&containers).expect("strings and numbers")),
    }
}

fn containers(host: &Host<'_>) -> Result<Vec<View>> {
    let what = || format!("read {}", host.root.display());
    let entries = match fs::read_dir(&host.root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(what)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.context(what)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // No id begins with a dot; what does is ours.
        if name.starts_with('.') || !entry.file_type().context(what)?.is_dir() {
            continue;
        }
        match State::load(&host.root, &name) {
            Ok(state) => {
                let owner = state.owner().map_or_else(|_| String::new(), user_name);
                found.push(View::new(state, owner));
            }
            // Deleted meanwhile.
            Err(_) if !entry.path().exists() => {}
            Err(failure) => {
                host.log.warn(&format!("container {name} is damaged: {}", failure.message));
                found.push(match State::load_copy(&host.root, &name) {
                    Ok(state) => {
                        let owner = state.owner().map_or_else(|_| String::new(), user_name);
                        View::new(state, owner)
                    }
                    Err(_) => View::unknown(name),
                });
            }
        }
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

fn user_name(uid: u32) -> String {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

fn table(containers: &[View]) -> String {
    const TITLES: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let mut rows = vec![TITLES.map(str::to_owned)];
    rows.extend(containers.iter().map(|one| {
        let bundle = one.bundle.to_string_lossy().into_owned();
        let (pid, status) = (one.pid.to_string(), one.status.to_owned());
        [one.id.clone(), pid, status, bundle, one.created.clone(), one.owner.clone()]
    }));
    const LEAST: usize = 9;
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(LEAST) + 3
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            write!(text, "{cell:width$}").expect("a string takes everything");
        }
        writeln!(text, "{}", row[5]).expect("a string takes everything");
    }
    text
}
