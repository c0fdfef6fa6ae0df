//! The files of a container: what inspect, logs and recovery are made from.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::{Engine, daemon};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::{Setup, plan};

#[test]
fn a_container_is_its_directory() -> Result<()> {
    plan("a_container_is_its_directory", &[BUSYBOX]).run(|setup| {
        setup
            .daemon
            .davit(&[
                "run",
                "-d",
                "--name",
                "box",
                "busybox",
                "sh",
                "-c",
                "echo hello; sleep 1000",
            ])?
            .ok()?;
        let id = setup.ok("inspect -f {{.Id}} box")?;
        let dir = setup.daemon.data_root().join("containers").join(&id);
        for (name, mode) in [("config.v2.json", 0o600), ("hostconfig.json", 0o600)] {
            let file = dir.join(name);
            let found = fs::metadata(&file)?.permissions().mode() & 0o777;
            // Docker 20 let everybody read hostconfig.json.
            let reference = setup.daemon.engine() == Engine::Docker;
            ensure!(found == mode || reference, "mode of {name}: {found:o}");
            let _: Value = serde_json::from_slice(&fs::read(&file)?).context(name)?;
        }
        let config: Value = serde_json::from_slice(&fs::read(dir.join("config.v2.json"))?)?;
        ensure!(config["ID"] == id.as_str() && config["Name"] == "/box", "{config}");
        ensure!(config["State"]["Running"] == true && config["Path"] == "sh", "{config}");
        let host: Value = serde_json::from_slice(&fs::read(dir.join("hostconfig.json"))?)?;
        ensure!(host["NetworkMode"] == "default" || host["NetworkMode"] == "bridge", "{host}");

        let log = dir.join(format!("{id}-json.log"));
        davit_testkit::until(std::time::Duration::from_secs(5), "the log line", || {
            Ok(fs::read_to_string(&log)?.contains("hello").then_some(()))
        })?;
        let line: Value = serde_json::from_str(fs::read_to_string(&log)?.trim())?;
        ensure!(line["log"] == "hello\n" && line["stream"] == "stdout", "{line}");
        ensure!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        if setup.daemon.engine() == Engine::Davit {
            let target = fs::canonicalize(dir.join("log.json"))?;
            ensure!(target == fs::canonicalize(&log)?, "log.json leads to the log");
        }
        ensure!(fs::read_to_string(dir.join("hostname"))?.trim() == &id[..12]);
        ensure!(fs::read_to_string(dir.join("hosts"))?.contains("localhost"));
        ensure!(dir.join("resolv.conf").is_file() && dir.join("mounts").is_dir());

        let inspected = setup.daemon.inspect("box")?;
        for (key, file) in [("HostnamePath", "hostname"), ("HostsPath", "hosts")] {
            ensure!(inspected[key] == dir.join(file).display().to_string(), "{key}");
        }
        ensure!(inspected["LogPath"] == log.display().to_string());
        root_is_at_merged(setup)
    })
}

/// The container's root is seen, and written to, at `merged` while it runs, and only then.
fn root_is_at_merged(setup: &Setup) -> Result<()> {
    let pid = setup.ok("inspect -f {{.State.Pid}} box")?;
    let overlay = setup.daemon.data_root().join("overlay2");
    setup.ok("exec box touch /marker")?;
    let overlay_seen = daemon::inside(&setup.daemon, &overlay);
    let find = || -> Result<Option<std::path::PathBuf>> {
        for entry in fs::read_dir(&overlay_seen)? {
            let layer = entry?.path();
            if layer.join("merged/marker").exists() {
                return Ok(Some(layer));
            }
        }
        Ok(None)
    };
    let layer = find()?.context("no merged directory shows the container's root")?;
    for name in ["diff", "work"] {
        ensure!(layer.join(name).is_dir(), "{name}");
    }
    for name in ["link", "lower"] {
        ensure!(layer.join(name).is_file(), "{name}");
    }
    fs::write(layer.join("merged/from-host"), "host\n")?;
    ensure!(setup.ok("exec box cat /from-host")? == "host");
    let root = setup.daemon.sandbox().proc_dir().join(pid).join("root/from-host");
    ensure!(fs::read_to_string(root)? == "host\n");
    setup.ok("stop -t 0 box")?;
    ensure!(find()?.is_none(), "unmounted after stop");
    ensure!(layer.join("diff/marker").exists(), "in the upper directory");
    Ok(())
}

#[test]
fn a_deleted_directory_is_a_forgotten_container() -> Result<()> {
    plan("a_deleted_directory_is_a_forgotten_container", &[BUSYBOX]).run(|setup| {
        setup.ok("create --name gone busybox true")?;
        setup.ok("create --name stays busybox true")?;
        setup.ok("run --name ran busybox true")?;
        let id = setup.ok("inspect -f {{.Id}} gone")?;
        let before = setup.daemon.inspect("ran")?;
        setup.daemon.end(Signal::TERM)?;
        fs::remove_dir_all(setup.daemon.data_root().join("containers").join(&id))?;
        setup.daemon.start_again()?;
        setup.davit("inspect gone")?.code(1)?;
        let listed = setup.ok("ps -a --format {{.Names}}")?;
        ensure!(listed == "ran\nstays", "{listed}");
        let after = setup.daemon.inspect("ran")?;
        for key in
            ["Id", "Created", "Path", "Args", "State", "Image", "Name", "HostConfig", "Config"]
        {
            ensure!(before[key] == after[key], "{key}: {} then {}", before[key], after[key]);
        }
        ensure!(setup.ok("start stays")? == "stays");
        ensure!(setup.ok("create --name gone busybox true")?.len() == 64, "the name is free");
        Ok(())
    })
}

/// Of a container that runs when its directory is deleted, or its record damaged, nothing is left.
#[test]
fn a_forgotten_container_does_not_go_on() -> Result<()> {
    plan("a_forgotten_container_does_not_go_on", &[BUSYBOX]).run(|setup| {
        let mut pids = Vec::new();
        for name in ["gone", "damaged", "stays"] {
            setup.ok(&format!("run -d --restart always --name {name} busybox sleep 1000"))?;
            pids.push(setup.ok(&format!("inspect -f {{{{.State.Pid}}}} {name}"))?);
        }
        let gone = setup.ok("inspect -f {{.Id}} gone")?;
        let damaged = setup.ok("inspect -f {{.Id}} damaged")?;
        setup.daemon.end(Signal::KILL)?;
        let containers = setup.daemon.data_root().join("containers");
        fs::remove_dir_all(containers.join(&gone))?;
        fs::write(containers.join(&damaged).join("config.v2.json"), "{")?;
        setup.daemon.start_again()?;

        ensure!(setup.ok("ps -a --format {{.Names}}")? == "stays");
        let running = |pid: &String| setup.daemon.sandbox().proc_dir().join(pid).exists();
        let running: Vec<bool> = pids.iter().map(running).collect();
        ensure!(running == [false, false, true], "{running:?}");
        let left = davit_testkit::cgroup::directories(setup.daemon.sandbox().cgroup_parent());
        for id in [&gone, &damaged] {
            ensure!(!left.iter().any(|path| path.contains(id.as_str())), "cgroup: {left:?}");
            let bundle = setup.daemon.exec_root().join("containers").join(id);
            ensure!(!daemon::inside(&setup.daemon, &bundle).exists(), "{}", bundle.display());
            let layer = setup.daemon.data_root().join("overlay2").join(id);
            ensure!(!daemon::inside(&setup.daemon, &layer).exists(), "{}", layer.display());
        }
        Ok(())
    })
}

#[test]
fn a_damaged_record_does_not_stop_the_daemon() -> Result<()> {
    plan("a_damaged_record_does_not_stop_the_daemon", &[BUSYBOX]).run(|setup| {
        setup.ok("create --name damaged busybox true")?;
        setup.ok("create --name healthy busybox true")?;
        let id = setup.ok("inspect -f {{.Id}} damaged")?;
        setup.daemon.end(Signal::TERM)?;
        let record = setup.daemon.data_root().join("containers").join(&id).join("config.v2.json");
        fs::write(record, "{\"ID\": \"cut off")?;
        setup.daemon.start_again()?;
        setup.ok("start healthy")?;
        setup.davit("inspect damaged")?.code(1)?;
        Ok(())
    })
}
