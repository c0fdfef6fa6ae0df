//! The second disk: the test programs, what they test, and the script that runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use davit_testkit::paths;
use serde_json::Value;

use super::image::make_disk;
use crate::build::Programs;
use crate::run::{cargo, output};

/// Package, test program, and which of its tests run in the machine: all, or those below modules.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    ("davit-sys", "davit_sys", &[]),
    ("davit-sys", "cgroup", &[]),
    ("davit-runtime", "root", &[]),
    ("davit-shim", "systemd", &[]),
    ("davit-e2e", "e2e", &["machine", "limits"]),
];

/// Programs of packages that aren't in the machine's root file system.
const BORROWED: &[&str] = &["docker", "docker-registry"];

/// The second disk, and how many tests are to run from each program on it.
pub(super) struct Payload {
    pub(super) disk: PathBuf,
    pub(super) wanted: Vec<(String, usize)>,
}

/// Makes the disk; `filter` restricts the tests to those whose names contain it.
pub(super) fn make(programs: &Programs, filter: Option<&str>, work: &Path) -> Result<Payload> {
    let chosen = choose(&build()?, filter)?;
    let dir = work.join("payload");
    for name in ["bin", "tests", "cache"] {
        fs::create_dir_all(dir.join(name))?;
    }
    copy(&programs.davit, &dir.join("bin/davit"))?;
    copy(&programs.shim, &dir.join("bin/davit-shim"))?;
    for name in BORROWED {
        let program = paths::program(name).with_context(|| format!("{name} is missing"))?;
        copy(&program, &dir.join("bin").join(name))?;
    }
    for Chosen { file, program, .. } in &chosen {
        copy(program, &dir.join("tests").join(file))?;
    }
    let disk = finish(&dir, &script(&chosen))?;
    let wanted = chosen.into_iter().map(|chosen| (chosen.file, chosen.tests.len())).collect();
    Ok(Payload { disk, wanted })
}

/// The disk with the benchmark program and the runtime it measures.
pub(super) fn bench(bench: &Path, shim: &Path, work: &Path) -> Result<Payload> {
    let dir = work.join("payload");
    fs::create_dir_all(dir.join("bin"))?;
    copy(shim, &dir.join("bin/davit-shim"))?;
    copy(bench, &dir.join("bin/davit-bench"))?;
    let script = format!("{HEAD}davit-bench --scenario runtime && echo DAVIT-VM-END\n");
    Ok(Payload { disk: finish(&dir, &script)?, wanted: Vec::new() })
}

/// Adds the script and makes a disk of it all.
fn finish(dir: &Path, script: &str) -> Result<PathBuf> {
    fs::write(dir.join("run"), script)?;
    let disk = dir.with_extension("ext4");
    make_disk(dir, "2G", &disk)?;
    fs::remove_dir_all(dir)?;
    Ok(disk)
}

/// A program on the disk, and the tests that are run from it.
struct Chosen {
    file: String,
    program: PathBuf,
    tests: Vec<String>,
}

/// A program that isn't built or has no test of what is asked for, and a test that runs only in the
/// machine and isn't among these, are errors: nothing is left out unnoticed.
fn choose(built: &[TestProgram], filter: Option<&str>) -> Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    for (package, name, modules) in PROGRAMS {
        let file = format!("{package}-{name}");
        let test = built.iter().find(|t| t.package == *package && t.name == *name);
        let program = test.with_context(|| format!("no test program {file}"))?.program.clone();
        let mut tests = list(&program, "--include-ignored")?;
        tests.retain(|test| is_below(test, modules));
        ensure!(!tests.is_empty(), "{file} has no tests below {modules:?}");
        tests.retain(|test| test.contains(filter.unwrap_or_default()));
        if !tests.is_empty() {
            chosen.push(Chosen { file, program, tests });
        }
    }
    ensure!(!chosen.is_empty(), "the machine runs no test whose name contains {filter:?}");
    if filter.is_none() {
        for test in built {
            let file = format!("{}-{}", test.package, test.name);
            let here = chosen.iter().find(|chosen| chosen.file == file);
            for name in list(&test.program, "--ignored")? {
                let runs = here.is_some_and(|here| here.tests.contains(&name));
                ensure!(runs, "{file}: {name} is ignored, and doesn't run in the machine either");
            }
        }
    }
    Ok(chosen)
}

/// Names of the tests of `program`.
fn list(program: &Path, which: &str) -> Result<Vec<String>> {
    let mut command = Command::new(program);
    command.args(["--list", which]);
    let text = output(command)?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect())
}

/// Whether the test is in one of `modules`; no modules are all of them.
fn is_below(test: &str, modules: &[&str]) -> bool {
    let is_in =
        |module: &&str| test.strip_prefix(*module).is_some_and(|rest| rest.starts_with("::"));
    modules.is_empty() || modules.iter().any(is_in)
}

fn script(chosen: &[Chosen]) -> String {
    let mut script = String::from(HEAD);
    for Chosen { file, tests, .. } in chosen {
        script += &format!(
            "echo DAVIT-VM-RUN {file}\n\
             /payload/tests/{file} --include-ignored --test-threads=1 --exact {}\n\
             echo DAVIT-VM-RESULT {file} $?\n",
            tests.join(" ")
        );
    }
    script + "echo DAVIT-VM-END\n"
}

/// The serial line is a terminal: it must not change what is written to it.
const HEAD: &str = "stty -F /dev/ttyS1 raw -echo
echo DAVIT-VM-UP $(uname -r) $(systemctl --version | head -n1)
export PATH=/payload/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true RUST_BACKTRACE=0
export DAVIT_BIN=/payload/bin/davit DAVIT_SHIM=/payload/bin/davit-shim
export DAVIT_TEST_CACHE=/payload/cache DAVIT_TEST_MACHINE=1 CARGO_TARGET_DIR=/payload/target
ip link set lo up
cd /
";

struct TestProgram {
    package: String,
    name: String,
    program: PathBuf,
}

/// All test programs, built as everything else is: apart, they would need dependencies of their own.
fn build() -> Result<Vec<TestProgram>> {
    let words = ["build", "--workspace", "--all-targets", "--message-format=json"];
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
