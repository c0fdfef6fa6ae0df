//! The lifecycle of the runtime specification (runtime.md), rule by rule; each test is named after
//! its section.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::json;

use crate::support::{is_foreign, lab};

/// "The state of a container includes the following properties": ociVersion, id, status, pid (REQUIRED
/// when created or running on Linux), bundle, annotations.
#[test]
fn state_has_the_properties_of_each_status() -> Result<()> {
    let Some(lab) = lab("state_has_the_properties_of_each_status")? else { return Ok(()) };
    let bundle = lab.create(&["sleep", "1000"], |spec| {
        spec["annotations"] = json!({"org.example.key": "value"});
    })?;
    let state = lab.state(&bundle.id)?;
    assert_eq!(state["status"], "created");
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    assert_eq!(state["id"], bundle.id);
    assert_eq!(state["bundle"], bundle.path());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    let pid = state["pid"].as_i64().expect("a number");
    assert!(lab.sandbox.proc_dir().join(pid.to_string()).exists());

    lab.verb(&["start", &bundle.id])?.ok()?;
    let state = lab.state(&bundle.id)?;
    assert_eq!((state["status"].clone(), state["pid"].clone()), (json!("running"), json!(pid)));

    lab.verb(&["kill", &bundle.id, "KILL"])?.ok()?;
    lab.until(&bundle.id, "stopped")?;
    assert_eq!(lab.state(&bundle.id)?["pid"], 0);
    lab.verb(&["delete", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "Create: This operation MUST generate an error if it is not provided a path to the bundle and the
/// container ID", and "if the ID provided is not unique across all containers within the scope of the
/// runtime".
#[test]
fn create_needs_a_bundle_and_a_unique_id() -> Result<()> {
    let Some(lab) = lab("create_needs_a_bundle_and_a_unique_id")? else { return Ok(()) };
    let bundle = lab.create(&["sleep", "1000"], |_| {})?;
    lab.verb(&["create", "--bundle", bundle.path()])?.err()?;
    lab.verb(&["create", "--bundle", "/nonexistent", "other"])?.err()?;
    let again = lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.err()?;
    assert!(again.contains("container with given ID already exists"), "{again}");
    // The first one is none the worse.
    assert_eq!(lab.state(&bundle.id)?["status"], "created");
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "Create: the runtime MUST NOT run process.args until the start operation", and "any changes made to
/// config.json after this operation will not have an effect on the container".
#[test]
fn create_does_not_run_the_program_and_fixes_the_configuration() -> Result<()> {
    let test = "create_does_not_run_the_program_and_fixes_the_configuration";
    let Some(lab) = lab(test)? else { return Ok(()) };
    let script = "echo $WHO > /out/who; exec sleep 1000";
    let bundle = lab.bundle(&["sh", "-c", script], |_| {})?;
    let path = bundle.file("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    fs::create_dir(bundle.file("out"))?;
    spec["mounts"].as_array_mut().expect("a list").push(json!({
        "destination": "/out", "type": "bind", "source": bundle.file("out"), "options": ["bind"],
    }));
    spec["process"]["env"] = json!(["PATH=/bin", "WHO=first"]);
    fs::write(&path, spec.to_string())?;
    lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.ok()?;
    spec["process"]["env"] = json!(["PATH=/bin", "WHO=second"]);
    fs::write(&path, spec.to_string())?;
    assert!(!bundle.file("out/who").exists());
    lab.verb(&["start", &bundle.id])?.ok()?;
    assert_eq!(lab.line(&bundle.file("out/who"))?, "first\n");
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    Ok(())
}

/// "Create: if the runtime cannot apply a property as specified in the configuration, it MUST generate
/// an error and a new container MUST NOT be created."
#[test]
fn create_that_fails_leaves_no_container() -> Result<()> {
    let Some(lab) = lab("create_that_fails_leaves_no_container")? else { return Ok(()) };
    let wrong: [fn(&mut serde_json::Value); 4] = [
        |spec| spec["process"]["args"] = json!(["nosuch"]),
        |spec| spec["root"]["path"] = json!("/nonexistent"),
        |spec| spec["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "pid"}]),
        |spec| spec["linux"]["sysctl"] = json!({"kernel.pid_max": "1"}),
    ];
    for change in wrong {
        let bundle = lab.bundle(&["true"], change)?;
        lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.err()?;
        lab.verb(&["state", &bundle.id])?.err()?;
    }
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "Start: this operation MUST generate an error if it is not provided the container ID", and "attempting
/// to start a container that is not created MUST have no effect on the container and MUST generate an
/// error".
#[test]
fn start_is_for_created_containers_only() -> Result<()> {
    let Some(lab) = lab("start_is_for_created_containers_only")? else { return Ok(()) };
    lab.verb(&["start"])?.err()?;
    let none = lab.verb(&["start", "nosuch"])?.err()?;
    assert!(none.contains("container does not exist"), "{none}");
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let running = lab.verb(&["start", &bundle.id])?.err()?;
    assert!(running.contains("cannot start an already running container"), "{running}");
    assert_eq!(lab.state(&bundle.id)?["status"], "running");
    lab.verb(&["kill", &bundle.id, "KILL"])?.ok()?;
    lab.until(&bundle.id, "stopped")?;
    let stopped = lab.verb(&["start", &bundle.id])?.err()?;
    assert!(stopped.contains("cannot start a container that has stopped"), "{stopped}");
    lab.verb(&["delete", &bundle.id])?.ok()?;
    Ok(())
}

/// "Kill: attempting to send a signal to a container that is neither created nor running MUST have no
/// effect on the container and MUST generate an error. This operation MUST send the specified signal to
/// the container process."
#[test]
fn kill_sends_the_signal_to_what_is_created_or_running() -> Result<()> {
    let test = "kill_sends_the_signal_to_what_is_created_or_running";
    let Some(lab) = lab(test)? else { return Ok(()) };
    lab.verb(&["kill", "nosuch", "KILL"])?.err()?;
    let created = lab.create(&["sleep", "1000"], |_| {})?;
    lab.verb(&["kill", &created.id, "SIGKILL"])?.ok()?;
    lab.until(&created.id, "stopped")?;
    let stopped = lab.verb(&["kill", &created.id, "KILL"])?.err()?;
    assert!(stopped.contains("container not running"), "{stopped}");
    lab.verb(&["delete", &created.id])?.ok()?;

    for (signal, more) in [("TERM", None), ("INT", None), ("HUP", None), ("TERM", Some("--all"))] {
        let created = lab.create(&["sleep", "1000"], |_| {})?;
        for harmless in ["WINCH", "USR1", "ALRM", "40"] {
            lab.verb(&["kill", &created.id, harmless])?.ok()?;
        }
        assert_eq!(lab.state(&created.id)?["status"], "created");
        let words: Vec<&str> =
            ["kill"].into_iter().chain(more).chain([&*created.id, signal]).collect();
        lab.verb(&words)?.ok()?;
        lab.until(&created.id, "stopped")?;
        lab.verb(&["delete", &created.id])?.ok()?;
    }

    let script =
        "trap 'echo got > /proc/1/cwd/tmp/got; exit' USR1; echo ready; while :; do sleep 1; done";
    let output = lab.sandbox.dir().join("ready");
    let running = lab.bundle(&["sh", "-c", script], |_| {})?;
    let mut command = lab.command(&["run", "--detach", "--bundle", running.path(), &running.id]);
    command.stdout(fs::File::create(&output)?).stderr(Stdio::null());
    assert!(command.status()?.success());
    assert_eq!(lab.line(&output)?, "ready\n");
    for number in ["0", "10"] {
        // 0 asks only; runc 1.1 doesn't know it.
        if number == "0" && is_foreign() {
            continue;
        }
        lab.verb(&["kill", &running.id, number])?.ok()?;
    }
    lab.until(&running.id, "stopped")?;
    lab.verb(&["delete", &running.id])?.ok()?;
    assert_eq!(fs::read_to_string(lab.sandbox.dir().join("rootfs/tmp/got"))?, "got\n");
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "Delete: attempting to delete a container that is not stopped MUST have no effect on the container
/// and MUST generate an error. Deleting a container MUST delete the resources that were created during
/// the create step. Once a container is deleted its ID MAY be used by a subsequent container."
#[test]
fn delete_is_for_stopped_containers_and_leaves_nothing() -> Result<()> {
    let test = "delete_is_for_stopped_containers_and_leaves_nothing";
    let Some(lab) = lab(test)? else { return Ok(()) };
    lab.verb(&["delete"])?.err()?;
    lab.verb(&["delete", "nosuch"])?.err()?;
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let running = lab.verb(&["delete", &bundle.id])?.err()?;
    assert!(running.contains("that is not stopped: running"), "{running}");
    assert_eq!(lab.state(&bundle.id)?["status"], "running");
    lab.verb(&["kill", &bundle.id, "KILL"])?.ok()?;
    lab.until(&bundle.id, "stopped")?;
    lab.verb(&["delete", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.ok()?;
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// The hooks' order, and that each gets the state with the status of its moment.
#[test]
fn lifecycle_runs_hooks_in_order_with_the_state() -> Result<()> {
    let Some(lab) = lab("lifecycle_runs_hooks_in_order_with_the_state")? else { return Ok(()) };
    let bundle = lab.bundle(&["true"], |_| {})?;
    let path = bundle.file("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    let log = bundle.file("hooks");
    let busybox = davit_testkit::paths::program_or_name("busybox");
    let hook = |name: &str| {
        let script = format!(
            "echo {name} $(sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') >> {}",
            log.display()
        );
        json!([{"path": busybox, "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    spec["hooks"] = json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"), "poststart": hook("poststart"),
        "poststop": hook("poststop"),
    });
    fs::write(&path, spec.to_string())?;
    let told = || fs::read_to_string(&log).unwrap_or_default();
    lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.ok()?;
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    if !is_foreign() {
        // runc 1.1 runs poststart hooks when it has created.
        assert_eq!(names(&told()), ["prestart", "createRuntime", "createContainer"]);
    }
    lab.verb(&["start", &bundle.id])?.ok()?;
    lab.until(&bundle.id, "stopped")?;
    lab.verb(&["delete", &bundle.id])?.ok()?;
    let told = told();
    assert_eq!(names(&told)[3..], ["poststart", "poststop"]);
    assert!(told.contains("poststop stopped\n"), "{told}");
    Ok(())
}

/// "createRuntime: if any hook fails, the runtime MUST generate an error, stop the container, and
/// continue the lifecycle at step 12 (destroyed)". A poststart hook that fails is a warning in 1.0.2's
/// text, and the lifecycle goes on.
#[test]
fn lifecycle_ends_with_a_failing_hook_before_the_start() -> Result<()> {
    let test = "lifecycle_ends_with_a_failing_hook_before_the_start";
    let Some(lab) = lab(test)? else { return Ok(()) };
    let fails =
        json!([{"path": davit_testkit::paths::program_or_name("busybox"), "args": ["false"]}]);
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = lab.bundle(&["true"], |spec| spec["hooks"] = json!({kind: fails}))?;
        let error = lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.err()?;
        assert!(error.contains("hook"), "{kind}: {error}");
        lab.verb(&["state", &bundle.id])?.err()?;
    }
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "The container MUST be destroyed by undoing the steps performed during create phase. The poststop
/// hooks MUST be invoked by the runtime. If any poststop hook fails, the runtime MUST log a warning, but
/// the remaining hooks and lifecycle continue as if the hook had succeeded": after a failed create, too.
#[test]
fn create_that_fails_runs_the_poststop_hooks_when_all_is_undone() -> Result<()> {
    let test = "create_that_fails_runs_the_poststop_hooks_when_all_is_undone";
    let Some(lab) = lab(test)? else { return Ok(()) };
    let busybox = davit_testkit::paths::program_or_name("busybox");
    let failing = json!([{"path": busybox, "args": ["false"]}]);
    let change = |kind: &str, spec: &mut serde_json::Value| match kind {
        "program" => spec["process"]["args"] = json!(["/nosuch"]),
        "mount" => {
            let mount = json!({"destination": "/x", "source": "/nosuch", "options": ["bind"]});
            spec["mounts"].as_array_mut().expect("mounts").push(mount);
        }
        kind => spec["hooks"][kind] = failing.clone(),
    };
    for kind in ["prestart", "createRuntime", "createContainer", "mount", "program"] {
        let bundle = lab.bundle(&["true"], |_| {})?;
        let (path, told) = (bundle.file("config.json"), bundle.file("told"));
        let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        let state = lab.root().join(&bundle.id);
        let script = format!("ls {} >&2 || cat > {}", state.display(), told.display());
        let poststop = json!({"path": busybox, "args": ["sh", "-c", script], "env": ["PATH=/bin"]});
        spec["hooks"] = json!({"poststop": [failing[0], poststop]});
        if is_foreign() {
            // runc stops at the first that fails.
            spec["hooks"]["poststop"] = json!([poststop]);
        }
        change(kind, &mut spec);
        fs::write(&path, spec.to_string())?;
        let error = lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.err()?;
        let told = fs::read_to_string(&told).with_context(|| format!("{kind}: {error}"))?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        assert_eq!((&told["id"], &told["status"]), (&json!(bundle.id), &json!("stopped")));
        if !is_foreign() {
            let warning = "level=warning msg=\"error running poststop hook #0: ";
            assert!(error.contains(warning), "{kind}: {error}");
        }
    }
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "ociVersion MUST be in SemVer v2.0.0 format and specifies the version of the specification"; one of
/// another major version can't be understood.
#[test]
fn configuration_of_another_major_version_is_refused() -> Result<()> {
    let test = "configuration_of_another_major_version_is_refused";
    let Some(lab) = lab(test)? else { return Ok(()) };
    if is_foreign() {
        // runc 1.1 takes any.
        return Ok(());
    }
    for version in ["2.0.0", "0.9.0", "latest"] {
        let bundle = lab.bundle(&["true"], |spec| spec["ociVersion"] = json!(version))?;
        let error = lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?.err()?;
        assert!(error.contains("unsupported ociVersion"), "{error}");
    }
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// "creating: the container is being created"; what its creator didn't finish is never started.
/// About this program alone: runc 1.1 says `created` or `stopped`, by luck.
#[test]
fn create_that_is_killed_in_a_hook_leaves_nothing_to_start() -> Result<()> {
    let test = "create_that_is_killed_in_a_hook_leaves_nothing_to_start";
    let Some(lab) = lab(test)?.filter(|_| !is_foreign()) else { return Ok(()) };
    let busybox = davit_testkit::paths::program_or_name("busybox");
    for kind in ["createRuntime", "createContainer"] {
        let bundle = lab.bundle(&["true"], |_| {})?;
        let path = bundle.file("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        let begun = bundle.file("begun");
        let script =
            format!("echo begun > {}; exec {} sleep 600", begun.display(), busybox.display());
        spec["hooks"] = json!({kind: [{"path": busybox, "args": ["sh", "-c", script]}]});
        fs::write(&path, spec.to_string())?;
        let mut command = lab.command(&["create", "--bundle", bundle.path(), &bundle.id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut create = command.spawn()?;
        lab.line(&begun)?;
        assert_eq!(lab.state(&bundle.id)?["status"], "creating", "{kind}");
        // What enters the sandbox waits for the runtime, its only child.
        let entered = create.id();
        let child = fs::read_to_string(format!("/proc/{entered}/task/{entered}/children"))?;
        let pid = rustix::process::Pid::from_raw(child.trim().parse()?).context("a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        create.wait()?;
        assert_eq!(lab.state(&bundle.id)?["status"], "stopped", "{kind}");
        let error = lab.verb(&["start", &bundle.id])?.err()?;
        assert!(error.contains("cannot start a container that has stopped"), "{kind}: {error}");
        lab.verb(&["delete", &bundle.id])?.ok()?;
    }
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}
