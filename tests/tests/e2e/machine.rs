//! What needs cgroup v2 and programs of the virtual machine of `cargo xtask vm-test`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::{self, BUSYBOX};
use davit_testkit::{DaemonOptions, Finished, Registry, command, paths, wait};

use crate::setup::plan;

#[test]
#[ignore = "needs cgroup v2: cargo xtask vm-test"]
fn devices_and_pausing_work_on_version_2() -> Result<()> {
    plan("machine::devices_and_pausing_work_on_version_2", &[BUSYBOX]).run(|setup| {
        let refused = "head -c1 /dev/zero | wc -c; mknod /tmp/disk b 7 0; head -c1 /tmp/disk";
        let words = ["run", "--rm", "busybox", "sh", "-c", refused];
        let finished = setup.daemon.davit(&words)?;
        ensure!(finished.stdout.trim() == "1", "{finished:?}");
        ensure!(finished.stderr.contains("Operation not permitted"), "{finished:?}");

        setup.ok("run -d --name paused busybox sleep 1000")?;
        setup.ok("pause paused")?;
        ensure!(setup.ok("inspect -f {{.State.Status}} paused")? == "paused");
        setup.ok("unpause paused")?;
        ensure!(setup.ok("exec paused echo again")? == "again");
        setup.ok("rm -f paused")?;
        Ok(())
    })
}

#[test]
#[ignore = "needs cgroup v2: cargo xtask vm-test"]
fn runc_runs_containers_on_version_2() -> Result<()> {
    runs_containers_on_version_2("machine::runc_runs_containers_on_version_2", "runc")
}

#[test]
#[ignore = "needs cgroup v2, without which crun runs nothing: cargo xtask vm-test"]
fn crun_runs_containers_on_version_2() -> Result<()> {
    runs_containers_on_version_2("machine::crun_runs_containers_on_version_2", "crun")
}

fn runs_containers_on_version_2(test: &str, program: &'static str) -> Result<()> {
    let path = paths::program(program).with_context(|| format!("no {program}"))?;
    let runtime = format!("--add-runtime=debian={}", path.display());
    let options = DaemonOptions { arguments: vec![runtime], ..DaemonOptions::default() };
    plan(test, &[BUSYBOX]).options(options).run(|setup| {
        ensure!(setup.ok("run --rm --runtime debian busybox echo hello")? == "hello");
        let words = ["run", "--rm", "--runtime", "debian", "busybox", "sh", "-c", "exit 3"];
        ensure!(setup.daemon.davit(&words)?.code == 3);
        setup.ok("run -d --name held --memory 32m --runtime debian busybox sleep 1000")?;
        ensure!(setup.ok("exec held cat /sys/fs/cgroup/memory.max")? == "33554432");
        setup.ok("stop -t 1 held")?;
        ensure!(setup.ok("inspect -f {{.State.ExitCode}} held")? == "137");
        setup.ok("start held")?;
        ensure!(setup.ok("exec held echo again")? == "again");
        setup.ok("rm -f held")?;
        Ok(())
    })
}

/// The machine itself is the sandbox here: systemd numbers processes as it sees them.
#[test]
#[ignore = "needs systemd: cargo xtask vm-test"]
fn the_daemon_has_systemd_make_cgroups() -> Result<()> {
    ensure!(std::env::var_os("DAVIT_TEST_MACHINE").is_some(), "not in the virtual machine");
    let dir = tempfile::tempdir()?;
    let registry = Registry::serve_on_host(dir.path(), &images::ensure(&[BUSYBOX])?)?;
    let host = format!("unix://{}", dir.path().join("d.sock").display());
    let mut daemon = Command::new(paths::davit());
    daemon.args(["daemon", "-H", &host, "--bridge=none"]);
    daemon.arg("--data-root").arg(dir.path().join("data"));
    daemon.arg("--exec-root").arg(dir.path().join("exec"));
    daemon.arg("--pidfile").arg(dir.path().join("pid"));
    daemon.args(["--exec-opt", "native.cgroupdriver=systemd"]).env("DAVIT_SHIM", paths::shim());
    let log = std::fs::File::create(dir.path().join("log"))?;
    let mut daemon = daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let result = drive(&host, &registry).with_context(|| {
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        format!("the daemon's log:\n{log}")
    });
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    command::wait_for(&mut daemon, LONG)?;
    result
}

const LONG: Duration = Duration::from_secs(120);

fn drive(host: &str, registry: &Registry) -> Result<()> {
    let run = |line: &str| {
        let mut command = Command::new(paths::davit());
        command.args(line.split(' ')).env("DOCKER_HOST", host);
        command::run(command, b"", LONG)
    };
    let ok = |line: &str| run(line).and_then(Finished::ok);
    wait::until_true(LONG, "the daemon's answer", || Ok(run("version")?.code == 0))?;
    let image = registry.reference(BUSYBOX);
    ok(&format!("pull --quiet {image}"))?;
    ensure!(ok("info -f {{.CgroupDriver}}")? == "systemd");

    let id = ok(&format!(
        "run -d --name held --network none --memory 64m --pids-limit 50 {image} sleep 1000"
    ))?;
    let unit = format!("docker-{id}.scope");
    let show = |property: &str| {
        let mut command = Command::new("systemctl");
        command.args(["show", "--value", "-p", property, &unit]);
        command::run(command, b"", LONG).and_then(Finished::ok)
    };
    ensure!(show("ActiveState")? == "active" && show("Slice")? == "system.slice");
    ensure!(show("MemoryMax")? == "67108864" && show("TasksMax")? == "50");
    ok("update --memory 128m --memory-swap 256m held")?;
    ensure!(show("MemoryMax")? == "134217728", "{}", show("MemoryMax")?);
    let cgroup = Path::new("/sys/fs/cgroup/system.slice").join(&unit);
    ensure!(std::fs::read_to_string(cgroup.join("memory.max"))?.trim() == "134217728");
    ok("pause held")?;
    ok("unpause held")?;
    ensure!(ok("exec held echo hello")? == "hello");
    ok("restart -t 1 held")?;
    ensure!(show("ActiveState")? == "active");
    ok("rm -f held")?;
    ensure!(!cgroup.exists(), "{} is left", cgroup.display());

    let refused = run(&format!("run --rm --cgroup-parent /a --network none {image} true"))?;
    let text = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
    ensure!(refused.code == 125 && refused.stderr.contains(text), "{refused:?}");
    let parent = "--cgroup-parent davit-e2e.slice";
    let path = ok(&format!(
        "run --rm {parent} --cgroupns host --network none {image} cat /proc/self/cgroup"
    ))?;
    ensure!(path.starts_with("0::/davit.slice/davit-e2e.slice/docker-"), "{path}");
    Ok(())
}
