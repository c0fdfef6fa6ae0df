//! Debian packages that tests and demo need: what is missing is installed, and why is said.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use davit_testkit::paths;

use crate::run::{output, say, succeed};

/// A program, the package that has it, and what it is for.
pub(crate) struct Package {
    program: &'static str,
    package: &'static str,
    reason: &'static str,
}

const fn package(program: &'static str, package: &'static str, reason: &'static str) -> Package {
    Package { program, package, reason }
}

impl Package {
    /// Whether its program, or library, is.
    fn is_there(&self) -> bool {
        if self.program.contains(".so.") {
            return paths::has_library(self.program);
        }
        paths::program(self.program).is_some()
    }
}

/// For both demo and tests.
const BASE: &[Package] = &[
    package("busybox", "busybox-static", "the busybox image"),
    package("curl", "curl", "fetches pages through published ports"),
    package("debootstrap", "debootstrap", "makes the nginx image from the package archive"),
    package("ip", "iproute2", "shows and joins network namespaces"),
    package("nft", "nftables", "shows firewall rules (Davit itself talks netlink)"),
    package("ps", "procps", "lists processes"),
    package("unshare", "util-linux", "namespaces for sandboxes"),
];

/// For tests alone.
const TESTS: &[Package] = &[
    package("dig", "bind9-dnsutils", "asks the resolver"),
    package("dnsmasq", "dnsmasq-base", "a server for the resolver to ask"),
    package("script", "bsdutils", "a terminal for interactive commands"),
    package("iptables-nft", "iptables", "puts an administrator's rules beside ours"),
    package("python3", "python3-venv", "runs Docker's Python SDK"),
    package("skopeo", "skopeo", "moves images between registries and archives, to compare with"),
];

/// For the virtual machine.
const VM: &[Package] = &[
    package("mke2fs", "e2fsprogs", "makes the disks of the virtual machine"),
    package(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "the virtual machine for cgroup v2 and systemd",
    ),
];

/// Unpacked into the cache, because their installation would start services on this machine.
const REGISTRY: Package =
    package("docker-registry", "docker-registry", "the registry to pull from, on the loopback");
const DOCKER_CLI: Package =
    package("docker", "docker-cli", "Docker's own command line, to test compatibility");
const DOCKER_CLI_OLDER: Package =
    package("docker", "docker.io", "Docker's own command line, to test compatibility");

/// Unpacked for the tests that run others' engines with our runtime, and their runtime with our engine.
const ENGINES: &[Package] = &[
    package("runc", "runc", "the runtime that ours is compared with"),
    package("ctr", "containerd", "runs containers with our runtime"),
    package("dockerd", "docker.io", "runs containers with our runtime"),
    package("podman", "podman", "runs containers with our runtime"),
    package("conmon", "conmon", "stays beside Podman's containers"),
    package("umoci", "umoci", "unpacks images, to compare trees with"),
    package("libgpgme.so.11", "libgpgme11", "a library of Podman's"),
    package("libassuan.so.0", "libassuan0", "a library of Podman's"),
    package("libsubid.so.4", "libsubid4", "a library of Podman's"),
];

/// Installs what the demo needs.
pub(crate) fn for_demo() -> Result<()> {
    install(BASE.iter())?;
    unpack(&REGISTRY)
}

/// Installs what the tests need, the docker command line included.
pub(crate) fn for_tests() -> Result<()> {
    install(BASE.iter().chain(TESTS))?;
    unpack(&REGISTRY)?;
    // Newer releases have the command line in a package of its own.
    let split = exists(DOCKER_CLI.package);
    unpack(if split { &DOCKER_CLI } else { &DOCKER_CLI_OLDER })?;
    // A library that has another name in another release is missed by the test that needs it.
    ENGINES.iter().filter(|wanted| wanted.is_there() || exists(wanted.package)).try_for_each(unpack)
}

/// Installs what the virtual machine needs.
pub(crate) fn for_vm() -> Result<()> {
    install(BASE.iter().chain(VM))
}

/// Whether this release has the package.
fn exists(package: &str) -> bool {
    let mut show = Command::new("apt-cache");
    show.args(["show", package]);
    output(show).is_ok_and(|text| text.contains("Package:"))
}

/// The program names that are needed by the tests and not there.
pub(crate) fn missing_for_tests() -> Vec<&'static str> {
    let all = BASE.iter().chain(TESTS).chain([&REGISTRY, &DOCKER_CLI]).chain(ENGINES);
    let names = all.filter(|package| !package.is_there()).map(|package| package.program);
    names.collect()
}

fn install<'a>(wanted: impl Iterator<Item = &'a Package>) -> Result<()> {
    let missing: Vec<&Package> =
        wanted.filter(|package| paths::program(package.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say("Installing with apt-get:");
    for Package { program, package, reason } in &missing {
        say(&format!("  {package} for `{program}`: {reason}"));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.package).collect();
    apt_get(&["update", "--quiet"])?;
    apt_get(&[&["install", "--yes", "--quiet", "--no-install-recommends"], &names[..]].concat())
}

/// Downloads the package and unpacks it below [`paths::unpacked_packages`].
fn unpack(wanted: &Package) -> Result<()> {
    if wanted.is_there() {
        return Ok(());
    }
    let Package { program, package, reason } = wanted;
    let dir = paths::unpacked_packages().join(package);
    say(&format!("Unpacking {package} for `{program}` into {}: {reason}", dir.display()));
    fs::create_dir_all(&dir)?;
    apt_get(&["update", "--quiet"])?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", package]).current_dir(&dir);
    succeed(download)?;
    let mut files = fs::read_dir(&dir)?.flatten().map(|entry| entry.path());
    let archive = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.context("apt-get download left no package")?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").arg(&archive).arg(&dir);
    succeed(extract)?;
    ensure!(wanted.is_there(), "{} holds no {program}", archive.display());
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "installing packages needs root");
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    succeed(command)
}
