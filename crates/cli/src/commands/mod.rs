//! The commands, one folder per noun, one file per verb.

pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod inspection;
pub(crate) mod network;
pub(crate) mod system;
mod unset;
pub(crate) mod volume;

use std::future::Future;
use std::io::{BufRead as _, Write as _};

use futures_util::StreamExt as _;

use crate::failure::{Failure, Outcome};

/// How many requests of one command run at a time.
const PARALLEL: usize = 50;

/// Does something for each name, prints what it returns in the order of the names, and reports all failures.
pub(crate) async fn for_each<'n, F, Fut>(names: &'n [String], act: F) -> Outcome
where
    F: Fn(&'n str) -> Fut,
    Fut: Future<Output = Outcome<String>>,
{
    let mut outcomes = futures_util::stream::iter(names).map(|name| act(name)).buffered(PARALLEL);
    let mut failures = Vec::new();
    let mut out = std::io::stdout();
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok(text) if text.is_empty() => {}
            Ok(text) => writeln!(out, "{text}")?,
            Err(failure) => failures.push(failure.text),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}

/// Shows a warning and asks; anything but `y` is no.
pub(crate) fn confirm(warning: &str) -> Outcome<bool> {
    let mut out = std::io::stdout();
    write!(out, "{warning}\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
