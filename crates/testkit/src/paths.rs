//! Where the programs under test and the cached images are.

use std::env;
use std::path::{Path, PathBuf};

/// The checkout's top directory.
pub fn workspace() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.ancestors().nth(2).unwrap_or(crate_dir).to_path_buf()
}

/// Cargo's target directory.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Where images and the registry's storage are kept between runs (`DAVIT_TEST_CACHE`, else
/// `testkit` in the target directory).
pub fn cache_dir() -> PathBuf {
    env::var_os("DAVIT_TEST_CACHE").map_or_else(|| target_dir().join("testkit"), PathBuf::from)
}

/// Where sandboxes put their directories (`DAVIT_TEST_DIR`, else /tmp): short, because the path of
/// a unix socket has at most 107 bytes.
pub fn sandbox_base() -> PathBuf {
    env::var_os("DAVIT_TEST_DIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// The `davit` program: `DAVIT_BIN`, else the debug build.
pub fn davit() -> PathBuf {
    env::var_os("DAVIT_BIN").map_or_else(|| target_dir().join("debug/davit"), PathBuf::from)
}

/// The `davit-shim` program: `DAVIT_SHIM`, else the static debug build.
pub fn shim() -> PathBuf {
    env::var_os("DAVIT_SHIM").map_or_else(
        || target_dir().join("x86_64-unknown-linux-musl/debug/davit-shim"),
        PathBuf::from,
    )
}

/// Where the packages are that are used without being installed: `<package>/usr/bin/<program>`.
/// Installed, docker.io and docker-registry would start services on this machine.
pub fn unpacked_packages() -> PathBuf {
    cache_dir().join("packages")
}

/// Looks `name` up in `PATH`, the administrator's directories and [`unpacked_packages`].
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let packages = std::fs::read_dir(unpacked_packages()).into_iter().flatten().flatten();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(packages.flat_map(|package| {
            ["usr/bin", "usr/sbin"].map(|directory| package.path().join(directory))
        }))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// Where the libraries of unpacked packages are, for `LD_LIBRARY_PATH`.
pub fn unpacked_libraries() -> Vec<PathBuf> {
    let packages = std::fs::read_dir(unpacked_packages()).into_iter().flatten().flatten();
    packages
        .flat_map(|package| {
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|dir| package.path().join(dir))
        })
        .filter(|directory| directory.is_dir())
        .collect()
}

/// Whether a shared library is installed or unpacked.
pub fn has_library(name: &str) -> bool {
    let installed =
        ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64"].map(PathBuf::from);
    installed.into_iter().chain(unpacked_libraries()).any(|directory| directory.join(name).exists())
}

/// [`program`], or its bare name, whose absence is then the error of running it.
pub fn program_or_name(name: &str) -> PathBuf {
    program(name).unwrap_or_else(|| PathBuf::from(name))
}
