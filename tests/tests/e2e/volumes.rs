//! Volumes: options of the local driver, and who may have which when.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::wait::until_true;
use rustix::process::Signal;
use serde_json::json;

use crate::setup::{BOTH, Setup, plan};

/// Whether anything is mounted over the volume's directory where the daemon lives.
fn is_mounted(setup: &Setup, volume: &str) -> Result<bool> {
    let script = format!("grep -c ' [^ ]*/volumes/{volume}/_data ' /proc/self/mountinfo");
    Ok(setup.daemon.sandbox().sh(&script)?.stdout.trim() != "0")
}

fn expect_unmounted(setup: &Setup, volume: &str) -> Result<()> {
    let what = format!("{volume} is unmounted");
    until_true(Duration::from_secs(10), &what, || Ok(!is_mounted(setup, volume)?))
}

#[test]
fn item8_driver_options_mount_while_a_container_runs() -> Result<()> {
    let test = "item8_driver_options_mount_while_a_container_runs";
    plan(test, &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let words = ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs"];
            setup
                .run(cli, &[&words[..], &["-o", "o=size=1m,uid=7,mode=711", "mem"]].concat())?
                .ok()?;
        }
        let options = setup.ok("volume inspect -f {{json.Options}} mem")?;
        ensure!(options == r#"{"device":"tmpfs","o":"size=1m,uid=7,mode=711","type":"tmpfs"}"#);
        ensure!(!is_mounted(setup, "mem")?, "not before it is used");
        setup.ok("run -d --name one -v mem:/m busybox sleep 1000")?;
        setup.ok("run -d --name two -v mem:/m --restart always busybox sleep 1000")?;
        setup.ok("exec one touch /m/file")?;
        let seen = setup.ok("exec two stat -f -c %b,%S /m")?;
        ensure!(seen == "256,4096", "{seen}");
        ensure!(setup.ok("exec two stat -c %u:%a /m")? == "7:711");

        setup.daemon.end(Signal::KILL)?;
        setup.daemon.start_again()?;
        setup.ok("rm -f one")?;
        ensure!(is_mounted(setup, "mem")?, "the other one still uses it");
        ensure!(setup.ok("exec two ls /m")? == "file");
        setup.ok("restart -t 0 two")?;
        ensure!(setup.ok("exec two ls /m")?.is_empty(), "nobody used it for a moment");
        let refused = setup.davit("volume rm mem")?.code(1)?;
        ensure!(refused.stderr.contains("remove mem: volume is in use - ["), "{refused:?}");
        setup.ok("stop -t 0 two")?;
        expect_unmounted(setup, "mem")?;
        setup.ok("rm two")?;
        setup.ok("volume rm mem")?;
        Ok(())
    })
}

#[test]
fn item8_a_mount_nobody_uses_is_swept_at_start() -> Result<()> {
    plan("item8_a_mount_nobody_uses_is_swept_at_start", &[BUSYBOX]).run(|setup| {
        setup.ok("volume create -o type=tmpfs -o device=none mem")?;
        setup.ok("run -d --name one -v mem:/m busybox sleep 1000")?;
        let pid = setup.ok("inspect -f {{.State.Pid}} one")?;
        setup.daemon.end(Signal::KILL)?;
        setup.daemon.sandbox().sh(&format!("kill -9 {pid}"))?.ok()?;
        setup.daemon.start_again()?;
        expect_unmounted(setup, "mem")?;
        setup.ok("start one")?;
        ensure!(is_mounted(setup, "mem")?);
        setup.ok("rm -f one")?;
        expect_unmounted(setup, "mem")
    })
}

#[test]
fn item8_a_bind_volume_shows_the_host_and_keeps_it() -> Result<()> {
    plan("item8_a_bind_volume_shows_the_host_and_keeps_it", &[BUSYBOX]).run(|setup| {
        let host = setup.daemon.sandbox().dir().join("host");
        fs::create_dir(&host)?;
        fs::write(host.join("file"), "host\n")?;
        let device = format!("device={}", host.display());
        for (name, options) in [("rw", "o=bind"), ("ro", "o=bind,ro")] {
            let words = ["volume", "create", "-o", "type=none", "-o", &device, "-o", options, name];
            setup.daemon.davit(&words)?.ok()?;
        }
        ensure!(setup.shell("-v rw:/v", "cat /v/file; echo new > /v/new")? == "host");
        ensure!(fs::read_to_string(host.join("new"))? == "new\n");
        let refused = setup.shell("-v ro:/v", "touch /v/x 2>&1; true")?;
        ensure!(refused.contains("Read-only file system"), "{refused}");
        // `cp` sees it in a container that doesn't run, too.
        setup.ok("create --name box -v rw:/v busybox true")?;
        let copy = host.join("copied").display().to_string();
        setup
            .daemon
            .davit(&["cp", &host.join("new").display().to_string(), "box:/v/copied"])?
            .ok()?;
        ensure!(fs::read_to_string(&copy)? == "new\n");
        ensure!(!is_mounted(setup, "rw")?);
        // Where the image has content, too: the host's stays as it is.
        setup.ok("create --name over -v rw:/etc busybox true")?;
        ensure!(fs::read_dir(&host)?.count() == 3, "only an empty volume is filled");
        setup.ok("rm box over")?;
        setup.ok("volume rm rw ro")?;
        ensure!(fs::read_to_string(host.join("file"))? == "host\n", "it is the host's");
        Ok(())
    })
}

#[test]
fn item8_driver_options_that_cannot_be_are_errors() -> Result<()> {
    plan("item8_driver_options_that_cannot_be_are_errors", &[BUSYBOX]).run(|setup| {
        let create = |name: &str, driver: &str, options: serde_json::Value| {
            let body = json!({"Name": name, "Driver": driver, "DriverOpts": options});
            setup.daemon.post("/volumes/create", &body)
        };
        for (options, message) in [
            (json!({"nosuch": "1"}), "create vol: invalid option: \"nosuch\""),
            (json!({"type": "tmpfs"}), "create vol: missing required option: \"device\""),
            (json!({"device": "/x"}), "create vol: missing required option: \"type\""),
        ] {
            let refused = create("vol", "", options)?.expect(400)?;
            ensure!(refused.message() == message, "{}", refused.message());
        }
        let unknown = create("vol", "nosuch", json!({}))?.expect(404)?.message();
        ensure!(
            unknown == "error looking up volume plugin nosuch: plugin \"nosuch\" not found",
            "{unknown}"
        );
        create("vol", "local", json!({"type": "none", "device": "/nosuch", "o": "bind"}))?
            .expect(201)?;
        let again =
            create("vol", "local", json!({"type": "tmpfs", "device": "x"}))?.expect(201)?.json()?;
        ensure!(again["Options"]["device"] == "/nosuch", "the volume that is there: {again}");
        let failed = setup.davit("run --name box -v vol:/v busybox true")?.code(127)?;
        let target = setup.daemon.data_root().join("volumes/vol/_data");
        let message = format!(
            "error while mounting volume '{0}': failed to mount local volume: mount /nosuch:{0}, \
             flags: 0x1000: no such file or directory",
            target.display()
        );
        ensure!(failed.stderr.contains(&message), "{failed:?}");
        setup.ok("rm box")?;
        setup.ok("volume rm vol")?;
        let refused =
            setup.davit("run --volume-driver nosuch -v vol:/v busybox true")?.code(125)?;
        ensure!(refused.stderr.contains("plugin \"nosuch\" not found"), "{refused:?}");
        ensure!(setup.ok("volume ls -q")?.is_empty());
        let metadata = fs::metadata(setup.daemon.data_root().join("volumes"))?;
        ensure!(metadata.nlink() == 2, "nothing stays");
        Ok(())
    })
}
