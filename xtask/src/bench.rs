//! `cargo xtask bench`: builds what is shipped and runs the scenarios of `bench/`.

use anyhow::Result;

use crate::build;
use crate::run::{cargo, step, succeed};

/// Passes `arguments` on to the benchmark program.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let programs = step("build davit and davit-shim", build::dist)?;
    let mut bench = cargo(&["run", "--quiet", "--release", "--package", "davit-bench", "--"]);
    bench.args(arguments).env("DAVIT_BIN", programs.davit).env("DAVIT_SHIM", programs.shim);
    succeed(bench)
}
