//! The rows of the performance budget.

mod images;
mod logs;
mod memory;
mod ports;
mod runtime;
mod start;

use crate::engine::Engine;
use crate::measure::Row;

/// A scenario.
pub(crate) struct Scenario {
    /// For `--scenario`.
    pub(crate) name: &'static str,
    /// How often it is measured unless `--runs` says otherwise.
    pub(crate) runs: usize,
    /// Whether it needs engines.
    pub(crate) engines: bool,
    /// Measures all engines.
    pub(crate) run: fn(&[Engine], usize) -> Vec<Row>,
}

const fn scenario(
    name: &'static str,
    runs: usize,
    run: fn(&[Engine], usize) -> Vec<Row>,
) -> Scenario {
    Scenario { name, runs, engines: true, run }
}

/// All of them, in the order of the report.
pub(crate) const ALL: &[Scenario] = &[
    scenario("run", 15, start::run),
    scenario("exec", 20, start::exec),
    scenario("fifty", 3, start::fifty),
    scenario("memory", 1, memory::run),
    scenario("ports", 1, ports::thousand),
    scenario("http", 3, ports::http),
    scenario("pull", 3, images::pull),
    scenario("logs", 2, logs::run),
    scenario("commands", 20, start::commands),
    Scenario { engines: false, ..scenario("runtime", 51, runtime::run) },
];
