//! Building the two programs: `davit` for glibc, `davit-shim` static and linked as `davit-runc`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
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
    link_runtime(&beside)?;
    Ok(Programs { davit: target.join(dir).join("davit"), shim: beside })
}

/// The same program under the name that makes it an OCI runtime.
fn link_runtime(shim: &Path) -> Result<()> {
    let fresh = shim.with_file_name("davit-runc.new");
    // Left by a build that was interrupted.
    let _ = fs::remove_file(&fresh);
    symlink("davit-shim", &fresh).with_context(|| format!("link {}", fresh.display()))?;
    fs::rename(&fresh, shim.with_file_name("davit-runc"))?;
    Ok(())
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
