//! `cargo xtask test`: everything that decides whether a change lands.

use std::env;

use anyhow::Result;
use davit_testkit::{images, paths};

use crate::build::{self, Programs};
use crate::run::{cargo, say, step, succeed};
use crate::{arch, packages};

/// Formatting, lints, architecture, and all tests.
pub(crate) fn everything() -> Result<()> {
    step("formatting", || succeed(cargo(&["fmt", "--all", "--check"])))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    step("lints", || succeed(cargo(&clippy)))?;
    step("architecture", arch::check)?;
    tests(None)
}

/// The tests whose names contain `filter`.
pub(crate) fn matching(filter: &str) -> Result<()> {
    tests(Some(filter))
}

fn tests(filter: Option<&str>) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    if root {
        step("packages", packages::for_tests)?;
    }
    let programs = step("build davit and davit-shim", build::debug)?;
    if root {
        // Made here, so that no single test pays for it.
        step("test images", || images::ensure(&[images::BUSYBOX, images::LAYERED, images::NGINX]))?;
    } else {
        say_what_will_be_missed();
    }
    step("tests", || succeed(runner(filter, &programs)))
}

fn say_what_will_be_missed() {
    say("\nNot root: the privileged tests will say by name that they were not run.");
    let missing = packages::missing_for_tests();
    if !missing.is_empty() {
        say(&format!("Missing as well: {}", missing.join(", ")));
    }
}

/// cargo-nextest when it is there (a process per test, limits per test), else cargo's own runner.
fn runner(filter: Option<&str>, Programs { davit, shim }: &Programs) -> std::process::Command {
    let nextest = paths::program("cargo-nextest").is_some();
    let words: &[&str] = match nextest {
        true => &["nextest", "run", "--workspace", "--no-fail-fast"],
        false => &["test", "--workspace", "--no-fail-fast"],
    };
    let mut command = cargo(words);
    command.args(filter);
    if nextest && filter.is_none() && env::var("CI").as_deref() == Ok("true") {
        command.args(["--profile", "ci"]);
    }
    if nextest && filter.is_some() {
        command.arg("--no-tests=pass");
    }
    command.env("DAVIT_BIN", davit).env("DAVIT_SHIM", shim);
    command
}
