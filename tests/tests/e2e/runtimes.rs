//! Another runtime's program in the built-in one's place.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::{DaemonOptions, Need, paths};

use crate::setup::plan;

const NEEDS: [Need; 1] = [Need::Program("runc")];

/// Makes runc the runtime `other`.
fn with_runc() -> DaemonOptions {
    let runtime = format!("--add-runtime=other={}", paths::program_or_name("runc").display());
    DaemonOptions { arguments: vec![runtime], ..DaemonOptions::default() }
}

#[test]
fn runc_runs_containers() -> Result<()> {
    let plan = plan("runtimes::runc_runs_containers", &[BUSYBOX]).needs(&NEEDS);
    plan.options(with_runc()).run(|setup| {
        ensure!(setup.shell("--runtime other", "echo hello; id -u")? == "hello\n0");
        let words =
            ["run", "--name", "code", "--runtime", "other", "busybox", "sh", "-c", "exit 3"];
        ensure!(setup.daemon.davit(&words)?.code == 3);
        ensure!(setup.ok("inspect -f {{.State.ExitCode}} code")? == "3");

        setup.ok("run -d --name held --memory 32m --runtime other busybox sleep 1000")?;
        ensure!(setup.ok("inspect -f {{.HostConfig.Runtime}} held")? == "other");
        ensure!(setup.ok("top held -o pid,args")?.contains("sleep 1000"));
        ensure!(setup.ok("exec held echo again")? == "again");
        setup.ok("rm -f held")?;
        Ok(())
    })
}

#[test]
fn a_container_has_a_time_namespace_where_the_runtime_knows_them() -> Result<()> {
    let test = "runtimes::a_container_has_a_time_namespace_where_the_runtime_knows_them";
    plan(test, &[BUSYBOX]).needs(&NEEDS).options(with_runc()).run(|setup| {
        let ours = std::fs::read_link("/proc/self/ns/time").context("no time namespaces")?;
        let ours = ours.to_str().context("not text")?;
        let script = "readlink /proc/self/ns/time";
        ensure!(setup.shell("", script)? != ours, "the built-in runtime knows them");
        let mut features = Command::new(paths::program_or_name("runc"));
        let features = String::from_utf8(features.arg("features").output()?.stdout)?;
        let knows = features.contains("\"time\"");
        ensure!((setup.shell("--runtime other", script)? != ours) == knows, "runc: {knows}");
        Ok(())
    })
}
