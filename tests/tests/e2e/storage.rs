//! Layers, volumes, bind mounts, `cp` and `diff`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use davit_testkit::images::{BUSYBOX, LAYERED};
use davit_testkit::{Snapshot, command};

use crate::setup::{BOTH, plan};

#[test]
fn layers_are_applied_exactly() -> Result<()> {
    plan("layers_are_applied_exactly", &[LAYERED]).run(|setup| {
        let script = "
            ls /data | tr '\\n' ' '; echo
            cat /data/replaced /special/absolute
            ls /opaque; ls -d /gone 2>/dev/null
            stat -c '%n %a %u %g %F' /data /data/owned /special/setuid /special/fifo
            stat -c '%t:%T %F' /special/null
            stat -c %h /special/first; cat /special/second
            cat /special/*/* | tail -1
            stat -c %Y /data/owned";
        let words = ["run", "--name", "limited", LAYERED, "sh", "-c", script];
        let output = setup.daemon.davit(&words)?.stdout;
        let wanted = "owned replaced \nupper\nupper\nnew\n\
            /data 750 1234 4321 directory\n\
            /data/owned 640 1234 4321 regular file\n\
            /special/setuid 4755 0 0 regular file\n\
            /special/fifo 644 0 0 fifo\n\
            1:3 character special file\n2\nlinked\nlong\n1767225600\n";
        ensure!(output == wanted, "{output}");
        let listed = setup.ok(&format!("images {LAYERED}"))?;
        ensure!(listed.contains("latest"), "{listed}");
        let history = setup.ok(&format!("history -q {LAYERED}"))?;
        ensure!(history.lines().count() == 3, "{history}");
        let layers = setup.daemon.request("GET", "/images/layered/json")?.expect(200)?.json()?;
        ensure!(layers["RootFS"]["Layers"].as_array().is_some_and(|layers| layers.len() == 3));
        Ok(())
    })
}

#[test]
fn volumes_persist_and_take_the_images_content() -> Result<()> {
    plan("volumes_persist_and_take_the_images_content", &[BUSYBOX, LAYERED]).run(|setup| {
        setup.shell("-v keep:/data", "echo kept > /data/file")?;
        ensure!(setup.shell("-v keep:/other", "cat /other/file")? == "kept");
        let mountpoint = setup.ok("volume inspect -f {{.Mountpoint}} keep")?;
        let wanted = setup.daemon.data_root().join("volumes/keep/_data");
        ensure!(Path::new(&mountpoint) == wanted, "{mountpoint}");
        ensure!(fs::read_to_string(wanted.join("file"))? == "kept\n");
        ensure!(setup.shell("-v keep:/data:ro", "touch /data/x 2>&1; true")?.contains("Read-only"));

        setup.ok("run --rm -v filled:/data layered true")?;
        let filled = setup.daemon.data_root().join("volumes/filled/_data");
        let owned = fs::metadata(filled.join("owned"))?;
        ensure!((owned.uid(), owned.gid(), owned.mode() & 0o777) == (1234, 4321, 0o640));
        ensure!(fs::metadata(&filled)?.uid() == 1234, "the directory's owner is copied too");
        setup.ok("run --rm -v empty:/data:nocopy layered true")?;
        ensure!(setup.shell("-v empty:/e", "ls /e")?.is_empty());

        setup.ok("run -d --name user -v keep:/k busybox sleep 1000")?;
        let refused = setup.davit("volume rm keep")?.code(1)?;
        ensure!(refused.stderr.contains("volume is in use"), "{refused:?}");
        setup.ok("rm -f user")?;
        let mut listed: Vec<String> =
            setup.ok("volume ls -q")?.lines().map(str::to_owned).collect();
        listed.sort();
        ensure!(listed == ["empty", "filled", "keep"], "{listed:?}");
        setup.ok("volume rm keep filled empty")?;
        ensure!(!setup.daemon.data_root().join("volumes/keep").exists());
        Ok(())
    })
}

#[test]
fn binds_show_the_hosts_files() -> Result<()> {
    plan("binds_show_the_hosts_files", &[BUSYBOX]).run(|setup| {
        let host = setup.daemon.sandbox().dir().join("bind");
        fs::create_dir(&host)?;
        fs::write(host.join("file"), "from the host\n")?;
        let at = host.display();
        ensure!(
            setup.shell(&format!("-v {at}:/b"), "cat /b/file; echo back > /b/new")?
                == "from the host"
        );
        ensure!(fs::read_to_string(host.join("new"))? == "back\n");
        let read_only = setup.shell(&format!("-v {at}:/b:ro"), "touch /b/x 2>&1; true")?;
        ensure!(read_only.contains("Read-only"), "{read_only}");
        ensure!(setup.shell(&format!("-v {at}/file:/one"), "cat /one")? == "from the host");
        let missing = host.join("made");
        setup.shell(&format!("-v {}:/m", missing.display()), "true")?;
        ensure!(missing.is_dir(), "-v makes a missing source");
        let mount = format!("type=bind,src={at}/nosuch,dst=/m");
        let refused = setup.daemon.davit(&["run", "--rm", "--mount", &mount, "busybox", "true"])?;
        ensure!(refused.code == 125, "{refused:?}");
        ensure!(refused.stderr.contains("bind source path does not exist"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn cp_goes_both_ways_running_or_not() -> Result<()> {
    plan("cp_goes_both_ways_running_or_not", &[BUSYBOX]).run(|setup| {
        let host = setup.daemon.sandbox().dir().join("cp");
        fs::create_dir_all(host.join("tree/sub"))?;
        fs::write(host.join("tree/sub/file"), "x\n")?;
        let at = |name: &str| host.join(name).display().to_string();
        setup.ok("create --name box -v vol:/vol busybox sleep 1000")?;
        let before = Snapshot::of(&setup.daemon)?;
        for (round, cli) in BOTH.into_iter().enumerate() {
            if round == 1 {
                setup.ok("start box")?;
            }
            let run = |words: &[&str]| setup.run(cli, words)?.ok();
            run(&["cp", &at("tree"), "box:/tmp/copy"])?;
            run(&["cp", "box:/tmp/copy/sub/file", &at("back")])?;
            ensure!(fs::read_to_string(host.join("back"))? == "x\n");
            run(&["cp", &at("back"), "box:/vol/in-volume"])?;
            let volume = setup.daemon.data_root().join("volumes/vol/_data/in-volume");
            ensure!(fs::read_to_string(&volume)? == "x\n", "cp sees the container's volumes");
            // A link in the container that points out of it must not reach the host.
            let mut tar = setup.command(cli, &["cp", "box:/etc/passwd", "-"]);
            tar.env("LC_ALL", "C");
            let stream = command::run(tar, b"", Duration::from_secs(10))?.code(0)?;
            ensure!(stream.stdout.starts_with("passwd\0") && stream.stdout.contains("/home/user"));
            let missing = setup.run(cli, &["cp", "box:/nosuch", "-"])?.code(1)?;
            ensure!(
                missing.stderr.contains("Could not find the file /nosuch in container box"),
                "{missing:?}"
            );
            if round == 0 {
                before.expect_again(&setup.daemon, Duration::from_secs(5))?;
            }
        }
        ensure!(setup.ok("exec box cat /tmp/copy/sub/file")? == "x");
        Ok(())
    })
}

#[test]
fn diff_lists_what_the_container_changed() -> Result<()> {
    plan("diff_lists_what_the_container_changed", &[BUSYBOX]).run(|setup| {
        let script =
            "echo x > /new; rm /etc/group; echo y >> /etc/passwd; mkdir /dir; touch /dir/f";
        setup.daemon.davit(&["run", "--name", "box", "busybox", "sh", "-c", script])?.ok()?;
        for cli in BOTH {
            let changes = setup.run(cli, &["diff", "box"])?.ok()?;
            let mut changes: Vec<&str> = changes.lines().collect();
            changes.sort_unstable();
            let wanted =
                ["A /dir", "A /dir/f", "A /new", "C /etc", "C /etc/passwd", "D /etc/group"];
            ensure!(changes == wanted, "{changes:?}");
        }
        Ok(())
    })
}
