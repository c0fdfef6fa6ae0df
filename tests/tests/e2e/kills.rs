//! The daemon is killed at any moment of runs, commits, removals, prunes and pulls. Afterwards
//! nothing lies around that no record owns, and every image that was acknowledged runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::{BUSYBOX, LAYERED};
use davit_testkit::{Need, Snapshot, daemon, paths};
use rustix::process::Signal;

use crate::setup::{Setup, plan};

/// In CI; `DAVIT_TEST_KILLS` asks for more.
const KILLS: u32 = 16;
const SECONDS: Duration = Duration::from_secs(60);

#[test]
fn item5_kills_in_a_mixed_loop_leave_no_orphans() -> Result<()> {
    let test = "item5_kills_in_a_mixed_loop_leave_no_orphans";
    plan(test, &[]).unpulled(&[BUSYBOX, LAYERED]).needs(&[Need::Program("du")]).run(|setup| {
        setup.daemon.pull(&setup.registry, BUSYBOX)?;
        setup.shell("", "true")?;
        remove_everything(setup)?;
        let before = Snapshot::of(&setup.daemon)?;
        setup.daemon.pull(&setup.registry, BUSYBOX)?;
        setup.ok("create --name keeper busybox true")?;

        let mut load = Load::new(setup);
        let mut chance = Chance(0x51_7cc1);
        let kills = std::env::var("DAVIT_TEST_KILLS").ok().and_then(|text| text.parse().ok());
        for round in 0..kills.unwrap_or(KILLS) {
            let moment = Duration::from_micros(chance.below(900_000));
            kill_under_load(setup, &mut load, moment)?;
            setup.daemon.start_again()?;
            check(setup, &load).with_context(|| format!("round {round}"))?;
        }
        remove_everything(setup)?;
        before.expect_again(&setup.daemon, SECONDS)?;
        nothing_is_stored(setup)
    })
}

/// Kills the daemon while `load` is at work, after `moment`.
fn kill_under_load(setup: &mut Setup, load: &mut Load, moment: Duration) -> Result<()> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| load.work(&over));
        // Not a wait for something: the kill is to come at any point of the work.
        std::thread::sleep(moment);
        over.store(true, Ordering::SeqCst);
        let killed = setup.daemon.end(Signal::KILL);
        let worked = worker.join().unwrap_or_else(|_| anyhow::bail!("the load panicked"));
        killed.and(worked)
    })
}

/// What must hold after every restart.
fn check(setup: &Setup, load: &Load) -> Result<()> {
    ensure!(setup.shell("", "echo here")? == "here");
    for image in &load.acknowledged {
        setup.ok(&format!("run --rm {image} true")).context("an acknowledged image")?;
    }
    let checked = setup.davit("system check")?;
    ensure!(checked.code == 0, "{checked:?}");
    Ok(())
}

fn remove_everything(setup: &Setup) -> Result<()> {
    let all = setup.ok("ps -aq")?;
    if !all.is_empty() {
        setup.ok(&format!("rm -f {}", all.replace('\n', " ")))?;
    }
    setup.ok("system prune -af")?;
    setup.ok("volume prune -af")?;
    ensure!(setup.ok("images -aq")?.is_empty() && setup.ok("volume ls -q")?.is_empty());
    ensure!(setup.ok("system check")?.contains("No problems"));
    Ok(())
}

/// With no image, container or volume left, the data root is as good as empty.
fn nothing_is_stored(setup: &Setup) -> Result<()> {
    let root = setup.daemon.data_root();
    for name in ["blobs/sha256", "tags", "layers", "ingest", "partial", "load", "quarantine"] {
        let left = names(&daemon::inside(&setup.daemon, &root.join("image").join(name)));
        ensure!(left.is_empty(), "image/{name}: {left:?}");
    }
    let told = setup.daemon.sandbox().sh(&format!("du -sk {}", root.display()))?.ok()?;
    let kib: u64 = told.split_whitespace().next().context("du says nothing")?.parse()?;
    ensure!(kib <= 16 << 10, "{kib} KiB are left");
    Ok(())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A client that does this and that until the daemon is gone.
struct Load {
    host: String,
    config: String,
    layered: String,
    chance: Chance,
    count: u32,
    containers: Vec<String>,
    /// Images whose making was acknowledged, and whose removal was not asked for.
    acknowledged: BTreeSet<String>,
}

impl Load {
    fn new(setup: &Setup) -> Self {
        Self {
            host: setup.daemon.docker_host(),
            config: setup.daemon.sandbox().dir().join("client").display().to_string(),
            layered: setup.registry.reference(LAYERED),
            chance: Chance(0x2545_f491),
            count: 0,
            containers: Vec::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    fn work(&mut self, over: &AtomicBool) -> Result<()> {
        while !over.load(Ordering::SeqCst) {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let layered = self.layered.clone();
        match self.chance.below(9) {
            0 => drop(self.davit("run --rm busybox true")?),
            1 => drop(self.davit("run --rm -v /anonymous busybox touch /anonymous/file")?),
            2 | 3 => self.change_and_commit()?,
            4 => {
                if let Some(name) = self.containers.pop() {
                    self.davit(&format!("rm -fv {name}"))?;
                }
            }
            5 => {
                if let Some(image) = self.acknowledged.pop_first() {
                    self.davit(&format!("rmi -f {image}"))?;
                }
            }
            6 | 7 => {
                if self.davit(&format!("pull -q {layered}"))? {
                    self.acknowledged.insert(layered);
                }
            }
            _ => drop(self.davit("system prune -f")?),
        }
        Ok(())
    }

    fn change_and_commit(&mut self) -> Result<()> {
        self.count += 1;
        let (container, image) = (format!("box{}", self.count), format!("made:{}", self.count));
        self.containers.push(container.clone());
        let flags = format!("run --name {container} -v shared{}:/shared", self.count % 3);
        if self.davit(&format!("{flags} busybox mkdir -p /made/{}", self.count))?
            && self.davit(&format!("commit {container} {image}"))?
        {
            self.acknowledged.insert(image);
        }
        Ok(())
    }

    /// Whether the daemon did it; it is killed now and then.
    fn davit(&self, line: &str) -> Result<bool> {
        let mut command = Command::new(paths::davit());
        command.args(line.split(' ')).env("DOCKER_HOST", &self.host);
        command.env("DOCKER_CONFIG", &self.config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status().with_context(|| format!("run davit {line}"))?.success())
    }
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
