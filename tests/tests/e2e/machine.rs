//! What needs cgroup v2 and programs of the virtual machine of `cargo xtask vm-test`.

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::{DaemonOptions, paths};

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
    let program = paths::program("runc").context("no runc")?;
    let runtime = format!("--add-runtime=debian={}", program.display());
    let options = DaemonOptions { arguments: vec![runtime], ..DaemonOptions::default() };
    let plan = plan("machine::runc_runs_containers_on_version_2", &[BUSYBOX]).options(options);
    plan.run(|setup| {
        ensure!(setup.ok("run --rm --runtime debian busybox echo hello")? == "hello");
        setup.ok("run -d --name held --memory 32m --runtime debian busybox sleep 1000")?;
        ensure!(setup.ok("exec held cat /sys/fs/cgroup/memory.max")? == "33554432");
        setup.ok("stop -t 1 held")?;
        ensure!(setup.ok("inspect -f {{.State.ExitCode}} held")? == "137");
        setup.ok("rm held")?;
        Ok(())
    })
}
