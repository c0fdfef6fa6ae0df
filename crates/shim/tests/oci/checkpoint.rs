//! `checkpoint` and `restore`: what criu is told, with a program of the test in its place, since Debian's
//! criu can't work on every kernel; and what is said when there is none, or it can't.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::Result;

use crate::support::{Lab, is_foreign, lab};

/// A `criu` that writes down what it is told. Its restore starts a process of its own.
const CRIU: &str = r#"#!/bin/sh
echo "$*" >> "$0.told"
case $1 in
check) [ ! -e "$0.broken" ] || { echo "Error (criu/vdso.c:1): Unexpected rt vDSO area bounds"; exit 1; } ;;
restore)
    while [ $# -gt 0 ]; do
        [ "$1" != --pidfile ] || pid_file=$2
        [ "$1" != --root ] || ls "$2" > "$0.root"
        shift
    done
    sleep 1000 </dev/null >/dev/null 2>&1 &
    echo $! > "$pid_file" ;;
esac
"#;

fn with_path(lab: &Lab, path: &str, args: &[&str]) -> Command {
    let mut command = lab.sandbox.command("env");
    command.arg(format!("PATH={path}")).arg(&lab.runtime).arg("--root").arg(lab.root()).args(args);
    command.stdin(std::process::Stdio::null());
    command
}

#[test]
fn without_criu_or_with_one_that_cannot_work_the_reason_is_said() -> Result<()> {
    let test = "without_criu_or_with_one_that_cannot_work_the_reason_is_said";
    let Some(lab) = lab(test)? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let missing =
        lab.finish(with_path(&lab, "/nonexistent", &["checkpoint", &bundle.id]))?.err()?;
    assert!(missing.contains("need the program criu, which is not in $PATH"), "{missing}");
    let directory = fake(&lab)?;
    fs::write(lab.sandbox.dir().join("fake/criu.broken"), "")?;
    let broken = lab.finish(with_path(&lab, &directory, &["checkpoint", &bundle.id]))?.err()?;
    assert!(broken.contains("criu can't work on this machine"), "{broken}");
    assert!(broken.contains("Unexpected rt vDSO area bounds"), "{broken}");
    assert_eq!(lab.state(&bundle.id)?["status"], "running");
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    Ok(())
}

#[test]
fn checkpoint_ends_and_restore_brings_back() -> Result<()> {
    let Some(lab) = lab("checkpoint_ends_and_restore_brings_back")? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    let directory = fake(&lab)?;
    let images = lab.sandbox.dir().join("images").to_string_lossy().into_owned();
    let told = || fs::read_to_string(lab.sandbox.dir().join("fake/criu.told"));
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let pid = lab.state(&bundle.id)?["pid"].clone();
    let root = lab.sandbox.dir().join("rootfs");
    let save = ["checkpoint", "--image-path", &images, "--tcp-established"];
    let leave = [&save[..], &["--leave-running", &bundle.id]].concat();
    lab.finish(with_path(&lab, &directory, &leave))?.ok()?;
    let expected = format!(
        "dump --images-dir {images} --tcp-established --manage-cgroups=soft --tree {pid} --root {} \
         --leave-running --log-file dump.log",
        root.display()
    );
    assert_eq!(told()?.lines().last(), Some(expected.as_str()));
    assert_eq!(lab.state(&bundle.id)?["status"], "running");
    lab.finish(with_path(&lab, &directory, &[&save[..], &[&bundle.id]].concat()))?.ok()?;
    lab.verb(&["state", &bundle.id])?.err()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());

    let pid_file = bundle.file("pid").to_string_lossy().into_owned();
    let restore = ["restore", "--image-path", &images, "--detach", "--pid-file", &pid_file];
    let restore = [&restore[..], &["--bundle", bundle.path(), &bundle.id]].concat();
    lab.finish(with_path(&lab, &directory, &restore))?.ok()?;
    let told = told()?;
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("restore --images-dir {images} ")), "{last}");
    assert!(last.contains(" --restore-detached --root ") && last.contains(" --pidfile "), "{last}");
    let seen = fs::read_to_string(lab.sandbox.dir().join("fake/criu.root"))?;
    assert!(seen.lines().any(|name| name == "bin"), "the root was not there: {seen}");
    let state = lab.state(&bundle.id)?;
    assert_eq!(state["status"], "running");
    assert_eq!(fs::read_to_string(&pid_file)?, state["pid"].to_string());
    lab.verb(&["kill", &bundle.id, "KILL"])?.ok()?;
    lab.until(&bundle.id, "stopped")?;
    lab.verb(&["delete", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_restore_that_fails_leaves_nothing() -> Result<()> {
    let Some(lab) = lab("a_restore_that_fails_leaves_nothing")? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    let directory = fake(&lab)?;
    let bundle = lab.bundle(&["true"], |_| {})?;
    // No checkpoint there.
    let images = bundle.file("nothing").to_string_lossy().into_owned();
    let restore = ["restore", "--image-path", &images, "--bundle", bundle.path(), &bundle.id];
    let error = lab.finish(with_path(&lab, &directory, &restore))?.err()?;
    assert!(error.contains("descriptors.json"), "{error}");
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// The directory of a fake criu, in front of the machine's programs.
fn fake(lab: &Lab) -> Result<String> {
    let directory = lab.sandbox.dir().join("fake");
    fs::create_dir(&directory)?;
    let program = directory.join("criu");
    fs::write(&program, CRIU)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display()))
}
