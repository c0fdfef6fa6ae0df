//! Images to and from registries and archives, made and removed, through both command lines.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::{BUSYBOX, LAYERED};
use davit_testkit::{Daemon, DaemonOptions, Need, Registry, Sandbox, command, met, requirements};
use rustix::process::Signal;

use crate::setup::{BOTH, Setup, plan};

const SECONDS: Duration = Duration::from_secs(60);

fn id(setup: &Setup, name: &str) -> Result<String> {
    setup.ok(&format!("inspect -f {{{{.Id}}}} {name}"))
}

#[test]
fn item1_pushed_images_are_pulled_with_the_same_digest() -> Result<()> {
    plan("item1_pushed_images_are_pulled_with_the_same_digest", &[LAYERED]).run(|setup| {
        let digest = id(setup, LAYERED)?;
        for cli in BOTH {
            let name = format!("{}/pushed/{cli:?}:1", setup.registry.address()).to_lowercase();
            setup.run(cli, &["tag", LAYERED, &name])?.ok()?;
            let told = setup.run(cli, &["push", &name])?.ok()?;
            let refers = format!("The push refers to repository [{}]", &name[..name.len() - 2]);
            ensure!(told.contains(&refers), "{cli:?}: {told}");
            ensure!(told.contains(&format!("1: digest: {digest} size: ")), "{cli:?}: {told}");
            let told = setup.run(cli, &["push", &name])?.ok()?;
            ensure!(told.contains("Layer already exists"), "{cli:?}: {told}");
            setup.run(cli, &["rmi", &name])?.ok()?;
            setup.run(cli, &["pull", &name])?.ok()?;
            ensure!(id(setup, &name)? == digest);
            let missing = setup.run(cli, &["push", "127.0.0.1:5000/nosuch:1"])?.code(1)?;
            ensure!(missing.stderr.contains("tag does not exist"), "{cli:?}: {missing:?}");
            let quiet = setup.run(cli, &["push", "-q", "-a", &name[..name.len() - 2]])?;
            ensure!(quiet.code == 0, "{cli:?}: {quiet:?}");
        }
        Ok(())
    })
}

#[test]
fn item3_saved_images_load_and_run() -> Result<()> {
    plan("item3_saved_images_load_and_run", &[BUSYBOX, LAYERED]).run(|setup| {
        for cli in BOTH {
            let (a, b) = (id(setup, BUSYBOX)?, id(setup, LAYERED)?);
            let file = setup.daemon.sandbox().dir().join("saved.tar").display().to_string();
            setup.run(cli, &["save", "-o", &file, BUSYBOX, "layered:latest"])?.ok()?;
            let names = setup.ok("images --format {{.Repository}}:{{.Tag}}")?;
            for name in names.lines() {
                setup.run(cli, &["rmi", name])?.ok()?;
            }
            ensure!(setup.ok("images -aq")?.is_empty());
            let told = setup.run(cli, &["load", "-i", &file])?.ok()?;
            for name in ["busybox:latest", "layered:latest"] {
                ensure!(told.contains(&format!("Loaded image: {name}")), "{cli:?}: {told}");
            }
            ensure!((id(setup, BUSYBOX)?, id(setup, LAYERED)?) == (a, b), "{cli:?}");
            let ran = setup.run(cli, &["run", "--rm", LAYERED, "cat", "/data/replaced"])?;
            ensure!(ran.code(0)?.stdout == "upper\n");
            let piped = command::run(setup.command(cli, &["load"]), &fs::read(&file)?, SECONDS)?;
            ensure!(piped.ok()?.contains("Loaded image: busybox:latest"));
            let bad = command::run(setup.command(cli, &["load"]), b"no archive", SECONDS)?;
            ensure!(bad.code != 0 && !bad.stderr.is_empty(), "{cli:?}: {bad:?}");
            let missing = setup.run(cli, &["save", "-o", &file, "nosuch"])?;
            ensure!(missing.stderr.contains("No such image: nosuch:latest"), "{missing:?}");
        }
        Ok(())
    })
}

#[test]
fn item3_commit_and_import_make_images_that_run() -> Result<()> {
    plan("item3_commit_and_import_make_images_that_run", &[LAYERED]).run(|setup| {
        for cli in BOTH {
            let script = "echo changed > /data/new; rm -r /opaque /data/replaced; sleep 1000";
            let words = ["run", "-d", "--name", "box", "-e", "KEPT=1", LAYERED, "sh", "-c", script];
            setup.run(cli, &words)?.ok()?;
            davit_testkit::until(SECONDS, "the change", || {
                let done = setup.davit("exec box test ! -e /data/replaced")?;
                Ok((done.code == 0).then_some(()))
            })?;
            let words = ["commit", "-a", "me", "-m", "why", "-c", "ENV ADDED=2", "box", "made:1"];
            let made = setup.run(cli, &words)?.ok()?;
            ensure!(made == id(setup, "made:1")?, "{cli:?}: {made}");
            ensure!(setup.ok("inspect -f {{.State.Status}} box")? == "running");
            let script = "cat /data/new; ls -d /opaque /data/replaced; echo $KEPT$ADDED";
            let ran = setup.run(cli, &["run", "--rm", "made:1", "sh", "-c", script])?;
            ensure!(ran.stdout == "changed\n12\n", "{cli:?}: {ran:?}");
            let history = setup.ok("history --format {{.Comment}} made:1")?;
            ensure!(history.lines().next() == Some("why"), "{history}");
            let shown = setup.ok("inspect -f {{.Author}}|{{.Config.Cmd}} made:1")?;
            ensure!(shown.starts_with("me|[sh -c"), "{shown}");
            let file = setup.daemon.sandbox().dir().join("box.tar").display().to_string();
            setup.run(cli, &["export", "-o", &file, "box"])?.ok()?;
            let words = ["import", "-c", "CMD [\"cat\", \"/data/new\"]", &file, "flat:1"];
            let flat = setup.run(cli, &words)?.ok()?;
            ensure!(flat == id(setup, "flat:1")?, "{cli:?}: {flat}");
            ensure!(setup.run(cli, &["run", "--rm", "flat:1"])?.ok()? == "changed");
            setup.run(cli, &["rm", "-f", "box"])?.ok()?;
            setup.run(cli, &["rmi", "made:1", "flat:1"])?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn item1_login_keeps_what_the_registry_takes() -> Result<()> {
    plan("item1_login_keeps_what_the_registry_takes", &[]).run(|setup| {
        let server = setup.registry.address().to_string();
        for cli in BOTH {
            let login = setup.command(cli, &["login", "-u", "u", "--password-stdin", &server]);
            let told = command::run(login, b"secret\n", SECONDS)?.ok()?;
            ensure!(told.contains("Login Succeeded"), "{cli:?}: {told}");
            let config = setup.daemon.sandbox().dir().join("client/config.json");
            let kept = fs::read_to_string(&config)?;
            ensure!(kept.contains("dTpzZWNyZXQ="), "{cli:?}: {kept}");
            let told = setup.run(cli, &["logout", &server])?.ok()?;
            ensure!(told.contains(&format!("Removing login credentials for {server}")), "{told}");
            ensure!(!fs::read_to_string(&config)?.contains("dTpzZWNyZXQ="));
        }
        Ok(())
    })
}

#[test]
fn item2_a_killed_daemon_leaves_images_and_no_orphans() -> Result<()> {
    let test = "item2_a_killed_daemon_leaves_images_and_no_orphans";
    plan(test, &[BUSYBOX]).unpulled(&[LAYERED]).needs(&[Need::Program("ps")]).run(|setup| {
        let reference = setup.registry.reference(LAYERED);
        // The same seed gives the same moments, as far as the machine does.
        let mut moment = 0x9e37_79b9_u64;
        let kills = std::env::var("DAVIT_TEST_KILLS").ok().and_then(|text| text.parse().ok());
        for round in 0..kills.unwrap_or(6) {
            moment = moment
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let mut pull = setup.command(crate::setup::Cli::Davit, &["pull", "-q", &reference]);
            let mut pull = pull
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()?;
            // Not a wait for something: the kill is to come at any point of the pull.
            std::thread::sleep(Duration::from_micros(moment >> 45));
            setup.daemon.end(Signal::KILL)?;
            pull.kill().ok();
            pull.wait()?;
            setup.daemon.start_again()?;
            ensure!(setup.shell("", "echo here")? == "here", "round {round}");
            let checked = setup.davit("system check")?;
            ensure!(checked.code == 0, "round {round}: {checked:?}");
            setup.ok(&format!("pull -q {reference}"))?;
            let ran = setup.daemon.davit(&["run", "--rm", &reference, "cat", "/data/replaced"])?;
            ensure!(ran.ok()? == "upper", "round {round}");
            setup.ok(&format!("rmi {reference}"))?;
        }
        setup.ok("rmi -f busybox").context("remove a name")?;
        setup.ok("system prune -af")?;
        let checked = setup.ok("system check")?;
        ensure!(checked.contains("No problems"), "{checked}");
        Ok(())
    })
}

/// KiB in use on the file system of `place`.
fn used(setup: &Setup, place: &str) -> Result<u64> {
    let told = setup.daemon.sandbox().sh(&format!("df -k --output=used {place}"))?.ok()?;
    Ok(told.lines().last().context("df says nothing")?.trim().parse()?)
}

#[test]
fn item5_a_full_disk_is_pruned_and_little_stays() -> Result<()> {
    if !met("item5_a_full_disk_is_pruned_and_little_stays", requirements::DAEMON) {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let data_root = sandbox.dir().join("small");
    fs::create_dir(&data_root)?;
    let place = data_root.display().to_string();
    sandbox.sh(&format!("mount -t tmpfs -o size=60m tmpfs {place}"))?.ok()?;
    let registry = Registry::start(&sandbox, &[BUSYBOX, LAYERED])?;
    let options = DaemonOptions { data_root: Some(data_root), ..DaemonOptions::default() };
    let setup = Setup { daemon: Daemon::start_with(sandbox, options)?, registry };
    let empty = used(&setup, &place)?;
    setup.daemon.pull(&setup.registry, BUSYBOX)?;
    setup.daemon.pull(&setup.registry, LAYERED)?;
    setup.ok("run --name done busybox sh -c true")?;
    let filled = used(&setup, &place)?;
    ensure!(filled > empty + 1000, "{empty} {filled}");
    let fill = format!("dd if=/dev/zero of={place}/fill bs=64k 2>&1; true");
    ensure!(setup.daemon.sandbox().sh(&fill)?.stdout.contains("No space left"));
    setup.ok("system prune -af")?;
    ensure!(setup.ok("images -aq")?.is_empty() && setup.ok("ps -aq")?.is_empty());
    setup.daemon.sandbox().sh(&format!("rm {place}/fill"))?.ok()?;
    davit_testkit::until(SECONDS, "95 % to be free again", || {
        let left = used(&setup, &place)?.saturating_sub(empty);
        Ok((left * 20 <= filled - empty).then_some(()))
    })?;
    ensure!(used(&setup, &place)? <= 16 << 10, "at most 16 MiB stay");
    ensure!(setup.ok("system check")?.contains("No problems"));
    setup.daemon.pull(&setup.registry, BUSYBOX)?;
    ensure!(setup.shell("", "echo again")? == "again");
    Ok(())
}

#[test]
fn item4_rules_for_registries_come_from_a_file() -> Result<()> {
    if !met("item4_rules_for_registries_come_from_a_file", requirements::DAEMON) {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let file = sandbox.dir().join("registries.json");
    let registry = Registry::start(&sandbox, &[BUSYBOX])?;
    let rules = serde_json::json!({
        "docker.io": {
            "mirrors": [format!("http://{}", registry.address())], "rewrite": { "library/": "" },
        },
    });
    fs::write(&file, rules.to_string())?;
    let arguments = vec!["--registries-file".to_owned(), file.display().to_string()];
    let options = DaemonOptions { arguments, ..DaemonOptions::default() };
    let setup = Setup { daemon: Daemon::start_with(sandbox, options)?, registry };
    let told = setup.ok("pull busybox")?;
    ensure!(told.contains("Status: Downloaded newer image for busybox:latest"), "{told}");
    ensure!(setup.shell("", "echo mirrored")? == "mirrored");
    let shown = setup.daemon.request("GET", "/images/busybox/json?platform=linux/s390x")?;
    ensure!(shown.status == 404, "{}", shown.text());
    Ok(())
}
