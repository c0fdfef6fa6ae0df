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

/// Builds both in the dev profile, and the tests with them: built apart, they and `davit` would each
/// need the dependencies with other features. The shim stays where it is built, because running the
/// tests puts one that is not static beside `davit`.
pub(crate) fn debug() -> Result<Programs> {
    succeed(cargo(&["build", "--workspace", "--all-targets"]))?;
    let shim = static_shim("dev", "debug")?;
    link_runtime(&shim)?;
    Ok(Programs { davit: paths::target_dir().join("debug/davit"), shim })
}

/// Builds both in the release profile, the shim copied beside `davit`, which looks for it there.
pub(crate) fn release() -> Result<Programs> {
    let programs = step("build davit and davit-shim", build_release)?;
    say(&format!("{} and {}", programs.davit.display(), programs.shim.display()));
    Ok(programs)
}

fn build_release() -> Result<Programs> {
    let dir = paths::target_dir().join("release");
    succeed(cargo(&["build", "--package", "davit", "--release"]))?;
    let built = static_shim("release", "release")?;
    let beside = dir.join("davit-shim");
    // A running monitor may use the old file: replace it, don't write into it.
    let fresh = beside.with_extension("new");
    fs::copy(&built, &fresh).with_context(|| format!("copy {}", built.display()))?;
    fs::rename(&fresh, &beside)?;
    link_runtime(&beside)?;
    Ok(Programs { davit: dir.join("davit"), shim: beside })
}

/// Builds the shim alone in the release profile.
pub(crate) fn release_shim() -> Result<PathBuf> {
    static_shim("release", "release")
}

/// Builds the shim; where cargo puts it.
fn static_shim(profile: &str, dir: &str) -> Result<PathBuf> {
    add_target()?;
    let shim = ["build", "--package", "davit-shim", "--target", SHIM_TARGET, "--profile", profile];
    succeed(cargo(&shim))?;
    Ok(paths::target_dir().join(SHIM_TARGET).join(dir).join("davit-shim"))
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
