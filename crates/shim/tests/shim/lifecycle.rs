//! A container's life as the daemon sees it over the control socket: output, exit, restarts, failures.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Container, Host, can_run};
use anyhow::{Context, Result, bail};
use davit_monitor::client::Connection;
use davit_monitor::protocol::{Event, Request};
use davit_monitor::status;
use davit_monitor::task::{Phase, RestartPolicy, RestartWhen};
use davit_testkit::{paths, wait};
use serde_json::json;

#[test]
fn exit_codes_and_signals_are_told_and_nothing_stays() -> Result<()> {
    if !can_run("exit_codes_and_signals_are_told_and_nothing_stays") {
        return Ok(());
    }
    let host = Host::new()?;
    for (args, signal, code) in [
        (&["true"][..], None, 0),
        (&["sh", "-c", "exit 1"], None, 1),
        (&["sh", "-c", "kill -9 $$"], None, 0), // a namespace's first process is safe from itself
        (&["sleep", "1000"], Some(9), 137),
    ] {
        let mut running = host.run(&Container { args, ..Container::default() })?;
        if let Some(signal) = signal {
            running.signal(signal, true)?;
        }
        let exit = running.ended()?;
        assert_eq!((exit.code, exit.oom_killed), (code, false), "{args:?}");
        let status = status::read(&running.dir)?;
        assert_eq!((status.phase, status.last_exit), (Phase::Exited, Some(exit)));
        assert!(!running.dir.join("monitor.sock").exists());
        assert_eq!(host.leftovers()?, Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn hooks_of_all_kinds_run_under_the_monitor_as_under_the_verbs() -> Result<()> {
    if !can_run("hooks_of_all_kinds_run_under_the_monitor_as_under_the_verbs") {
        return Ok(());
    }
    let host = Host::new()?;
    let busybox = paths::program_or_name("busybox");
    let log = host.sandbox.dir().join("hooks");
    let hook = |kind: &str| {
        let script = format!("echo {kind} >> {}", log.display());
        json!([{"path": busybox, "args": ["sh", "-c", script]}])
    };
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let mut hooks = json!({});
    for kind in kinds {
        hooks[kind] = hook(kind);
    }
    // In the container, where the log can't be seen.
    hooks["startContainer"] = json!([{"path": "/bin/touch", "args": ["touch", "/started"]}]);
    let args = &["sh", "-c", "test -e /started && exec sleep 1000"];
    let mut running = host.run(&Container { args, hooks, ..Container::default() })?;
    let told = || fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(told().lines().collect::<Vec<_>>(), kinds[..4]);
    let mut exec = host.exec(&running, &["true"], "closed")?;
    exec.started()?;
    exec.ended()?;
    running.signal(9, true)?;
    assert_eq!(running.ended()?.code, 137);
    assert_eq!(told().lines().collect::<Vec<_>>(), kinds);
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn every_line_of_both_streams_is_in_the_log_after_the_exit() -> Result<()> {
    if !can_run("every_line_of_both_streams_is_in_the_log_after_the_exit") {
        return Ok(());
    }
    let host = Host::new()?;
    let script = "seq 1 100000 & seq 200001 300000 >&2; wait";
    let mut running =
        host.run(&Container { args: &["sh", "-c", script], ..Container::default() })?;
    assert_eq!(running.ended()?.code, 0);
    let lines = |from: u32, to: u32| (from..=to).map(|n| format!("{n}\n")).collect::<String>();
    assert!(running.logged("stdout")? == lines(1, 100_000), "stdout is not complete");
    assert!(running.logged("stderr")? == lines(200_001, 300_000), "stderr is not complete");
    Ok(())
}

#[test]
fn a_program_that_is_missing_leaves_nothing() -> Result<()> {
    if !can_run("a_program_that_is_missing_leaves_nothing") {
        return Ok(());
    }
    let host = Host::new()?;
    // Nothing is sent: unread by a shim that ends, it would come back as an error before the event.
    let mut running = host.create(&Container { args: &["nosuch"], ..Container::default() })?;
    let failure = loop {
        match running.event()? {
            Event::Created { .. } => {}
            Event::Failed(failure) => break failure,
            other => bail!("not failed: {other:?}"),
        }
    };
    let expected = "exec: \"nosuch\": executable file not found in $PATH";
    assert!(failure.message.contains(expected), "{failure:?}");
    running.gone()?;
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    assert!(!running.dir.join("monitor.sock").exists());
    Ok(())
}

#[test]
fn an_unknown_user_leaves_nothing() -> Result<()> {
    if !can_run("an_unknown_user_leaves_nothing") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.create(&Container { user: "nosuch", ..Container::default() })?;
    let Event::Failed(failure) = running.event()? else { bail!("not failed") };
    let expected = "unable to find user nosuch: no matching entries in passwd file";
    assert_eq!(failure.message, expected);
    running.gone()?;
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn the_container_and_its_log_go_on_without_a_daemon() -> Result<()> {
    if !can_run("the_container_and_its_log_go_on_without_a_daemon") {
        return Ok(());
    }
    let host = Host::new()?;
    let script = "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); usleep 2000; done; exit 5";
    let mut running =
        host.run(&Container { args: &["sh", "-c", script], ..Container::default() })?;
    running.control = None;
    std::thread::sleep(Duration::from_millis(50));
    running.control = Some(Connection::connect(&running.dir)?);
    let Event::Hello { status, .. } = running.event()? else { bail!("no hello") };
    assert_eq!((status.phase, status.restart_count), (Phase::Running, 0));
    running.control = None;
    std::thread::sleep(Duration::from_millis(20));
    running.control = Some(Connection::connect(&running.dir)?);
    assert_eq!(running.ended()?.code, 5);
    let expected: String = (0..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(running.logged("stdout")?, expected);
    Ok(())
}

#[test]
fn a_failing_program_is_restarted_three_times_without_a_daemon() -> Result<()> {
    if !can_run("a_failing_program_is_restarted_three_times_without_a_daemon") {
        return Ok(());
    }
    let host = Host::new()?;
    let begin = Instant::now();
    let mut running = host.run(&Container {
        args: &["sh", "-c", "echo again; exit 3"],
        restart: json!({"when": "on-failure", "max_retries": 3, "count": 0}),
        ..Container::default()
    })?;
    running.control = None;
    running.gone()?;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(700), "restarted after {took:?} in all");
    let status = status::read(&running.dir)?;
    assert_eq!((status.phase, status.restart_count), (Phase::Exited, 3));
    assert_eq!(status.last_exit.context("it ended")?.code, 3);
    assert_eq!(running.logged("stdout")?, "again\n".repeat(4));
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn restarts_are_told_and_the_user_ends_them() -> Result<()> {
    if !can_run("restarts_are_told_and_the_user_ends_them") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.run(&Container {
        args: &["sh", "-c", "exit 0"],
        restart: json!({"when": "always", "max_retries": 0, "count": 0}),
        ..Container::default()
    })?;
    let mut delays = Vec::new();
    while delays.len() < 3 {
        match running.event()? {
            Event::Exited { restart_after_ms: Some(delay), .. } => delays.push(delay),
            Event::Started { restart_count, .. } => {
                assert_eq!(restart_count as usize, delays.len())
            }
            other => bail!("unexpected: {other:?}"),
        }
    }
    assert_eq!(delays, [100, 200, 400]);
    // It waits for its third restart now.
    let mut seen = Vec::new();
    let cancel = Request::Signal { signal: 15, cancel_restart: true };
    running.control().request(cancel, None, |event| seen.push(event))?;
    let ended = matches!(seen.last(), Some(Event::Exited { restart_after_ms: None, .. }));
    if !ended {
        running.ended()?;
    }
    running.gone()?;
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_policy_set_later_counts() -> Result<()> {
    if !can_run("a_policy_set_later_counts") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.run(&Container {
        args: &["sleep", "1000"],
        restart: json!({"when": "always", "max_retries": 0, "count": 0}),
        ..Container::default()
    })?;
    let never = RestartPolicy { when: RestartWhen::No, max_retries: 0, count: 0 };
    running.control().request(Request::SetRestartPolicy(never), None, |_| {})?;
    running.signal(15, false)?;
    // sleep is the first process of its namespace and ignores what it does not handle.
    running.signal(9, false)?;
    assert_eq!(running.ended()?.code, 137);
    Ok(())
}

#[test]
fn the_log_is_rotated_and_the_rotated_files_are_compressed() -> Result<()> {
    if !can_run("the_log_is_rotated_and_the_rotated_files_are_compressed") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.run(&Container {
        args: &["seq", "1", "3000"],
        log: json!({"max_size": 50_000, "max_files": 3, "compress": true}),
        ..Container::default()
    })?;
    assert_eq!(running.ended()?.code, 0);
    let compressed = running.dir.join("log.json.1.gz");
    wait::until_true(Duration::from_secs(5), "compression", || Ok(compressed.exists()))?;
    assert!(fs::metadata(&running.log)?.len() < 51_000);
    assert!(running.logged("stdout")?.ends_with("\n3000\n"));
    assert!(!running.dir.join("log.json.3").exists());
    assert!(!running.dir.join("log.json.3.gz").exists());
    Ok(())
}

#[test]
fn the_oom_killer_is_told_live_and_with_the_exit() -> Result<()> {
    if !can_run("the_oom_killer_is_told_live_and_with_the_exit") {
        return Ok(());
    }
    let host = Host::new()?;
    // The whole file is read into memory; the first process lives on.
    let script = "tail -c 200000000 /dev/zero; echo survived; sleep 1000";
    let mut running = host.run(&Container {
        args: &["sh", "-c", script],
        memory: 16 << 20,
        ..Container::default()
    })?;
    assert_eq!(running.event()?, Event::Oom);
    running.signal(9, true)?;
    let exit = running.ended()?;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}
