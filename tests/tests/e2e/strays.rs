//! `davit system check`: what no record owns is found, and repaired where nothing dear can be lost.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use davit_testkit::daemon::inside;
use davit_testkit::images::BUSYBOX;
use rustix::process::Signal;

use crate::setup::{Setup, plan};

/// The digest of "x".
const X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

/// What a crash or a person may leave, as (path, whether repairing deletes it).
fn scatter(setup: &Setup) -> Result<Vec<(PathBuf, bool)>> {
    let (data, run) = (setup.daemon.data_root(), setup.daemon.exec_root());
    let id = "ab".repeat(32);
    let directories = [
        (data.join("containers").join(&id), true),
        (data.join("containers").join(format!("{id}.bad-1")), true),
        (data.join("volumes/unfinished"), true),
        (data.join("volumes/dear"), false),
        (data.join("overlay2").join(&id), true),
        (run.join("containers").join(&id), true),
        (run.join("runtime").join(&id), true),
    ];
    for (path, _) in &directories {
        fs::create_dir_all(inside(&setup.daemon, path))?;
    }
    fs::create_dir(inside(&setup.daemon, &data.join("volumes/unfinished/_data")))?;
    fs::create_dir(inside(&setup.daemon, &data.join("volumes/dear/_data")))?;
    fs::write(inside(&setup.daemon, &data.join("volumes/dear/_data/file")), "dear")?;
    let mut scattered = directories.to_vec();
    let blob = data.join("image/blobs/sha256").join(X);
    let record = data.join("network/networks/bad.json.bad");
    for path in [blob, record] {
        let place = inside(&setup.daemon, &path);
        fs::create_dir_all(place.parent().unwrap_or(&place))?;
        fs::write(place, "x")?;
        scattered.push((path, true));
    }
    Ok(scattered)
}

#[test]
fn item5_check_finds_and_repairs_what_nothing_owns() -> Result<()> {
    plan("item5_check_finds_and_repairs_what_nothing_owns", &[BUSYBOX]).run(|setup| {
        setup.ok("create --name idle -v kept:/kept busybox true")?;
        setup.ok("run -d --name running busybox sleep 1000")?;
        ensure!(setup.ok("system check")?.contains("No problems"));
        let scattered = scatter(setup)?;
        let id = setup.ok("inspect -f {{.Id}} idle")?;
        let merged = setup.daemon.data_root().join("overlay2").join(&id).join("merged");
        let mount = format!("mount -t tmpfs tmpfs {}", merged.display());
        setup.daemon.sandbox().sh(&mount)?.ok()?;

        let found = setup.davit("system check")?.code(1)?.stdout;
        let all = scattered.iter().map(|(path, _)| path).chain([&merged]);
        for path in all {
            ensure!(found.contains(&format!("{}: ", path.display())), "{path:?} not in {found}");
        }
        ensure!(found.lines().count() == scattered.len() + 1, "{found}");
        let repaired = setup.davit("system check --repair")?.code(1)?.stdout;
        let count = repaired.lines().filter(|line| line.ends_with("(repaired)")).count();
        ensure!(count == scattered.len(), "all but the volume with content: {repaired}");
        for (path, goes) in &scattered {
            ensure!(inside(&setup.daemon, path).exists() != *goes, "{path:?}");
        }
        let left = setup.davit("system check")?.code(1)?.stdout;
        ensure!(left.contains("volumes/dear: a volume without a record"), "{left}");
        ensure!(left.lines().count() == 1, "{left}");
        ensure!(setup.ok("start -a idle").is_ok() && setup.ok("volume ls -q")? == "kept");
        Ok(())
    })
}

/// A volume that was being made when the daemon was killed goes; one with content never does.
#[test]
fn item5_a_start_sweeps_unfinished_volumes() -> Result<()> {
    plan("item5_a_start_sweeps_unfinished_volumes", &[BUSYBOX]).run(|setup| {
        let scattered = scatter(setup)?;
        setup.daemon.end(Signal::KILL)?;
        setup.daemon.start_again()?;
        for (path, goes) in scattered {
            let stays =
                !goes || path.ends_with("bad.json.bad") || path.to_string_lossy().contains(".bad-");
            ensure!(inside(&setup.daemon, &path).exists() == stays, "{path:?}");
        }
        Ok(())
    })
}
