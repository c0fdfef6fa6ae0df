//! Resource limits, read back where the kernel keeps them, and the OOM killer.

use std::fs;

use anyhow::{Context, Result, ensure};
use davit_testkit::cgroup;
use davit_testkit::images::BUSYBOX;

use crate::setup::{Setup, plan};

#[test]
fn limits_arrive_in_the_cgroup() -> Result<()> {
    plan("limits_arrive_in_the_cgroup", &[BUSYBOX]).run(|setup| {
        setup.ok("run -d --name limited --memory 64m --cpus 0.5 --pids-limit 50 --cpu-shares 512 busybox sleep 1000")?;
        let memory = if cgroup::is_v1("memory") { "memory.limit_in_bytes" } else { "memory.max" };
        ensure!(read(setup, "limited", "memory", memory)? == "67108864");
        ensure!(read(setup, "limited", "pids", "pids.max")? == "50");
        if cgroup::is_v1("cpu") {
            ensure!(read(setup, "limited", "cpu", "cpu.cfs_quota_us")? == "50000");
            ensure!(read(setup, "limited", "cpu", "cpu.cfs_period_us")? == "100000");
            ensure!(read(setup, "limited", "cpu", "cpu.shares")? == "512");
        } else {
            ensure!(read(setup, "limited", "cpu", "cpu.max")? == "50000 100000");
        }
        let path = path_of(setup, "limited", "memory")?;
        let parent = setup.daemon.sandbox().cgroup_parent();
        ensure!(path.starts_with(&format!("{parent}/")), "{path} is below {parent}");

        setup.ok("update --memory 128m --memory-swap 256m --pids-limit 60 limited")?;
        ensure!(read(setup, "limited", "memory", memory)? == "134217728");
        ensure!(read(setup, "limited", "pids", "pids.max")? == "60");
        ensure!(setup.ok("inspect -f {{.HostConfig.Memory}} limited")? == "134217728");
        Ok(())
    })
}

#[test]
fn out_of_memory_is_killed_and_shown() -> Result<()> {
    plan("out_of_memory_is_killed_and_shown", &[BUSYBOX]).run(|setup| {
        let words = ["run", "--name", "oom", "--memory", "16m", "--memory-swap", "16m"];
        let words = [&words[..], &["busybox", "tail", "/dev/zero"]].concat();
        setup.daemon.davit(&words)?.code(137)?;
        ensure!(setup.ok("inspect -f {{.State.OOMKilled}} oom")? == "true");
        setup.daemon.davit(&["run", "--name", "killed", "busybox", "sh", "-c", "exit 137"])?;
        ensure!(setup.ok("inspect -f {{.State.OOMKilled}} killed")? == "false");
        Ok(())
    })
}

#[test]
fn a_process_limit_is_felt_inside() -> Result<()> {
    plan("a_process_limit_is_felt_inside", &[BUSYBOX]).run(|setup| {
        let script = "for i in $(seq 30); do sleep 3 & done 2>&1; echo unreached";
        let words = ["run", "--rm", "--pids-limit", "10", "busybox", "sh", "-c", script];
        let finished = setup.daemon.davit(&words)?;
        let text = format!("{}{}", finished.stdout, finished.stderr);
        ensure!(text.contains("can't fork"), "{text}");
        Ok(())
    })
}

/// The container's cgroup of `controller`, as its process is listed.
fn path_of(setup: &Setup, name: &str, controller: &str) -> Result<String> {
    let pid = setup.ok(&format!("inspect -f {{{{.State.Pid}}}} {name}"))?;
    let file = setup.daemon.sandbox().proc_dir().join(pid).join("cgroup");
    let text = fs::read_to_string(file)?;
    let listed = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let found = fields.next()?.split(',').any(|name| name == controller);
        found.then(|| fields.next().map(str::to_owned)).flatten()
    };
    let unified = || text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned));
    text.lines().find_map(listed).or_else(unified).context("no cgroup")
}

fn read(setup: &Setup, name: &str, controller: &str, file: &str) -> Result<String> {
    cgroup::read(controller, &path_of(setup, name, controller)?, file)
}
