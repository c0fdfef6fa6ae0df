//! The command line.

use anyhow::{Context, Result, bail};

use crate::engine::Kind;
use crate::scenarios;

/// What is measured, and how often.
#[derive(Debug, Default)]
pub(crate) struct Options {
    scenarios: Vec<String>,
    /// The engines beside ours.
    pub(crate) against: Vec<Kind>,
    /// Overrides each scenario's own number.
    pub(crate) runs: Option<usize>,
}

impl Options {
    /// Whether the scenario is to be run.
    pub(crate) fn includes(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|name| name == scenario)
    }
}

/// Reads the arguments; `None` when help is asked for.
pub(crate) fn parse(words: &[String]) -> Result<Option<Options>> {
    let mut options = Options::default();
    let mut against = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let value = words.next().with_context(|| format!("{word} takes a value"))?;
        match word.as_str() {
            "--scenario" => options.scenarios.push(value.clone()),
            "--against" => against = Some(value.clone()),
            "--runs" => options.runs = Some(value.parse().context("--runs takes a number")?),
            _ => bail!("unknown option {word}\n{}", usage()),
        }
    }
    for name in &options.scenarios {
        if !scenarios::ALL.iter().any(|scenario| scenario.name == name) {
            bail!("unknown scenario {name}\n{}", usage());
        }
    }
    let default = Kind::installed();
    options.against = match against.as_deref() {
        None => default,
        Some("none") => Vec::new(),
        Some(list) => list.split(',').map(Kind::parse).collect::<Result<_>>()?,
    };
    Ok(Some(options))
}

/// Options and scenarios.
pub(crate) fn usage() -> String {
    let names: Vec<&str> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
    format!(
        "cargo xtask bench [--scenario NAME]... [--against docker,podman|none] [--runs N]\n\
         scenarios: {}\n\
         --against is about engines; runtime is measured against runc and crun where they are",
        names.join(" ")
    )
}
