//! Flags of `run`, `exec` and `kill` that only some callers use.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use davit_sys::cgroup::{Cgroup, Layout};
use davit_testkit::{Need, met, wait};
use serde_json::json;

use crate::support::{Lab, PATIENCE, is_foreign, lab};

/// The oldest process of the runtime in the sandbox gets `signal`.
fn signal_runtime(lab: &Lab, signal: &str) -> Result<()> {
    let name = lab.runtime.file_name().context("a program")?.to_string_lossy().into_owned();
    lab.sandbox.sh(&format!("kill -{signal} $(pgrep -o -x {name})"))?.ok()?;
    Ok(())
}

#[test]
fn run_passes_signals_on_and_keeps_on_demand() -> Result<()> {
    let Some(lab) = lab("run_passes_signals_on_and_keeps_on_demand")? else { return Ok(()) };
    let script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done";
    let bundle = lab.bundle(&["sh", "-c", script], |_| {})?;
    let output = bundle.file("output");
    let mut command = lab.command(&["run", "--keep", "--bundle", bundle.path(), &bundle.id]);
    let mut child = command.stdout(File::create(&output)?).spawn()?;
    assert_eq!(lab.line(&output)?, "ready\n");
    signal_runtime(&lab, "TERM")?;
    let status = wait::until(PATIENCE, "the end", || child.try_wait().map_err(Into::into))?;
    assert_eq!(status.code(), Some(42));
    if !is_foreign() {
        // runc 1.1 has no --keep of this meaning without --detach: it says stopped, too.
        assert_eq!(lab.state(&bundle.id)?["status"], "stopped");
    }
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn run_on_a_terminal_has_its_size_and_exit_status() -> Result<()> {
    let test = "run_on_a_terminal_has_its_size_and_exit_status";
    if !met(test, &[Need::Program("script")]) {
        return Ok(());
    }
    let Some(lab) = lab(test)? else { return Ok(()) };
    let bundle = lab.bundle(&["sh", "-c", "tty; stty size; exit 4"], |spec| {
        spec["process"]["terminal"] = json!(true);
    })?;
    let plain = lab.command(&["run", "--bundle", bundle.path(), &bundle.id]);
    let words = std::iter::once(plain.get_program()).chain(plain.get_args());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let line = format!("stty rows 33 cols 99; exec {}", words.join(" "));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.stdin(Stdio::null());
    let ended = lab.finish(command)?;
    assert_eq!(ended.code, 4, "{}", ended.stdout);
    assert!(ended.stdout.contains("/dev/pts/0\r\n"), "{}", ended.stdout);
    if !is_foreign() {
        // runc sets the size when the program runs already.
        assert!(ended.stdout.contains("33 99\r\n"), "{}", ended.stdout);
    }
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn start_waits_for_the_container_to_be_ready() -> Result<()> {
    let Some(lab) = lab("start_waits_for_the_container_to_be_ready")? else { return Ok(()) };
    if is_foreign() {
        // The socket's place is each runtime's own.
        return Ok(());
    }
    let path = lab.sandbox.dir().join("manager.sock");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(PATIENCE))?;
    let script = "test -S $NOTIFY_SOCKET && echo there > /proc/1/cwd/tmp/seen; sleep 1000";
    let bundle = lab.bundle(&["sh", "-c", script], |_| {})?;
    // A directory for the mount, since the root is not a file system of its own.
    fs::create_dir_all(lab.sandbox.dir().join("rootfs/run"))?;
    let mut create = lab.command(&["create", "--bundle", bundle.path(), &bundle.id]);
    create.env("NOTIFY_SOCKET", &path);
    lab.finish(create)?.ok()?;
    let mut start = lab.command(&["start", &bundle.id]);
    let mut start = start.env("NOTIFY_SOCKET", &path).spawn()?;
    lab.line(&lab.sandbox.dir().join("rootfs/tmp/seen"))?;
    assert!(start.try_wait()?.is_none(), "start did not wait");
    let inside = lab.root().join(".notify").join(&bundle.id).join("notify.sock");
    UnixDatagram::unbound()?.send_to(b"STATUS=soon\nREADY=1\n", &inside)?;
    let mut message = [0; 256];
    let length = manager.recv(&mut message)?;
    let pid = lab.state(&bundle.id)?["pid"].clone();
    assert_eq!(String::from_utf8_lossy(&message[..length]), format!("READY=1\nMAINPID={pid}"));
    let status = wait::until(PATIENCE, "start", || start.try_wait().map_err(Into::into))?;
    assert!(status.success());
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert!(!inside.exists());
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn descriptors_of_a_service_manager_are_handed_on() -> Result<()> {
    let test = "descriptors_of_a_service_manager_are_handed_on";
    let Some(lab) = lab(test)? else { return Ok(()) };
    let bundle = lab.bundle(&["sh", "-c", "cat <&3; echo $LISTEN_FDS $LISTEN_PID"], |_| {})?;
    fs::write(bundle.file("handed"), "handed on\n")?;
    let script = format!(
        "exec 3<{}; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"",
        bundle.file("handed").display()
    );
    let mut command = lab.sandbox.command("sh");
    command.args(["-c", &script, "sh"]).arg(&lab.runtime).arg("--root").arg(lab.root());
    command.args(["run", "--bundle", bundle.path(), &bundle.id]);
    command.stdin(Stdio::null());
    assert_eq!(lab.finish(command)?.ok()?, "handed on\n1 1\n");
    Ok(())
}

#[test]
fn exec_goes_to_a_cgroup_below_the_containers() -> Result<()> {
    let Some(lab) = lab("exec_goes_to_a_cgroup_below_the_containers")? else { return Ok(()) };
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let parent = lab.sandbox.cgroup_parent();
    let version_1 = std::path::Path::new("/sys/fs/cgroup/pids").is_dir();
    let (mount, flag) =
        if version_1 { ("/sys/fs/cgroup/pids", "pids:below") } else { ("/sys/fs/cgroup", "below") };
    let directory = format!("{mount}{parent}/{}/below", bundle.id);
    fs::create_dir(&directory)?;
    let exec = ["exec", "--cgroup", flag, &bundle.id, "cat", "/proc/self/cgroup"];
    let seen = lab.verb(&exec)?.ok()?;
    let wanted = format!("{parent}/{}/below", bundle.id);
    assert_eq!(seen.lines().filter(|line| line.ends_with(&wanted)).count(), 1, "{seen}");
    if !is_foreign() {
        let wrong = ["exec", "--cgroup", "nosuch:below", &bundle.id, "true"];
        assert!(lab.verb(&wrong)?.err()?.contains("nosuch"));
        let outside = ["exec", "--cgroup", "../..", &bundle.id, "true"];
        assert!(lab.verb(&outside)?.err()?.contains("not below"));
    }
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "cgroupsPath: if the value does not begin with a slash, the runtime may interpret it relative to a
/// runtime-determined location": the caller's own cgroup.
#[test]
fn a_relative_cgroup_path_is_below_the_callers_own() -> Result<()> {
    let Some(lab) = lab("a_relative_cgroup_path_is_below_the_callers_own")? else { return Ok(()) };
    let own = format!("{}/caller", lab.sandbox.cgroup_parent());
    let caller = Cgroup::open(&Layout::detect()?, &own)?;
    caller.create()?;
    let bundle = lab.bundle(&["sleep", "1000"], |spec| {
        spec["linux"]["cgroupsPath"] = json!("pod/box");
        spec["linux"]["resources"] = json!({"pids": {"limit": 17}});
    })?;
    let directories: Vec<_> = caller.paths().into_values().collect();
    let joined = |dir: &PathBuf| format!("echo $$ > {}/cgroup.procs", dir.display());
    let join: Vec<String> = directories.iter().map(joined).collect();
    let script = format!("set -e; {}; exec \"$@\"", join.join("; "));
    let mut command = lab.sandbox.command("sh");
    command.args(["-c", &script, "sh"]).arg(&lab.runtime).arg("--root").arg(lab.root());
    command.args(["create", "--bundle", bundle.path(), &bundle.id]).stdin(Stdio::null());
    lab.finish(command)?.ok()?;
    // On version 2, where a cgroup with processes has none below, it is beside the caller's. The
    // unified one beside version 1 has nothing but members; runc takes another path there.
    let own = if caller.is_v2() { lab.sandbox.cgroup_parent().to_owned() } else { own };
    let path = format!("{own}/pod/box");
    let pid = lab.state(&bundle.id)?["pid"].clone();
    let seen = fs::read_to_string(lab.sandbox.proc_dir().join(format!("{pid}/cgroup")))?;
    let places = seen.lines().filter(|line| line.ends_with(&format!(":{path}"))).count();
    assert!(places >= directories.len() - usize::from(is_foreign()), "{seen}");
    assert_eq!(davit_testkit::cgroup::read("pids", &path, "pids.max")?, "17");
    lab.verb(&["start", &bundle.id])?.ok()?;
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert!(!lab.cgroups_left().iter().any(|left| left.ends_with("/box")));
    Ok(())
}

#[test]
fn exec_in_a_paused_container_waits_when_it_may() -> Result<()> {
    let Some(lab) = lab("exec_in_a_paused_container_waits_when_it_may")? else { return Ok(()) };
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    lab.verb(&["pause", &bundle.id])?.ok()?;
    let mut exec = lab.command(&["exec", "--ignore-paused", &bundle.id, "true"]).spawn()?;
    // It has joined the frozen cgroup, or will find it thawed: it ends well either way.
    lab.verb(&["resume", &bundle.id])?.ok()?;
    let status = wait::until(PATIENCE, "exec", || exec.try_wait().map_err(Into::into))?;
    assert!(status.success());
    let warned = lab.verb(&["exec", "--cap", "CAP_NOSUCH", &bundle.id, "true"])?;
    assert_eq!(warned.code, 0, "{}", warned.stderr);
    assert!(warned.stderr.contains("ignoring unknown or unavailable capabilities"));
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    Ok(())
}

#[test]
fn kill_all_reaches_every_process_without_a_pid_namespace() -> Result<()> {
    let test = "kill_all_reaches_every_process_without_a_pid_namespace";
    let Some(lab) = lab(test)? else { return Ok(()) };
    let bundle = lab.start(&["sh", "-c", "sleep 1000 & exec sleep 1000"], |spec| {
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
    })?;
    let pids = || -> Result<Vec<i32>> {
        let text = lab.verb(&["ps", "--format", "json", &bundle.id])?.ok()?;
        Ok(serde_json::from_str(&text)?)
    };
    wait::until_true(PATIENCE, "both processes", || Ok(pids()?.len() == 2))?;
    let pids = pids()?;
    lab.verb(&["kill", "--all", &bundle.id, "KILL"])?.ok()?;
    wait::until_true(PATIENCE, "their end", || {
        let stat =
            |pid: &i32| fs::read_to_string(lab.sandbox.proc_dir().join(format!("{pid}/stat")));
        Ok(pids.iter().all(|pid| stat(pid).map_or(true, |stat| stat.contains(") Z "))))
    })?;
    lab.until(&bundle.id, "stopped")?;
    lab.verb(&["delete", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn no_pivot_moves_the_root() -> Result<()> {
    let Some(lab) = lab("no_pivot_moves_the_root")? else { return Ok(()) };
    let bundle = lab.bundle(&["sh", "-c", "ls -d /bin /home 2>&1; cat /etc/passwd"], |_| {})?;
    let ended = lab.verb(&["run", "--no-pivot", "--bundle", bundle.path(), &bundle.id])?.ok()?;
    let expected = "ls: /home: No such file or directory\n/bin\nroot:x:0:0:root:/root:/bin/sh\n";
    assert_eq!(ended, expected);
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}
