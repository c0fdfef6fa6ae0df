//! `cargo xtask bench`: the performance budget as scenarios, ours beside Docker's and Podman's.
//!
//! Every engine runs in a sandbox of its own, its command line is started by an [`agent`] inside that
//! sandbox, and the engines take turns within one run of the program, so that what the machine does
//! meanwhile hits all alike. Figures are medians; ratios are ours over theirs.

mod agent;
mod engine;
mod measure;
mod options;
mod report;
mod scenarios;

use anyhow::Result;

#[allow(clippy::print_stdout, reason = "a command-line tool")]
fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["agent"] {
        return agent::serve();
    }
    let Some(options) = options::parse(&words)? else {
        println!("{}", options::usage());
        return Ok(());
    };
    let chosen = || scenarios::ALL.iter().filter(|scenario| options.includes(scenario.name));
    let engines = match chosen().any(|scenario| scenario.engines) {
        true => engine::start(&options.against)?,
        false => Vec::new(),
    };
    let mut rows = Vec::new();
    for scenario in chosen() {
        println!("{} ...", scenario.name);
        rows.extend((scenario.run)(&engines, options.runs.unwrap_or(scenario.runs)));
    }
    let report = report::markdown(&rows)?;
    println!("\n{report}");
    report::save(&report)
}
