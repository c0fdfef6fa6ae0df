//! `cargo xtask bench`: builds for release and runs the scenarios of `bench/`.

use anyhow::Result;

use crate::build;
use crate::run::{cargo, succeed};

/// Passes `arguments` on to the benchmark program.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let programs = build::release()?;
    let mut bench = cargo(&["run", "--quiet", "--release", "--package", "davit-bench", "--"]);
    bench.args(arguments).env("DAVIT_BIN", programs.davit).env("DAVIT_SHIM", programs.shim);
    succeed(bench)
}
