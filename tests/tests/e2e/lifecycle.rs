//! A container's states, from create to remove, and its restart policy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::{command, until};

use crate::setup::{BOTH, Setup, plan};

const SECONDS: Duration = Duration::from_secs(10);

#[test]
fn states_follow_the_commands() -> Result<()> {
    plan("states_follow_the_commands", &[BUSYBOX]).run(|setup| {
        let state =
            |name: &str| setup.ok(&format!("inspect --format {{{{.State.Status}}}} {name}"));
        let id = setup.ok("create --name one busybox sleep 1000")?;
        ensure!(id.len() == 64 && state("one")? == "created");
        ensure!(setup.ok("start one")? == "one" && state("one")? == "running");

        setup.ok("pause one")?;
        ensure!(state("one")? == "paused");
        ensure!(setup.ok("ps --filter name=one")?.contains("(Paused)"));
        setup.davit("exec one true")?.code(1)?;
        setup.ok("unpause one")?;
        ensure!(setup.ok("exec one echo back")? == "back");

        let pid = setup.ok("inspect -f {{.State.Pid}} one")?;
        setup.ok("restart -t 0 one")?;
        ensure!(setup.ok("inspect -f {{.State.Pid}} one")? != pid, "a new process");
        ensure!(setup.ok("inspect -f {{.RestartCount}} one")? == "0", "by hand does not count");

        let top = setup.ok("top one")?;
        ensure!(top.contains("PID") && top.contains("sleep 1000"), "{top}");
        setup.ok("rename one two")?;
        ensure!(setup.ok("inspect -f {{.Name}} two")? == "/two");
        setup.davit("inspect one")?.code(1)?;

        setup.ok("kill two")?;
        ensure!(setup.ok("wait two")? == "137");
        ensure!(state("two")? == "exited" && !setup.ok("ps")?.contains("two"));
        ensure!(setup.ok("ps -a")?.contains("Exited (137)"));
        setup.ok("start two")?;
        setup.davit("rm two")?.code(1)?;
        setup.ok("rm -f two")?;
        ensure!(setup.ok("ps -aq")?.is_empty());
        Ok(())
    })
}

#[test]
fn wait_waits_for_each_condition() -> Result<()> {
    plan("wait_waits_for_each_condition", &[BUSYBOX]).run(|setup| {
        setup.ok("create --name waiting busybox sh -c exit\\ 3")?;
        // Of a container that was never started "not running" holds already.
        ensure!(setup.ok("wait waiting")? == "0");
        setup
            .daemon
            .davit(&["run", "--name", "ended", "busybox", "sh", "-c", "exit 4"])?
            .code(4)?;
        ensure!(setup.ok("wait ended")? == "4");

        let words =
            ["create", "--rm", "--name", "removed", "busybox", "sh", "-c", "sleep 0.3; exit 5"];
        setup.daemon.davit(&words)?.ok()?;
        let mut curl = setup.daemon.sandbox().command("curl");
        curl.args(["--silent", "-X", "POST", "--unix-socket"]).arg(setup.daemon.socket());
        curl.arg("http://docker/v1.41/containers/removed/wait?condition=removed");
        let waiting = std::thread::spawn(move || command::run(curl, b"", SECONDS));
        std::thread::sleep(Duration::from_millis(300));
        setup.ok("start removed")?;
        let answer = waiting.join().expect("the thread does not panic")?.ok()?;
        ensure!(answer.contains("\"StatusCode\":5"), "{answer}");
        until(SECONDS, "r to be gone", || {
            Ok((setup.davit("inspect removed")?.code == 1).then_some(()))
        })?;
        Ok(())
    })
}

#[test]
fn stop_sends_the_stop_signal_and_kills_after_the_timeout() -> Result<()> {
    plan("stop_sends_the_stop_signal_and_kills_after_the_timeout", &[BUSYBOX]).run(|setup| {
        let polite = "trap 'echo got usr1; exit 9' USR1; echo ready; while :; do sleep 0.05; done";
        let words = [
            "run",
            "-d",
            "--name",
            "polite",
            "--stop-signal",
            "USR1",
            "busybox",
            "sh",
            "-c",
            polite,
        ];
        setup.daemon.davit(&words)?.ok()?;
        wait_for_log(setup, "polite", "ready")?;
        setup.ok("stop polite")?;
        ensure!(setup.ok("logs polite")?.contains("got usr1"));
        ensure!(setup.ok("inspect -f {{.State.ExitCode}} polite")? == "9");

        let deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
        let words = ["run", "-d", "--name", "deaf", "busybox", "sh", "-c", deaf];
        setup.daemon.davit(&words)?.ok()?;
        wait_for_log(setup, "deaf", "ready")?;
        let stopped = setup.davit("stop -t 1 deaf")?.code(0)?;
        ensure!(stopped.elapsed > Duration::from_millis(900), "{:?}", stopped.elapsed);
        ensure!(stopped.elapsed < Duration::from_secs(9), "{:?}", stopped.elapsed);
        ensure!(setup.ok("inspect -f {{.State.ExitCode}} deaf")? == "137");
        Ok(())
    })
}

#[test]
fn restart_policies_restart_and_give_up() -> Result<()> {
    plan("restart_policies_restart_and_give_up", &[BUSYBOX]).run(|setup| {
        let run = |name: &str, policy: &str, script: &str| {
            let words = ["run", "-d", "--name", name, "--restart", policy];
            let words = [&words[..], &["busybox", "sh", "-c", script]].concat();
            setup.daemon.davit(&words)?.ok()
        };
        run("limited", "on-failure:2", "echo run; exit 3")?;
        run("success", "on-failure", "echo run; exit 0")?;
        run("always", "always", "echo run; sleep 0.05")?;

        let format = "inspect -f {{.State.Status}}/{{.State.ExitCode}}/{{.RestartCount}}";
        let reaches = |name: &str, wanted: &str| {
            until(SECONDS, wanted, || {
                Ok((setup.ok(&format!("{format} {name}"))? == wanted).then_some(()))
            })
            .with_context(|| setup.ok(&format!("{format} {name}")).unwrap_or_default())
        };
        reaches("limited", "exited/3/2")?;
        ensure!(setup.ok("logs limited")?.lines().count() == 3, "one run and two more");
        reaches("success", "exited/0/0")?;

        until(SECONDS, "three restarts", || {
            let count: u32 = setup.ok("inspect -f {{.RestartCount}} always")?.parse()?;
            Ok((count >= 3).then_some(()))
        })?;
        setup.ok("stop -t 1 always")?;
        let count = setup.ok("inspect -f {{.RestartCount}} always")?;
        std::thread::sleep(Duration::from_millis(1500));
        ensure!(setup.ok("inspect -f {{.RestartCount}} always")? == count, "stopped for good");
        ensure!(setup.ok("inspect -f {{.State.Status}} always")? == "exited");
        Ok(())
    })
}

#[test]
fn a_removed_container_leaves_name_and_anonymous_volume_free() -> Result<()> {
    plan("a_removed_container_leaves_name_and_anonymous_volume_free", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let words = ["run", "--rm", "--name", "again", "-v", "/data", "busybox", "true"];
            setup.run(cli, &words)?.ok()?;
            setup.run(cli, &words)?.ok()?;
            ensure!(setup.ok("volume ls -q")?.is_empty());
            ensure!(setup.ok("ps -aq")?.is_empty());
        }
        Ok(())
    })
}

fn wait_for_log(setup: &Setup, name: &str, text: &str) -> Result<()> {
    until(SECONDS, text, || Ok(setup.ok(&format!("logs {name}"))?.contains(text).then_some(())))
}
