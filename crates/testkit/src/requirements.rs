//! What a privileged test needs, and what happens when that is missing.
//!
//! A test that can't run says so by name on stderr and passes; with `CI=true` it fails instead, so
//! that a green run of the CI means that everything was tried.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::paths;

/// Something the machine must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// Mount, network and PID namespaces can be made.
    Namespaces,
    /// The overlay filesystem.
    Overlay,
    /// Cgroups can be created.
    Cgroups,
    /// nftables in the kernel.
    Nftables,
    /// A program in `PATH`.
    Program(&'static str),
}

/// What every test with a daemon needs.
pub const DAEMON: &[Need] = &[
    Need::Root,
    Need::Namespaces,
    Need::Overlay,
    Need::Cgroups,
    Need::Nftables,
    Need::Program("docker"),
    Need::Program("docker-registry"),
    Need::Program("busybox"),
    Need::Program("curl"),
    Need::Program("ip"),
    Need::Program("script"),
];

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Namespaces => f.write_str("mount, network and PID namespaces"),
            Self::Overlay => f.write_str("the overlay filesystem"),
            Self::Cgroups => f.write_str("writable cgroups"),
            Self::Nftables => f.write_str("nftables"),
            Self::Program(name) => write!(f, "the program {name}"),
        }
    }
}

/// Whether all of `needs` are met. Names the test and what it misses on stderr when not; panics
/// then if `CI=true`.
pub fn met(test: &str, needs: &[Need]) -> bool {
    let missing: Vec<String> =
        needs.iter().filter(|need| !is_met(**need)).map(ToString::to_string).collect();
    if missing.is_empty() {
        return true;
    }
    not_run(test, &missing.join(", "));
    false
}

/// Says that `test` was not run because it lacks `what`; panics if `CI=true`.
#[allow(clippy::print_stderr, reason = "that is its purpose")]
pub fn not_run(test: &str, what: &str) {
    let message = format!("NOT RUN: {test} needs {what}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message} (an error because CI=true)");
    eprintln!("{message}");
}

fn is_met(need: Need) -> bool {
    match need {
        Need::Root => rustix::process::geteuid().is_root(),
        Need::Namespaces => succeeds("unshare", &["--mount", "--net", "--pid", "--fork", "true"]),
        Need::Overlay => has_overlay() || (succeeds("modprobe", &["overlay"]) && has_overlay()),
        Need::Cgroups => crate::cgroup::hierarchies().iter().any(|dir| is_writable(dir)),
        Need::Nftables => {
            succeeds("unshare", &["--net", "nft", "add", "table", "ip", "davit_probe"])
        }
        Need::Program(name) => paths::program(name).is_some(),
    }
}

fn has_overlay() -> bool {
    fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay\n"))
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
