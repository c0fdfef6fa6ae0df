//! Images of more layers than fit into a page of mount options, and layers of very many files.

use std::fs;

use anyhow::{Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::oci::{Image, Layer};
use davit_testkit::rootfs::{self, Owner, Tar};
use davit_testkit::{Need, registry};
use serde_json::json;

use crate::setup::{BOTH, Setup, plan};

const FILE: Owner = Owner(0o644, 0, 0);
const DIRECTORY: Owner = Owner(0o755, 0, 0);

/// Puts busybox below `layers` into the registry and says how it is called there.
fn publish(setup: &Setup, name: &str, layers: Vec<Layer>) -> Result<String> {
    let mut all = vec![Layer::gzip(&rootfs::busybox()?)?];
    all.extend(layers);
    let image = Image::new(all, &json!({ "Env": ["PATH=/bin"], "Cmd": ["sh"] }))?;
    let connect = || setup.daemon.sandbox().connect(setup.registry.address());
    registry::push(&connect, name, "latest", &image)?;
    Ok(setup.registry.reference(name))
}

fn tiny_layers(count: u32) -> Result<Vec<Layer>> {
    let layer = |number: u32| {
        let mut tar = Tar::new();
        tar.dir("layers", DIRECTORY)?;
        tar.file(&format!("layers/{number}"), FILE, b"")?;
        tar.file("top", FILE, number.to_string().as_bytes())?;
        Layer::gzip(&tar.finish()?)
    };
    (1..=count).map(layer).collect()
}

#[test]
fn item4_an_image_of_130_layers_does_all_that_others_do() -> Result<()> {
    plan("item4_an_image_of_130_layers_does_all_that_others_do", &[BUSYBOX]).run(|setup| {
        let deep = publish(setup, "deep", tiny_layers(129)?)?;
        setup.ok(&format!("pull -q {deep}"))?;
        let count = |image: &str| {
            let script = "ls /layers | wc -l; cat /top";
            setup.daemon.davit(&["run", "--rm", image, "sh", "-c", script])?.ok()
        };
        ensure!(count(&deep)? == "129\n129");
        let file = setup.daemon.sandbox().dir().join("file");
        fs::write(&file, "copied\n")?;
        for cli in BOTH {
            setup.run(cli, &["create", "--name", "box", &deep, "cat", "/layers/copied"])?.ok()?;
            let source = file.display().to_string();
            setup.run(cli, &["cp", &source, "box:/layers/copied"])?.ok()?;
            let diff = setup.run(cli, &["diff", "box"])?.ok()?;
            let mut diff: Vec<&str> = diff.lines().collect();
            diff.sort_unstable();
            ensure!(diff == ["A /layers/copied", "C /layers"], "{cli:?}: {diff:?}");
            ensure!(setup.run(cli, &["start", "-a", "box"])?.ok()? == "copied");
            setup.run(cli, &["commit", "box", "deeper"])?.ok()?;
            ensure!(count("deeper")? == "130\n129", "{cli:?}");
            let saved = setup.daemon.sandbox().dir().join("deeper.tar").display().to_string();
            setup.run(cli, &["save", "-o", &saved, "deeper"])?.ok()?;
            setup.run(cli, &["rm", "box"])?.ok()?;
            setup.run(cli, &["rmi", "deeper"])?.ok()?;
            setup.run(cli, &["load", "-i", &saved])?.ok()?;
            ensure!(count("deeper")? == "130\n129", "{cli:?}");
            setup.run(cli, &["rmi", "deeper"])?.ok()?;
        }
        Ok(())
    })
}

/// 200 layers run where the kernel takes them, and are refused in words where it does not.
#[test]
fn item4_200_layers_run_or_are_refused_in_words() -> Result<()> {
    plan("item4_200_layers_run_or_are_refused_in_words", &[BUSYBOX]).run(|setup| {
        let deep = publish(setup, "deepest", tiny_layers(200)?)?;
        setup.ok(&format!("pull -q {deep}"))?;
        let ran = setup.daemon.davit(&["run", "--rm", &deep, "cat", "/top"])?;
        ensure!(
            ran.stdout == "200" || ran.stderr.contains("layers are more than the"),
            "neither: {ran:?}"
        );
        Ok(())
    })
}

/// 100,000 files with `DAVIT_TEST_FILES=100000`.
#[test]
fn item4_a_layer_of_many_files_is_applied_whole() -> Result<()> {
    let test = "item4_a_layer_of_many_files_is_applied_whole";
    plan(test, &[BUSYBOX]).needs(&[Need::Program("find")]).run(|setup| {
        let wanted = std::env::var("DAVIT_TEST_FILES").ok().and_then(|text| text.parse().ok());
        let wanted: u32 = wanted.unwrap_or(5_000);
        let mut tar = Tar::new();
        tar.dir("many", DIRECTORY)?;
        for number in 0..wanted {
            if number % 1000 == 0 {
                tar.dir(&format!("many/{}", number / 1000), DIRECTORY)?;
            }
            tar.file(&format!("many/{}/{number}", number / 1000), FILE, b"x")?;
        }
        let many = publish(setup, "many", vec![Layer::gzip(&tar.finish()?)?])?;
        setup.ok(&format!("pull -q {many}"))?;
        let script = "find /many -type f -size 1c | wc -l";
        let found = setup.daemon.davit(&["run", "--rm", &many, "sh", "-c", script])?.ok()?;
        ensure!(found == wanted.to_string(), "{found} of {wanted}");
        let saved = setup.daemon.sandbox().dir().join("many.tar").display().to_string();
        let digest = setup.ok(&format!("inspect -f {{{{.Id}}}} {many}"))?;
        setup.ok(&format!("save -o {saved} {many}"))?;
        setup.ok(&format!("rmi {many}"))?;
        setup.ok(&format!("load -i {saved}"))?;
        ensure!(setup.ok(&format!("inspect -f {{{{.Id}}}} {many}"))? == digest);
        setup.ok(&format!("rmi {many}")).map(drop)
    })
}
