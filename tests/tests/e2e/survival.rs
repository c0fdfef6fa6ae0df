//! The daemon is killed twenty times under load; containers, logs, exits, restarts and connections
//! go on as if nothing had happened. Docker itself (with live-restore) fails these tests: it loses exits,
//! port proxies and attached sessions.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::{Engine, Snapshot, until};
use rustix::process::Signal;

use crate::setup::{Setup, plan};

const KILLS: u32 = 20;
const EXITERS: u32 = 10;
const SECONDS: Duration = Duration::from_secs(20);

#[test]
fn twenty_kills_of_the_daemon_cost_nothing() -> Result<()> {
    plan("twenty_kills_of_the_daemon_cost_nothing", &[BUSYBOX]).run(|setup| {
        setup.ok("run --rm busybox true")?;
        let before = Snapshot::of(&setup.daemon)?;
        let long_lived = start_load(setup)?;
        let client = start_client(setup)?;
        for round in 0..KILLS {
            setup.daemon.end(Signal::KILL)?;
            std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 400)));
            setup.daemon.start_again()?;
            for (name, pid) in &long_lived {
                let found = setup.ok(&format!("inspect -f {{{{.State.Pid}}}} {name}"))?;
                ensure!(found == *pid, "round {round}: {name} had pid {pid}, has {found}");
            }
            ensure!(setup.ok("exec printer echo exec")? == "exec", "round {round}");
        }
        let failed = stop_client(setup, client)?;
        check_lines(setup)?;
        check_exits(setup)?;
        check_restarts(setup)?;
        for name in long_lived.keys() {
            let count = setup.ok(&format!("inspect -f {{{{.RestartCount}}}} {name}"))?;
            ensure!(count == "0", "{name} was restarted {count} times");
        }
        // Docker's port proxies die with its daemon.
        let proxies = setup.daemon.engine() == Engine::Docker;
        ensure!(failed == 0 || proxies, "{failed} connections failed");
        let all = setup.ok("ps -aq")?;
        setup.ok(&format!("rm -f {}", all.replace('\n', " ")))?;
        before.expect_again(&setup.daemon, SECONDS)
    })
}

#[test]
fn an_exec_session_outlives_the_daemon() -> Result<()> {
    plan("an_exec_session_outlives_the_daemon", &[BUSYBOX]).run(|setup| {
        setup.ok("run -d --name host busybox sleep 1000")?;
        let script = "echo ready; read line; echo got $line; exit 7";
        let mut command = setup.daemon.docker_command(&["exec", "-i", "host", "sh", "-c", script]);
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(client.stdout.take().context("piped")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == "ready\n", "{line:?}");

        setup.daemon.end(Signal::KILL)?;
        setup.daemon.start_again()?;
        let execs = setup.daemon.inspect("host")?["ExecIDs"].as_array().map_or(0, Vec::len);
        ensure!(execs == 1, "the new daemon knows {execs} execs");
        client.stdin.take().context("piped")?.write_all(b"word\n")?;
        output.read_to_string(&mut line)?;
        ensure!(line == "ready\ngot word\n", "{line:?}");
        let code = client.wait()?.code();
        ensure!(code == Some(7), "the client ended with {code:?}");
        Ok(())
    })
}

/// Long-lived containers, with their pids, and ones that exit and restart.
fn start_load(setup: &Setup) -> Result<BTreeMap<String, String>> {
    let run = |name: &str, flags: &[&str], script: &str| {
        let words =
            [&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", script]].concat();
        setup.daemon.davit(&words)?.ok()
    };
    let count =
        "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo line $i; usleep 3000; done; sleep 1000";
    run("printer", &[], count)?;
    let both = "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo line $i; echo line $i >&2; usleep 3000; done; sleep 1000";
    run("both", &[], both)?;
    run("terminal", &["-t"], count)?;
    run("web", &["-p", "8080:80"], "exec httpd -f -h /var/www")?;
    run("restarter", &["--restart", "always"], "echo run; sleep 0.2; exit 1")?;
    for number in 0..EXITERS {
        let script = format!("sleep {}; echo last; exit {number}", f64::from(number) * 0.7);
        run(&format!("exiter{number}"), &[], &script)?;
    }
    setup.wait_for_page("http://127.0.0.1:8080/")?;
    ["printer", "both", "terminal", "web"]
        .into_iter()
        .map(|name| {
            let pid = setup.ok(&format!("inspect -f {{{{.State.Pid}}}} {name}"))?;
            Ok((name.to_owned(), pid))
        })
        .collect()
}

/// Fetches the page over and over on a new connection each; writes a word per request.
fn start_client(setup: &Setup) -> Result<Child> {
    let dir = setup.daemon.sandbox().dir().display();
    let script = format!(
        "while [ ! -e {dir}/client-stop ]; do \
         if [ \"$(curl -s -m 5 http://127.0.0.1:8080/)\" = busybox ]; then echo ok; \
         else echo failed; fi; sleep 0.02; done > {dir}/client-log"
    );
    let mut client = setup.daemon.sandbox().command("sh");
    Ok(client.args(["-c", &script]).stdin(Stdio::null()).spawn()?)
}

/// Ends the client and gives the number of failed requests.
fn stop_client(setup: &Setup, mut client: Child) -> Result<usize> {
    let dir = setup.daemon.sandbox().dir();
    std::fs::write(dir.join("client-stop"), "")?;
    client.wait()?;
    let log = std::fs::read_to_string(dir.join("client-log"))?;
    ensure!(log.lines().filter(|line| *line == "ok").count() > 50, "the client was at work");
    Ok(log.lines().filter(|line| *line == "failed").count())
}

/// Every number from 1 to the last one printed is in the log, once and in order.
fn check_lines(setup: &Setup) -> Result<()> {
    for name in ["printer", "both", "terminal"] {
        setup.ok(&format!("exec {name} touch /stop"))?;
    }
    std::thread::sleep(Duration::from_millis(500));
    for (name, streams) in [("printer", 1), ("both", 2), ("terminal", 1)] {
        let logs = setup.davit(&format!("logs {name}"))?.code(0)?;
        for (stream, text) in [logs.stdout, logs.stderr].into_iter().take(streams).enumerate() {
            let numbers: Vec<u32> = text
                .lines()
                .map(|line| line.trim().strip_prefix("line ")?.parse().ok())
                .collect::<Option<_>>()
                .with_context(|| format!("{name} has a torn line"))?;
            ensure!(numbers.len() > 500, "{name} printed only {} lines", numbers.len());
            let gap = numbers.iter().zip(1..).find(|(found, wanted)| *found != wanted);
            ensure!(gap.is_none(), "{name} stream {stream}: {gap:?} of {}", numbers.len());
        }
    }
    Ok(())
}

/// Exits that happened while no daemon was there are known, with their last line.
fn check_exits(setup: &Setup) -> Result<()> {
    for number in 0..EXITERS {
        let name = format!("exiter{number}");
        let wait = setup.ok(&format!("wait {name}"))?;
        ensure!(wait == number.to_string(), "{name} ended with {wait}");
        let logs = setup.ok(&format!("logs {name}"))?;
        ensure!(logs == "last", "{name}: {logs:?}");
        let state = setup.daemon.inspect(&name)?["State"].clone();
        ensure!(state["Status"] == "exited" && state["Pid"] == 0, "{name}: {state}");
        let (start, end) = (state["StartedAt"].as_str(), state["FinishedAt"].as_str());
        // Docker writes the start down after the process has begun.
        ensure!(start < end || setup.daemon.engine() == Engine::Docker, "{name}: {state}");
    }
    Ok(())
}

/// The restart policy went on working: as many runs in the log as restarts were counted, and one.
fn check_restarts(setup: &Setup) -> Result<()> {
    until(SECONDS, "the restarter's count to match its log", || {
        let count: usize = setup.ok("inspect -f {{.RestartCount}} restarter")?.parse()?;
        let runs = setup.ok("logs restarter")?.lines().count();
        Ok((count >= 3 && (runs == count + 1)).then_some(()))
    })?;
    setup.ok("stop -t 1 restarter")?;
    Ok(())
}

#[test]
fn clients_can_go_on_after_a_kill() -> Result<()> {
    plan("clients_can_go_on_after_a_kill", &[BUSYBOX]).run(|setup| {
        let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done";
        setup.daemon.davit(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script])?.ok()?;
        setup.daemon.davit(&["run", "-d", "--name", "paused", "busybox", "sleep", "1000"])?.ok()?;
        setup
            .daemon
            .davit(&["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "1"])?
            .ok()?;
        setup.ok("pause paused")?;
        setup.daemon.end(Signal::KILL)?;
        std::thread::sleep(Duration::from_millis(1500));
        setup.daemon.start_again()?;
        let follower =
            davit_testkit::Pty::spawn(&setup.daemon.davit_command(&["logs", "-f", "box"]))?;
        follower.expect("line 1\r")?;
        let seen = follower.seen().lines().count() + 20;
        follower.expect(&format!("line {seen}\r"))?;
        ensure!(setup.ok("inspect -f {{.State.Status}} paused")? == "paused");
        setup.ok("unpause paused")?;
        ensure!(setup.ok("exec paused echo x")? == "x");
        // --rm is honoured although the daemon was not there at the exit.
        until(SECONDS, "brief to be removed", || {
            Ok((setup.davit("inspect brief")?.code == 1).then_some(()))
        })?;
        ensure!(setup.ok("top box")?.contains("sh -c"));
        let stopped = setup.davit("stop -t 1 box")?.code(0)?;
        ensure!(stopped.elapsed < Duration::from_secs(9), "{stopped:?}");
        ensure!(setup.ok("inspect -f {{.State.ExitCode}} box")? == "137");
        ensure!(setup.ok("start box")? == "box", "and starts again");
        setup.ok("rm -f box paused")?;
        Ok(())
    })
}

#[test]
fn a_stopped_daemon_leaves_containers_running_too() -> Result<()> {
    plan("a_stopped_daemon_leaves_containers_running_too", &[BUSYBOX]).run(|setup| {
        setup.ok("run -d --name box -p 8080:80 busybox httpd -f -h /var/www")?;
        setup.wait_for_page("http://127.0.0.1:8080/")?;
        let pid = setup.ok("inspect -f {{.State.Pid}} box")?;
        setup.daemon.end(Signal::TERM)?;
        if setup.daemon.engine() == Engine::Davit {
            let (code, _) = setup.daemon.sandbox().curl("http://127.0.0.1:8080/")?;
            ensure!(code == 200, "served without a daemon: {code}");
        }
        setup.daemon.start_again()?;
        ensure!(setup.ok("inspect -f {{.State.Pid}} box")? == pid);
        ensure!(setup.wait_for_page("http://127.0.0.1:8080/")? == "busybox\n");
        Ok(())
    })
}
