//! Verbs and flags beyond the specification's lifecycle.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::{Receiver, is_foreign, lab, read_until};

#[test]
fn run_gives_the_programs_exit_status_and_deletes() -> Result<()> {
    let Some(lab) = lab("run_gives_the_programs_exit_status_and_deletes")? else { return Ok(()) };
    let bundle = lab.bundle(&["sh", "-c", "echo out; echo err >&2; exit 7"], |_| {})?;
    let ended = lab.verb(&["run", "--bundle", bundle.path(), &bundle.id])?;
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (7, "out\n", "err\n"));
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    let bundle = lab.bundle(&["sh", "-c", "kill -9 $$; kill -TERM -1"], |spec| {
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
    })?;
    assert_eq!(lab.verb(&["run", "--bundle", bundle.path(), &bundle.id])?.code, 137);
    Ok(())
}

#[test]
fn errors_are_json_lines_in_the_log() -> Result<()> {
    let Some(lab) = lab("errors_are_json_lines_in_the_log")? else { return Ok(()) };
    let log = lab.sandbox.dir().join("log.json");
    let path = log.to_str().context("a plain path")?;
    let last = || -> Result<Value> {
        let text = fs::read_to_string(&log)?;
        Ok(serde_json::from_str(text.lines().last().context("a line")?)?)
    };
    let error = lab.verb(&["--log", path, "--log-format", "json", "start", "nosuch"])?.err()?;
    assert_eq!(error.trim(), "container does not exist");
    let line = last()?;
    assert_eq!(
        (&line["level"], &line["msg"]),
        (&json!("error"), &json!("container does not exist"))
    );
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    if is_foreign() {
        return Ok(());
    }
    // Also what is wrong with the command line itself.
    lab.verb(&["--log", path, "--log-format=json", "start", "--nosuch"])?.err()?;
    assert!(last()?["msg"].as_str().is_some_and(|text| text.contains("--nosuch")));
    Ok(())
}

#[test]
fn a_terminal_goes_to_the_console_socket() -> Result<()> {
    let Some(lab) = lab("a_terminal_goes_to_the_console_socket")? else { return Ok(()) };
    let bundle = lab.bundle(&["sh", "-c", "read line; echo got $line; stty size"], |spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({"height": 31, "width": 97});
    })?;
    let error = lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.err()?;
    assert!(error.contains("without setting console socket"), "{error}");
    let socket = Receiver::new(bundle.file("console"))?;
    let path = socket.path.to_str().context("a plain path")?;
    let create = ["create", "--bundle", bundle.path(), "--console-socket", path, &bundle.id];
    lab.verb(&create)?.ok()?;
    let (name, master) = socket.receive()?;
    assert!(name.starts_with("/dev/"), "{name}");
    lab.verb(&["start", &bundle.id])?.ok()?;
    fs::File::from(master.try_clone()?).write_all(b"hello\n")?;
    read_until(&master, "got hello\r\n31 97")?;
    lab.until(&bundle.id, "stopped")?;
    lab.verb(&["delete", &bundle.id])?.ok()?;
    Ok(())
}

#[test]
fn pause_holds_the_processes_and_refuses_exec() -> Result<()> {
    let Some(lab) = lab("pause_holds_the_processes_and_refuses_exec")? else { return Ok(()) };
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    lab.verb(&["pause", &bundle.id])?.ok()?;
    assert_eq!(lab.state(&bundle.id)?["status"], "paused");
    let refused = lab.verb(&["exec", &bundle.id, "true"])?.err()?;
    assert!(refused.contains("cannot exec in a paused container"), "{refused}");
    let again = lab.verb(&["pause", &bundle.id])?.err()?;
    assert!(again.contains("container not running"), "{again}");
    lab.verb(&["resume", &bundle.id])?.ok()?;
    let again = lab.verb(&["resume", &bundle.id])?.err()?;
    assert!(again.contains("container not paused"), "{again}");
    lab.verb(&["exec", &bundle.id, "true"])?.ok()?;
    lab.verb(&["pause", &bundle.id])?.ok()?;
    // Frozen, it would never see the signal.
    lab.verb(&["kill", &bundle.id, "KILL"])?.ok()?;
    lab.until(&bundle.id, "stopped")?;
    lab.verb(&["delete", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn list_and_ps_show_containers_and_processes() -> Result<()> {
    let Some(lab) = lab("list_and_ps_show_containers_and_processes")? else { return Ok(()) };
    assert_eq!(lab.verb(&["list", "--format", "json"])?.ok()?.trim(), "null");
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let list: Value = serde_json::from_str(&lab.verb(&["list", "--format", "json"])?.ok()?)?;
    assert_eq!((&list[0]["id"], &list[0]["owner"]), (&json!(bundle.id), &json!("root")));
    assert_eq!(lab.verb(&["list", "--quiet"])?.ok()?, format!("{}\n", bundle.id));
    let table = lab.verb(&["list"])?.ok()?;
    assert!(table.starts_with("ID ") && table.contains(bundle.path()), "{table}");
    let pid = lab.state(&bundle.id)?["pid"].clone();
    let pids: Value = serde_json::from_str(&lab.verb(&["ps", "-f", "json", &bundle.id])?.ok()?)?;
    assert_eq!(pids, json!([pid]));
    let table = lab.verb(&["ps", &bundle.id])?.ok()?;
    assert!(table.lines().count() == 2 && table.contains("sleep 1000"), "{table}");
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    Ok(())
}

/// What only this program promises.
#[test]
fn a_created_container_shows_no_path_of_the_host() -> Result<()> {
    let Some(lab) = lab("a_created_container_shows_no_path_of_the_host")? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    let bundle = lab.create(&["sleep", "1000"], |_| {})?;
    let seen = lab.verb(&["exec", &bundle.id, "cat", "/proc/1/cmdline"])?.ok()?;
    assert!(seen.starts_with("davit-runc init\0") && !seen.contains('/'), "{seen:?}");
    let mode = |path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o777) };
    assert_eq!(mode(lab.root().join(&bundle.id))?, 0o700);
    assert_eq!(mode(lab.root().join(&bundle.id).join("state.json"))?, 0o600);
    for verb in [["pause", &bundle.id], ["resume", &bundle.id], ["start", &bundle.id]] {
        lab.verb(&verb)?.ok()?;
    }
    assert_eq!(lab.state(&bundle.id)?["status"], "running");
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    Ok(())
}

#[test]
fn descriptors_and_pidfd_are_handed_on() -> Result<()> {
    let Some(lab) = lab("descriptors_and_pidfd_are_handed_on")? else { return Ok(()) };
    if is_foreign() {
        // runc 1.1 has no --pidfd-socket.
        return Ok(());
    }
    let script = "ls /proc/self/fd; cat <&3; echo $LISTEN_FDS";
    let bundle = lab.bundle(&["sh", "-c", script], |_| {})?;
    let socket = Receiver::new(bundle.file("pidfd"))?;
    let path = socket.path.to_str().context("a plain path")?;
    fs::write(bundle.file("handed"), "handed on\n")?;
    let wrapper = format!("exec 3<{} 4</dev/null; exec \"$@\"", bundle.file("handed").display());
    let mut command = lab.sandbox.command("sh");
    command.args(["-c", &wrapper, "sh"]).arg(&lab.runtime).arg("--root").arg(lab.root());
    command.args(["run", "--preserve-fds", "1", "--pidfd-socket", path]);
    command.args(["--bundle", bundle.path(), &bundle.id]).stdin(std::process::Stdio::null());
    let ended = lab.finish(command)?;
    // The last one is ls' own.
    assert_eq!(ended.stdout, "0\n1\n2\n3\n4\nhanded on\n\n", "{}", ended.stderr);
    let (_, pidfd) = socket.receive()?;
    let info = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(&pidfd.as_fd())
    ))?;
    assert!(info.contains("Pid:"), "{info}");
    let missing =
        lab.verb(&["run", "--preserve-fds", "5", "--bundle", bundle.path(), "x"])?.err()?;
    assert!(missing.contains("unable to stat preserved-fd"), "{missing}");
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// Killed in the middle of its work, `create` leaves what `delete --force` finds.
#[test]
fn a_create_that_was_killed_can_be_deleted() -> Result<()> {
    let Some(lab) = lab("a_create_that_was_killed_can_be_deleted")? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    // A hook that never ends holds it there.
    let bundle = lab.bundle(&["true"], |spec| {
        let busybox = davit_testkit::paths::program_or_name("busybox");
        let hook = json!({"path": busybox, "args": ["sleep", "1000"]});
        spec["hooks"] = json!({"createRuntime": [hook]});
    })?;
    let mut child = lab.command(&["create", "--bundle", bundle.path(), &bundle.id]).spawn()?;
    davit_testkit::wait::until_true(crate::support::PATIENCE, "the hook", || {
        Ok(lab.sandbox.processes().iter().any(|(_, name)| name == "busybox" || name == "sleep"))
    })?;
    // The oldest one is the creator, the other its container's first process.
    lab.sandbox.sh("kill -9 $(pgrep -o -x davit-runc)")?.ok()?;
    child.wait()?;
    // Nobody has told it yet that this will never be one.
    assert_eq!(lab.verb(&["list", "--quiet"])?.ok()?, format!("{}\n", bundle.id));
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

const VERBS: &[&str] = &[
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
];

#[test]
fn without_a_verb_there_is_help() -> Result<()> {
    let Some(lab) = lab("without_a_verb_there_is_help")? else { return Ok(()) };
    for arguments in [&[][..], &["--debug"], &["--help"]] {
        let mut command = lab.sandbox.command(&lab.runtime);
        command.args(arguments).stdin(std::process::Stdio::null());
        let help = lab.finish(command)?.ok()?;
        for verb in ["create", "checkpoint", "features", "--systemd-cgroup"] {
            assert!(help.contains(verb), "{help}");
        }
    }
    for verb in VERBS {
        let help = lab.verb(&[verb, "--help"])?.ok()?;
        assert!(help.contains(verb), "{help}");
        assert!(is_foreign() || help.contains(&format!("Example: davit-runc {verb}")), "{help}");
    }
    Ok(())
}

#[test]
fn update_and_events_show_the_limits() -> Result<()> {
    let Some(lab) = lab("update_and_events_show_the_limits")? else { return Ok(()) };
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let stats = || -> Result<Value> {
        let text = lab.verb(&["events", "--stats", &bundle.id])?.ok()?;
        Ok(serde_json::from_str(&text)?)
    };
    let limits = ["--memory", "64M", "--pids-limit", "77", "--memory-swap", "-1"];
    lab.verb(&[&["update"], &limits[..], &[&bundle.id]].concat())?.ok()?;
    let seen = stats()?;
    assert_eq!((&seen["type"], &seen["id"]), (&json!("stats"), &json!(bundle.id)));
    assert_eq!(seen["data"]["memory"]["usage"]["limit"], 67_108_864);
    assert_eq!(seen["data"]["pids"], json!({"current": 1, "limit": 77}));
    assert!(seen["data"]["cpu"]["usage"]["total"].as_u64().is_some_and(|total| total > 0));

    let file = bundle.file("resources.json");
    let path = file.to_str().context("a plain path")?;
    fs::write(&file, json!({"pids": {"limit": 55}}).to_string())?;
    lab.verb(&["update", "--resources", path, &bundle.id])?.ok()?;
    assert_eq!(stats()?["data"]["pids"]["limit"], 55);
    let warned = lab.verb(&["update", "--kernel-memory", "1000000", &bundle.id])?;
    assert!(warned.code == 0 && warned.stderr.contains("Kernel memory settings are ignored"));
    let refused = lab.verb(&["update", "--l3-cache-schema", "L3:0=f", &bundle.id])?.err()?;
    assert!(refused.contains("l3 cache schema is not enabled"), "{refused}");
    if !is_foreign() {
        // runc takes what it doesn't know.
        fs::write(&file, json!({"memory": {"limt": 1}}).to_string())?;
        let refused = lab.verb(&["update", "-r", path, &bundle.id])?.err()?;
        assert!(refused.contains("memory.limt"), "{refused}");
    }
    for list in [json!([]), json!({"pids": [5]}), json!({"memory": [5_000_000]})] {
        fs::write(&file, list.to_string())?;
        lab.verb(&["update", "-r", path, &bundle.id])?.err()?;
    }
    assert_eq!(stats()?["data"]["pids"]["limit"], 55);
    let parent = lab.sandbox.cgroup_parent();
    let blkio = Path::new("/sys/fs/cgroup/blkio").join(parent.trim_start_matches('/'));
    let weighs = |file: &str| blkio.join(&bundle.id).join(file).exists();
    if blkio.is_dir() && !weighs("blkio.weight") && !weighs("blkio.bfq.weight") {
        let refused = lab.verb(&["update", "--blkio-weight", "500", &bundle.id])?.err()?;
        assert!(refused.contains("blkio"), "{refused}");
    }
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn events_tell_of_an_oom_kill_and_end_with_the_container() -> Result<()> {
    let test = "events_tell_of_an_oom_kill_and_end_with_the_container";
    let Some(lab) = lab(test)? else { return Ok(()) };
    if is_foreign() {
        // runc tells of an exhausted limit as often as it is hit.
        return Ok(());
    }
    let script = "x=a; while :; do x=$x$x$x; done";
    let bundle = lab.create(&["sh", "-c", script], |spec| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 8 << 20, "swap": 8 << 20});
    })?;
    let output = bundle.file("events");
    let mut events = lab.command(&["events", "--interval", "100ms", &bundle.id]);
    events.stdout(fs::File::create(&output)?);
    let mut events = events.spawn()?;
    // The first counters say that it watches.
    lab.line(&output)?;
    lab.verb(&["start", &bundle.id])?.ok()?;
    let ended = davit_testkit::wait::until(crate::support::PATIENCE, "the end", || {
        events.try_wait().map_err(Into::into)
    });
    assert!(ended?.success());
    let text = fs::read_to_string(&output)?;
    let oom = json!({"type": "oom", "id": bundle.id}).to_string();
    assert_eq!(text.lines().filter(|line| **line == oom).count(), 1, "{text}");
    lab.verb(&["delete", &bundle.id])?.ok()?;
    Ok(())
}

/// With a terminal the failing child once died of its own destructors, and its reason with it.
#[test]
fn a_failing_program_with_a_terminal_is_told() -> Result<()> {
    let Some(lab) = lab("a_failing_program_with_a_terminal_is_told")? else { return Ok(()) };
    let bundle = lab.bundle(&["nosuch"], |spec| spec["process"]["terminal"] = json!(true))?;
    let socket = Receiver::new(bundle.file("console"))?;
    let path = socket.path.to_str().context("a plain path")?;
    let create = ["create", "--bundle", bundle.path(), "--console-socket", path, &bundle.id];
    let error = lab.verb(&create)?.err()?;
    assert!(error.contains("executable file not found in $PATH"), "{error}");
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}
