//! `davit-runc --systemd-cgroup`: scopes made by a systemd that is really there, in the virtual machine
//! of `cargo xtask vm-test`, and what is said when it is not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::{Finished, Need, command, met, paths, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

/// A bundle with busybox and a `davit-runc` with a root of its own.
struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    /// `None`: it can't be made here, and that has been said.
    fn new(test: &str) -> Result<Option<Self>> {
        if !met(test, &[Need::Root, Need::Namespaces, Need::Program("busybox")]) {
            return Ok(None);
        }
        let dir = std::env::temp_dir().join(format!("davit-systemd-{}", std::process::id()));
        fs::create_dir_all(dir.join("rootfs/bin"))?;
        for name in ["dev", "proc", "sys"] {
            fs::create_dir_all(dir.join("rootfs").join(name))?;
        }
        let busybox = paths::program("busybox").context("busybox")?;
        fs::copy(busybox, dir.join("rootfs/bin/busybox"))?;
        symlink("busybox", dir.join("rootfs/bin/sleep"))?;
        symlink("busybox", dir.join("rootfs/bin/tail"))?;
        symlink(paths::shim(), dir.join("davit-runc"))?;
        Ok(Some(Self { dir }))
    }

    fn configure(&self, args: &[&str], cgroups_path: &str, resources: Value) -> Result<()> {
        let namespaces = ["pid", "mount", "ipc", "uts", "cgroup"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin"]},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "annotations": {"org.systemd.property.TimeoutStopSec": "7"},
            "linux": {"namespaces": namespaces, "cgroupsPath": cgroups_path, "resources": resources},
        });
        Ok(fs::write(self.dir.join("config.json"), config.to_string())?)
    }

    fn runc(&self, words: &[&str]) -> Result<Finished> {
        command::run(self.command(words), b"", LIMIT)
    }

    /// `run --detach`: the container keeps the streams, which pipes would wait for.
    fn start(&self) -> Result<()> {
        let said = self.dir.join("said");
        let mut command = self.command(&["run", "--detach", "c1"]);
        let file = fs::File::create(&said)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn()?;
        let code = command::wait_for(&mut child, LIMIT)?;
        ensure!(code == 0, "run ended with {code}: {}", read(&said)?);
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.dir.join("davit-runc"));
        command.arg("--root").arg(self.dir.join("state")).arg("--systemd-cgroup").args(words);
        command.current_dir(&self.dir);
        command
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        drop(self.runc(&["delete", "--force", "c1"]));
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// `systemctl show`'s value.
fn shown(unit: &str, property: &str) -> Result<String> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--value", "--property", property, unit]);
    command::run(command, b"", LIMIT)?.ok()
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[test]
#[ignore = "needs systemd: cargo xtask vm-test"]
fn a_scope_holds_the_container_and_its_limits() -> Result<()> {
    let Some(bundle) = Bundle::new("a_scope_holds_the_container_and_its_limits")? else {
        return Ok(());
    };
    let resources = json!({
        "memory": {"limit": 64 << 20}, "cpu": {"quota": 50_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 77},
    });
    bundle.configure(&["sleep", "1000"], "davit-test.slice:davit:c1", resources)?;
    bundle.start()?;
    const UNIT: &str = "davit-c1.scope";
    let dir = Path::new("/sys/fs/cgroup/davit.slice/davit-test.slice").join(UNIT);
    ensure!(shown(UNIT, "ActiveState")? == "active");
    for (property, wanted) in [
        ("Slice", "davit-test.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("TasksMax", "77"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("AllowedCPUs", "0"),
        ("TimeoutStopUSec", "7s"),
    ] {
        let value = shown(UNIT, property)?;
        ensure!(value == wanted, "{property}={value}");
    }
    for (file, wanted) in
        [("memory.max", "67108864"), ("pids.max", "77"), ("cpu.max", "50000 100000")]
    {
        ensure!(read(&dir.join(file))? == wanted, "{file}");
    }
    let procs = read(&dir.join("cgroup.procs"))?;
    ensure!(procs.lines().count() == 1, "only the container is in it: {procs:?}");

    bundle.runc(&["update", "--memory", "134217728", "--pids-limit", "50", "c1"])?.ok()?;
    ensure!(shown(UNIT, "MemoryMax")? == "134217728" && shown(UNIT, "TasksMax")? == "50");
    ensure!(read(&dir.join("memory.max"))? == "134217728");
    // What systemd doesn't know of it would undo now.
    let mut reload = Command::new("systemctl");
    reload.arg("daemon-reload");
    command::run(reload, b"", LIMIT)?.ok()?;
    ensure!(read(&dir.join("pids.max"))? == "50" && read(&dir.join("memory.max"))? == "134217728");

    bundle.runc(&["pause", "c1"])?.ok()?;
    ensure!(bundle.runc(&["state", "c1"])?.ok()?.contains("\"paused\""));
    bundle.runc(&["resume", "c1"])?.ok()?;
    bundle.runc(&["exec", "c1", "busybox", "true"])?.ok()?;
    bundle.runc(&["delete", "--force", "c1"])?.ok()?;
    ensure!(!dir.exists(), "the scope's directory is left");
    ensure!(shown(UNIT, "ActiveState")? == "inactive");
    Ok(())
}

#[test]
#[ignore = "needs systemd: cargo xtask vm-test"]
fn a_scope_that_failed_is_no_obstacle() -> Result<()> {
    let Some(bundle) = Bundle::new("a_scope_that_failed_is_no_obstacle")? else { return Ok(()) };
    let memory = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    for _ in 0..2 {
        bundle.configure(&["tail", "/dev/zero"], ":davit:c1", memory.clone())?;
        bundle.start()?;
        wait::until_true(LIMIT, "the OOM killer", || {
            Ok(bundle.runc(&["state", "c1"])?.ok()?.contains("\"stopped\""))
        })?;
        bundle.runc(&["delete", "c1"])?.ok()?;
        ensure!(!Path::new("/sys/fs/cgroup/system.slice/davit-c1.scope").exists());
    }
    Ok(())
}

#[test]
fn without_systemd_the_error_says_so_and_nothing_is_left() -> Result<()> {
    let test = "without_systemd_the_error_says_so_and_nothing_is_left";
    let Some(bundle) = Bundle::new(test)? else { return Ok(()) };
    bundle.configure(&["sleep", "1000"], "davit-test.slice:davit:c1", json!({}))?;
    let mut command = bundle.command(&["run", "--detach", "c1"]);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    let finished = command::run(command, b"", LIMIT)?;
    let said = &finished.stderr;
    ensure!(finished.code == 1 && said.contains("systemd cgroup driver needs systemd"), "{said}");
    ensure!(bundle.runc(&["state", "c1"])?.stderr.contains("does not exist"));

    bundle.configure(&["sleep", "1000"], "/a/path", json!({}))?;
    let finished = bundle.runc(&["run", "--detach", "c1"])?;
    let said = &finished.stderr;
    ensure!(finished.code == 1 && said.contains("slice:prefix:name"), "{said}");
    Ok(())
}
