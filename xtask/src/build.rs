//! Building the two programs: `davit` for glibc, `davit-shim` static.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use davit_testkit::paths;

use crate::run::{cargo, output, say, step, succeed};

/// The shim's target: static, so that it runs before anything of the container is there.
const SHIM_TARGET: &str = "x86_64-unknown-linux-musl";

/// A pair of programs that belong together.
pub(crate) struct Programs {
    pub(crate) davit: PathBuf,
    pub(crate) shim: PathBuf,
}

/// Builds both in the dev profile.
pub(crate) fn debug() -> Result<Programs> {
    build("dev", "debug")
}

/// Builds both in the release profile, the shim copied beside `davit`, which looks for it there.
pub(crate) fn release() -> Result<Programs> {
    let programs = step("build davit and davit-shim", || build("release", "release"))?;
    say(&format!("{} and {}", programs.davit.display(), programs.shim.display()));
    Ok(programs)
}

fn build(profile: &str, dir: &str) -> Result<Programs> {
    add_target()?;
    let target = paths::target_dir();
    succeed(cargo(&["build", "--package", "davit", "--profile", profile]))?;
    let shim = ["build", "--package", "davit-shim", "--target", SHIM_TARGET, "--profile", profile];
    succeed(cargo(&shim))?;
    let built = target.join(SHIM_TARGET).join(dir).join("davit-shim");
    let beside = target.join(dir).join("davit-shim");
    // A running monitor may use the old file: replace it, don't write into it.
    let fresh = beside.with_extension("new");
    fs::copy(&built, &fresh).with_context(|| format!("copy {}", built.display()))?;
    fs::rename(&fresh, &beside)?;
    Ok(Programs { davit: target.join(dir).join("davit"), shim: beside })
}

/// rustup is asked only when it is there: a distribution's Rust brings its own targets.
fn add_target() -> Result<()> {
    let mut list = Command::new("rustup");
    list.args(["target", "list", "--installed"]).current_dir(paths::workspace());
    let Ok(installed) = output(list) else { return Ok(()) };
    if installed.lines().any(|target| target == SHIM_TARGET) {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", SHIM_TARGET]).current_dir(paths::workspace());
    succeed(add)
}
