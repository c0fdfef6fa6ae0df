//! `cargo xtask vm-test`: the tests that need cgroup v2 and systemd, in a virtual machine.
//!
//! Debian's cloud kernel boots in qemu without acceleration (so that it runs inside other virtual
//! machines, too) from a root file system of Debian packages that is made once and cached. The test
//! programs come on a second disk, and their output leaves on a serial line. What does not arrive
//! there did not happen: a machine that doesn't come up or stops talking is an error.

mod image;
mod machine;
mod payload;

use anyhow::{Result, ensure};
use davit_testkit::paths;

use crate::run::{cargo, say, step, succeed};
use crate::{build, packages};

/// Boots the machine and runs the tests whose names contain `filter`.
pub(crate) fn test(filter: Option<&str>) -> Result<()> {
    let image = image()?;
    step("packages of the tests", packages::for_tests)?;
    let programs = step("build davit and davit-shim", build::debug)?;
    let work = tempfile::tempdir()?;
    let payload = step("build the tests", || payload::make(&programs, filter, work.path()))?;
    let results = step("tests in the machine", || machine::run(&image, &payload, work.path()))?;
    let (passed, failed) =
        results.iter().fold((0, 0), |(passed, failed), r| (passed + r.passed, failed + r.failed));
    for result in &results {
        say(&format!("{}: {} passed, {} failed", result.program, result.passed, result.failed));
    }
    say(&format!("in the machine: {passed} tests passed, {failed} failed"));
    ensure!(failed == 0, "{failed} tests failed in the machine");
    ensure!(passed > 0, "no test was run in the machine");
    Ok(())
}

/// Boots the machine and measures the runtime there beside runc and crun, which wants cgroup v2.
pub(crate) fn bench() -> Result<()> {
    let image = image()?;
    let shim = step("build davit-shim", build::release_shim)?;
    let bench = step("build the benchmark", || {
        succeed(cargo(&["build", "--release", "--package", "davit-bench"]))?;
        Ok(paths::target_dir().join("release/davit-bench"))
    })?;
    let work = tempfile::tempdir()?;
    let payload = payload::bench(&bench, &shim, work.path())?;
    step("the benchmark in the machine", || machine::run(&image, &payload, work.path()))?;
    Ok(())
}

fn image() -> Result<image::Image> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the machine's root file system is made with debootstrap, which needs root"
    );
    step("packages of the machine", packages::for_vm)?;
    step("root file system of the machine", image::ensure)
}
