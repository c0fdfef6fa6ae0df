//! What the process in the container sees, and what its end looks like outside.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::{Engine, command};
use rustix::process::{Pid, Signal, kill_process};

use crate::setup::{BOTH, plan};

#[test]
fn exit_codes_are_dockers() -> Result<()> {
    plan("exit_codes_are_dockers", &[BUSYBOX]).run(|setup| {
        let cases: [(&[&str], i32); 7] = [
            (&["run", "--rm", "busybox", "true"], 0),
            (&["run", "--rm", "busybox", "sh", "-c", "exit 7"], 7),
            (&["run", "--rm", "busybox", "nosuchprogram"], 127),
            (&["run", "--rm", "busybox", "/bin/nosuchprogram"], 127),
            (&["run", "--rm", "busybox", "/etc/passwd"], 126),
            (&["run", "--rm", "busybox", "/etc"], 126),
            (&["run", "--rm", "--nosuchflag", "busybox", "true"], 125),
        ];
        for cli in BOTH {
            for (words, code) in cases {
                setup.run(cli, words)?.code(code).with_context(|| format!("{cli:?}"))?;
            }
        }
        ensure!(setup.ok("ps -aq")?.is_empty(), "failed starts with --rm leave no container");
        setup.ok("run -d --name box busybox sleep 1000")?;
        for cli in BOTH {
            setup.run(cli, &["exec", "box", "sh", "-c", "exit 9"])?.code(9)?;
            let missing = setup.run(cli, &["exec", "box", "nosuchprogram"])?;
            // Docker 20 still said 126.
            ensure!(missing.code == 127 || setup.daemon.engine() == Engine::Docker, "{missing:?}");
            setup.run(cli, &["exec", "box", "/etc/passwd"])?.code(126)?;
            setup.run(cli, &["exec", "nosuch", "true"])?.code(1)?;
        }
        Ok(())
    })
}

#[test]
fn environment_user_directory_and_names_are_set() -> Result<()> {
    plan("environment_user_directory_and_names_are_set", &[BUSYBOX]).run(|setup| {
        let shell = |flags: &str, script: &str| setup.shell(flags, script);
        let environment = shell("-e A=1 -e PATHLESS -e B=x=y --hostname h", "env | sort")?;
        for line in ["A=1", "B=x=y", "HOME=/root", "HOSTNAME=h"] {
            ensure!(environment.lines().any(|found| found == line), "{line}: {environment}");
        }
        ensure!(!environment.contains("PATHLESS"), "{environment}");
        ensure!(environment.contains("PATH=/usr/local/sbin:/usr/local/bin"), "{environment}");

        let user = "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)";
        ensure!(shell("-u user", "id")?.starts_with(user), "{}", shell("-u user", "id")?);
        ensure!(shell("-u user", "echo $HOME")? == "/home/user");
        ensure!(shell("-u 1234:4321", "id -u; id -g")? == "1234\n4321");
        ensure!(shell("-u user:nobody", "id -gn")? == "nobody");
        ensure!(shell("-u 1234 --group-add 77 --group-add extra", "id -G")? == "0 77 2000");
        let unknown = setup.davit("run --rm -u nosuch busybox true")?;
        let text = "unable to find user nosuch: no matching entries in passwd file";
        ensure!(unknown.code != 0 && unknown.stderr.contains(text), "{unknown:?}");

        ensure!(shell("-w /made/for/me", "pwd")? == "/made/for/me");
        ensure!(setup.ok("run --rm --entrypoint echo busybox a b")? == "a b");
        ensure!(shell("--hostname named", "hostname")? == "named");
        setup.daemon.davit(&["run", "--name", "named", "busybox", "hostname"])?.ok()?;
        let id = setup.ok("inspect -f {{.Id}} named")?;
        ensure!(setup.ok("logs named")? == id[..12], "the short id");
        ensure!(shell("--domainname d.example --hostname h", "cat /etc/hostname")? == "h");
        let hosts = shell("--hostname h --add-host extra:1.2.3.4", "cat /etc/hosts")?;
        ensure!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
        ensure!(hosts.contains("1.2.3.4\textra") && hosts.contains("\th"), "{hosts}");
        ensure!(shell("--dns 9.9.9.9", "cat /etc/resolv.conf")?.contains("nameserver 9.9.9.9"));
        Ok(())
    })
}

#[test]
fn streams_are_kept_apart_and_stdin_reaches_the_process() -> Result<()> {
    plan("streams_are_kept_apart_and_stdin_reaches_the_process", &[BUSYBOX]).run(|setup| {
        let limit = Duration::from_secs(20);
        for cli in BOTH {
            let words = ["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"];
            let finished = setup.run(cli, &words)?.code(0)?;
            ensure!(finished.stdout == "out\n" && finished.stderr == "err\n", "{finished:?}");

            let input = "line\n".repeat(100_000);
            let words = ["run", "--rm", "-i", "busybox", "cat"];
            let finished = command::run(setup.command(cli, &words), input.as_bytes(), limit)?;
            ensure!(finished.code(0)?.stdout == input, "{cli:?}: stdin comes back whole");

            setup.run(cli, &["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
            let words = ["exec", "-i", "box", "wc", "-l"];
            let finished = command::run(setup.command(cli, &words), input.as_bytes(), limit)?;
            ensure!(finished.ok()? == "100000", "{cli:?}: exec -i gets all lines and the end");
            let words = ["exec", "box", "sh", "-c", "echo out; echo err >&2"];
            let finished = setup.run(cli, &words)?.code(0)?;
            ensure!(finished.stdout == "out\n" && finished.stderr == "err\n", "{finished:?}");
            setup.run(cli, &["rm", "-f", "box"])?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn exec_takes_user_directory_environment_and_detaches() -> Result<()> {
    plan("exec_takes_user_directory_environment_and_detaches", &[BUSYBOX]).run(|setup| {
        setup.ok("run -d --name box -e OF=container busybox sleep 1000")?;
        for cli in BOTH {
            let words = ["exec", "-u", "user", "-w", "/tmp", "-e", "X=1", "box", "sh", "-c"];
            let words = [&words[..], &["id -un; pwd; echo $X $OF; hostname"]].concat();
            let output = setup.run(cli, &words)?.ok()?;
            let id = setup.ok("inspect -f {{.Id}} box")?;
            ensure!(output == format!("user\n/tmp\n1 container\n{}", &id[..12]), "{output}");
            setup
                .run(cli, &["exec", "-d", "box", "sh", "-c", "sleep 0.2; echo done > /tmp/d"])?
                .ok()?;
            davit_testkit::until(Duration::from_secs(5), "the detached exec", || {
                let seen = setup.davit("exec box cat /tmp/d")?;
                Ok((seen.stdout == "done\n").then_some(()))
            })?;
            setup.ok("exec box rm /tmp/d")?;
        }
        ensure!(setup.ok("inspect -f {{.State.Running}} box")? == "true");
        Ok(())
    })
}

#[test]
fn signals_to_the_foreground_client_reach_the_container() -> Result<()> {
    plan("signals_to_the_foreground_client_reach_the_container", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let script = "trap 'echo hup; exit 12' HUP; echo ready; while :; do sleep 0.05; done";
            let words = ["run", "--rm", "--name", "fg", "busybox", "sh", "-c", script];
            let mut command = setup.command(cli, &words);
            command.stdout(std::process::Stdio::piped()).stdin(std::process::Stdio::null());
            let mut child = command.spawn()?;
            davit_testkit::until(Duration::from_secs(10), "the container", || {
                Ok(setup.davit("logs fg")?.stdout.contains("ready").then_some(()))
            })?;
            kill_process(Pid::from_child(&child), Signal::HUP)?;
            let code = command::wait_for(&mut child, Duration::from_secs(10))?;
            ensure!(code == 12, "{cli:?}: {code}");
        }
        Ok(())
    })
}
