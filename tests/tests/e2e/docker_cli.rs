//! Everyday verbs through both command lines, the unmodified `docker` and `davit`: terminals, logs,
//! listings, events, statistics.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::{BUSYBOX, LAYERED};
use davit_testkit::{Pty, command, until};

use crate::setup::{BOTH, Cli, Setup, plan};

const SECONDS: Duration = Duration::from_secs(15);

#[test]
fn interactive_run_and_exec_have_a_terminal() -> Result<()> {
    plan("interactive_run_and_exec_have_a_terminal", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let words = ["run", "--rm", "-it", "--name", "shell", "busybox", "sh"];
            use_shell(&setup.command(cli, &words)).with_context(|| format!("{cli:?} run -it"))?;
            until(SECONDS, "the shell to be gone", || {
                Ok((setup.davit("inspect shell")?.code == 1).then_some(()))
            })?;
            setup.run(cli, &["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
            let words = ["exec", "-it", "box", "sh"];
            use_shell(&setup.command(cli, &words)).with_context(|| format!("{cli:?} exec -it"))?;
            setup.run(cli, &["rm", "-f", "box"])?.ok()?;
        }
        Ok(())
    })
}

/// A terminal is there, has the window's size, echoes, interrupts, and returns the exit code.
fn use_shell(command: &Command) -> Result<()> {
    let mut pty = Pty::spawn(command)?;
    pty.expect("#")?;
    pty.send("tty; stty size; echo first-$((1+1))\r")?;
    pty.expect("/dev/pts/0")?;
    pty.expect("24 80")?;
    pty.expect("first-2")?;
    pty.send("sleep 100\r")?;
    std::thread::sleep(Duration::from_millis(300));
    pty.send("\x03")?;
    pty.send("echo second-$((1+2))\r")?;
    pty.expect("second-3")?;
    pty.send("exit 5\r")?;
    ensure!(pty.finish()? == 5, "the shell's exit code");
    Ok(())
}

#[test]
fn attach_detaches_and_leaves_the_container_running() -> Result<()> {
    plan("attach_detaches_and_leaves_the_container_running", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let words = ["run", "-dit", "--name", "shell", "busybox", "sh"];
            setup.run(cli, &words)?.ok()?;
            let mut pty = Pty::spawn(&setup.command(cli, &["attach", "shell"]))?;
            pty.send("echo attached-$((2+2))\r")?;
            pty.expect("attached-4")?;
            pty.send("\x10\x11")?;
            // The command line of Docker 28 calls it an error, later ones don't.
            let code = pty.finish().with_context(|| format!("{cli:?} attach"))?;
            ensure!(code <= 1, "{cli:?}: detached");
            ensure!(setup.ok("inspect -f {{.State.Running}} shell")? == "true");
            setup.run(cli, &["rm", "-f", "shell"])?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn logs_follow_tail_and_tell_the_time() -> Result<()> {
    plan("logs_follow_tail_and_tell_the_time", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let script =
                "for i in $(seq 5); do echo line $i; sleep 0.05; echo err $i >&2; sleep 0.2; done";
            let words = ["run", "-d", "--name", "talker", "busybox", "sh", "-c", script];
            setup.run(cli, &words)?.ok()?;
            let followed = setup.run(cli, &["logs", "-f", "talker"])?.code(0)?;
            ensure!(followed.stdout == lines("line", 1), "{cli:?}: {followed:?}");
            ensure!(followed.stderr == lines("err", 1), "{cli:?}: {followed:?}");
            let logs = |words: &[&str]| setup.run(cli, &[&["logs"], words, &["talker"]].concat());
            let tail = logs(&["--tail", "4"])?.code(0)?;
            ensure!(tail.stdout == lines("line", 4) && tail.stderr == lines("err", 4), "{tail:?}");
            let timed = logs(&["-t", "--tail", "1"])?.code(0)?;
            let stamp = timed.stderr.split(' ').next().unwrap_or_default();
            ensure!(stamp.len() == 30 && stamp.ends_with('Z'), "{stamp}: {timed:?}");
            let since = logs(&["--since", stamp])?.code(0)?;
            ensure!(since.stderr == "err 5\n", "{since:?}");
            let until = logs(&["--until", "1h"])?.code(0)?;
            ensure!(until.stdout.is_empty(), "{until:?}");
            ensure!(logs(&["--since", "1h"])?.stdout == lines("line", 1));
            setup.run(cli, &["rm", "talker"])?.ok()?;
        }
        Ok(())
    })
}

fn lines(word: &str, first: u32) -> String {
    (first..=5).map(|number| format!("{word} {number}\n")).collect()
}

#[test]
fn a_follower_sees_lines_when_they_are_written() -> Result<()> {
    plan("a_follower_sees_lines_when_they_are_written", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let script = "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two; sleep 1000";
            let words = ["run", "-d", "--name", "slow", "busybox", "sh", "-c", script];
            setup.run(cli, &words)?.ok()?;
            let follower = Pty::spawn(&setup.command(cli, &["logs", "-f", "slow"]))?;
            follower.expect("one")?;
            ensure!(!follower.seen().contains("two"));
            setup.run(cli, &["exec", "slow", "touch", "/go"])?.ok()?;
            follower.expect("two")?;
            setup.run(cli, &["rm", "-f", "slow"])?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn listings_have_dockers_columns_filters_and_formats() -> Result<()> {
    plan("listings_have_dockers_columns_filters_and_formats", &[BUSYBOX, LAYERED]).run(|setup| {
        setup.ok("run -d --name up --label color=blue busybox sleep 1000")?;
        setup.daemon.davit(&["run", "--name", "down", "busybox", "sh", "-c", "exit 3"])?.code(3)?;
        for cli in BOTH {
            let run =
                |line: &str| setup.run(cli, &line.split_whitespace().collect::<Vec<_>>())?.ok();
            let listed = run("ps -a")?;
            let header: Vec<&str> = listed.lines().next().unwrap_or_default().split("  ").collect();
            let header: Vec<&str> =
                header.iter().map(|h| h.trim()).filter(|h| !h.is_empty()).collect();
            let columns =
                ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
            ensure!(header == columns, "{cli:?}: {header:?}");
            ensure!(listed.contains("\"sleep 1000\"") && listed.contains("Exited (3)"), "{listed}");
            ensure!(run("ps --format {{.Names}}")? == "up");
            ensure!(run("ps -a --format {{.Names}}")? == "down\nup", "newest first");
            ensure!(run("ps -a --filter status=exited --format {{.Names}}")? == "down");
            ensure!(run("ps -a --filter exited=3 --format {{.Names}}")? == "down");
            ensure!(run("ps --filter label=color=blue --format {{.Names}}")? == "up");
            ensure!(run("ps -a --filter ancestor=busybox -q")?.lines().count() == 2);
            ensure!(run("ps --filter name=nosuch -q")?.is_empty());
            ensure!(run("ps -q --no-trunc")?.len() == 64);

            let images = run("images --format {{.Repository}}:{{.Tag}}")?;
            ensure!(
                images.contains("busybox:latest") && images.contains("layered:latest"),
                "{images}"
            );
            ensure!(run("images -q busybox")?.len() == 12);
            ensure!(run("inspect --format {{.Config.Image}} up")? == "busybox");
            let version = run("version")?;
            ensure!(version.contains("Server") && version.contains("API version"), "{version}");
            ensure!(run("info")?.contains("Containers: 2"));
            ensure!(run("inspect busybox")?.contains("\"RepoTags\""));
            run("tag busybox renamed:v1")?;
            ensure!(run("images -q renamed:v1")? == run("images -q busybox")?);
            ensure!(run("rmi renamed:v1")?.contains("Untagged: renamed:v1"));
        }
        Ok(())
    })
}

#[test]
fn stats_show_memory_and_processes() -> Result<()> {
    plan("stats_show_memory_and_processes", &[BUSYBOX]).run(|setup| {
        let script = "while :; do :; done";
        let words =
            ["run", "-d", "--name", "busy", "--memory", "64m", "busybox", "sh", "-c", script];
        setup.daemon.davit(&words)?.ok()?;
        for cli in BOTH {
            let format = "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}";
            let line =
                setup.run(cli, &["stats", "--no-stream", "--format", format, "busy"])?.ok()?;
            let fields: Vec<&str> = line.split('|').collect();
            ensure!(
                fields.len() == 4 && fields[0] == "busy" && fields[3] == "1",
                "{cli:?}: {line}"
            );
            let cpu: f64 = fields[1].trim_end_matches('%').parse()?;
            ensure!(cpu > 10.0, "{cli:?}: a busy loop uses the processor: {line}");
            ensure!(fields[2].ends_with("/ 64MiB"), "{cli:?}: {line}");
        }
        let stats = setup.daemon.request("GET", "/containers/busy/stats?stream=0")?.expect(200)?;
        let stats = stats.json()?;
        ensure!(stats["cpu_stats"]["cpu_usage"]["total_usage"].as_u64() > Some(0), "{stats}");
        ensure!(stats["networks"]["eth0"]["rx_bytes"].is_u64(), "{stats}");
        Ok(())
    })
}

#[test]
fn events_tell_a_containers_life_in_order() -> Result<()> {
    plan("events_tell_a_containers_life_in_order", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let words = ["events", "--filter", "type=container", "--format", "{{.Action}}"];
            let mut live = setup.command(cli, &words);
            let mut live = live.stdout(Stdio::piped()).spawn()?;
            std::thread::sleep(Duration::from_millis(500));
            let words = ["run", "-d", "--name", "life", "--stop-signal", "KILL", "busybox"];
            setup.run(cli, &[&words[..], &["sleep", "1000"]].concat())?.ok()?;
            setup.run(cli, &["exec", "life", "true"])?.ok()?;
            setup.run(cli, &["stop", "life"])?.ok()?;
            setup.run(cli, &["rm", "life"])?.ok()?;
            std::thread::sleep(Duration::from_millis(300));
            live.kill()?;
            let told = String::from_utf8(live.wait_with_output()?.stdout)?;
            let wanted = ["create", "start", "exec_create: true", "exec_start: true", "exec_die"];
            let wanted = [&wanted[..], &["kill", "die", "stop", "destroy"]].concat();
            let told: Vec<&str> = told.lines().map(str::trim).collect();
            ensure!(told == wanted, "{cli:?}: {told:?}");
            replayed(setup, cli)?;
        }
        Ok(())
    })
}

fn replayed(setup: &Setup, cli: Cli) -> Result<()> {
    let words = ["events", "--since", "1m", "--until", "0s", "--filter", "container=life"];
    let words = [&words[..], &["--filter", "event=die", "--format", "{{json .}}"]].concat();
    let told = setup.run(cli, &words)?.ok()?;
    let last = told.lines().last().context("no die event was replayed")?;
    let event: serde_json::Value = serde_json::from_str(last)?;
    let attributes = &event["Actor"]["Attributes"];
    ensure!(attributes["exitCode"] == "137" && attributes["image"] == "busybox", "{event}");
    ensure!(attributes["name"] == "life" && event["Type"] == "container", "{event}");
    Ok(())
}

#[test]
fn run_pulls_what_is_missing() -> Result<()> {
    plan("run_pulls_what_is_missing", &[]).unpulled(&[BUSYBOX]).run(|setup| {
        let reference = setup.registry.reference(BUSYBOX);
        for cli in BOTH {
            let finished =
                setup.run(cli, &["run", "--rm", &reference, "echo", "pulled"])?.code(0)?;
            ensure!(finished.stdout == "pulled\n", "{finished:?}");
            let told = format!("Unable to find image '{reference}' locally");
            ensure!(finished.stderr.contains(&told), "{finished:?}");
            ensure!(finished.stderr.contains("Status: Downloaded newer image for"), "{finished:?}");
            let again = setup.run(cli, &["pull", &reference])?.ok()?;
            ensure!(again.contains("Status: Image is up to date for"), "{again}");
            let removed = setup.run(cli, &["rmi", &reference])?.ok()?;
            ensure!(
                removed.contains("Untagged: ") && removed.contains("Deleted: sha256:"),
                "{removed}"
            );
        }
        let piped = setup.command(Cli::Davit, &["pull", &reference]);
        let piped = command::run(piped, b"", SECONDS)?.ok()?;
        ensure!(piped.contains("Pull complete") && !piped.contains('\x1b'), "plain: {piped}");
        Ok(())
    })
}
