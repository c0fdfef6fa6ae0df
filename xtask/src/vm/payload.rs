//! The second disk: the test programs, what they test, and the script that runs them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use davit_testkit::paths;
use serde_json::Value;

use super::image::make_disk;
use crate::build::Programs;
use crate::run::{cargo, output};

/// Package, test program, and which of its tests run in the machine: all, or those below modules.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("davit-sys", "davit_sys", ""),
    ("davit-sys", "cgroup", ""),
    ("davit-runtime", "root", ""),
    ("davit-shim", "systemd", ""),
    ("davit-e2e", "e2e", "machine|limits"),
];

/// Programs of packages that aren't in the machine's root file system.
const BORROWED: &[&str] = &["docker", "docker-registry"];

/// Makes the disk; `filter` restricts the tests to those whose names contain it.
pub(super) fn make(programs: &Programs, filter: Option<&str>, work: &Path) -> Result<PathBuf> {
    let dir = work.join("payload");
    fs::create_dir_all(dir.join("bin"))?;
    fs::create_dir_all(dir.join("tests"))?;
    fs::create_dir_all(dir.join("cache"))?;
    copy(&programs.davit, &dir.join("bin/davit"))?;
    copy(&programs.shim, &dir.join("bin/davit-shim"))?;
    for name in BORROWED {
        let program = paths::program(name).with_context(|| format!("{name} is missing"))?;
        copy(&program, &dir.join("bin").join(name))?;
    }
    let mut script = String::from(HEAD);
    let built = build()?;
    for (package, name, modules) in PROGRAMS {
        let Some(test) = built.iter().find(|t| t.package == *package && t.name == *name) else {
            continue;
        };
        let file = format!("{package}-{name}");
        copy(&test.program, &dir.join("tests").join(&file))?;
        script += &line(&file, modules, filter);
    }
    script += "echo DAVIT-VM-END\n";
    fs::write(dir.join("run"), script)?;
    let disk = work.join("payload.ext4");
    make_disk(&dir, "2G", &disk)?;
    fs::remove_dir_all(&dir)?;
    Ok(disk)
}

/// The serial line is a terminal: it must not change what is written to it.
const HEAD: &str = "stty -F /dev/ttyS1 raw -echo
echo DAVIT-VM-UP $(uname -r) $(systemctl --version | head -n1)
export PATH=/payload/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true RUST_BACKTRACE=0
export DAVIT_BIN=/payload/bin/davit DAVIT_SHIM=/payload/bin/davit-shim
export DAVIT_TEST_CACHE=/payload/cache DAVIT_TEST_MACHINE=1
ip link set lo up
cd /
";

fn line(file: &str, modules: &str, filter: Option<&str>) -> String {
    // libtest takes several filters as alternatives: names are chosen here instead.
    let chosen = match (modules, filter) {
        ("", None) => String::new(),
        (modules, filter) => {
            let modules = if modules.is_empty() { ".*" } else { modules };
            let filter = filter.unwrap_or_default().replace('\'', "");
            format!(
                "$(/payload/tests/{file} --list --include-ignored | sed -n 's/: test$//p' \
                 | grep -E '^({modules})' | grep -F '{filter}')"
            )
        }
    };
    format!(
        "tests=\"{chosen}\"\n\
         if [ -z '{wanted}' ] || [ -n \"$tests\" ]; then\n\
         echo DAVIT-VM-RUN {file}\n\
         /payload/tests/{file} --include-ignored --test-threads=1 {exact} $tests\n\
         echo DAVIT-VM-RESULT {file} $?\n\
         fi\n",
        wanted = if chosen.is_empty() { "" } else { "chosen" },
        exact = if chosen.is_empty() { "" } else { "--exact" },
    )
}

struct TestProgram {
    package: String,
    name: String,
    program: PathBuf,
}

fn build() -> Result<Vec<TestProgram>> {
    let mut words = vec!["test", "--no-run", "--message-format=json", "--lib", "--tests"];
    let mut packages: Vec<&str> = PROGRAMS.iter().map(|(package, _, _)| *package).collect();
    packages.dedup();
    for package in packages {
        words.extend(["--package", package]);
    }
    let messages = output(cargo(&words))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| test_program(&message)).collect())
}

fn test_program(message: &Value) -> Option<TestProgram> {
    if message["profile"]["test"] != true {
        return None;
    }
    // `path+file:///.../crates/sys#davit-sys@0.1.0`.
    let id = message["package_id"].as_str()?;
    let package = id.rsplit(['#', '/']).next()?.split('@').next()?.to_owned();
    let name = message["target"]["name"].as_str()?.to_owned();
    Some(TestProgram { package, name, program: message["executable"].as_str()?.into() })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
