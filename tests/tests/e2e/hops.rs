//! Images on their way between engines, registries and archives of different makers: the digests are
//! the same at every hop, and what comes out runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::LAYERED;
use davit_testkit::{Need, Registry, command};
use serde_json::Value;

use crate::others::{DOCKER, Other};
use crate::setup::{Setup, plan};

const MINUTE: Duration = Duration::from_secs(60);
/// A file of the image's upper layer that replaces one below, and what it says.
const FILE: &str = "/data/replaced";
const CONTENT: &str = "upper";

fn needs(programs: &[&'static str]) -> Vec<Need> {
    programs.iter().map(|name| Need::Program(name)).collect()
}

/// The digest of what a name points to.
fn digest(setup: &Setup, name: &str) -> Result<String> {
    let told = setup.ok(&format!("inspect -f {{{{json.RepoDigests}}}} {name}"))?;
    let (_, digest) = told.split_once('@').with_context(|| format!("no digest in {told}"))?;
    Ok(digest[..71].to_owned())
}

/// Pushes the image as `name` and gives the digest that the push told.
fn push(setup: &Setup, name: &str) -> Result<String> {
    setup.ok(&format!("tag {LAYERED} {name}"))?;
    told_digest(&setup.ok(&format!("push {name}"))?)
}

/// The digest in what a push or a pull tells.
fn told_digest(told: &str) -> Result<String> {
    let mut digests = told.split_whitespace().filter(|word| word.starts_with("sha256:"));
    digests.next_back().map(str::to_owned).with_context(|| format!("no digest in {told}"))
}

/// Gets `name` anew, and checks that it is `wanted` and runs.
fn pull_and_run(setup: &Setup, name: &str, wanted: &str) -> Result<()> {
    // It may be here from before.
    setup.davit(&format!("rmi {name}"))?;
    let told = setup.ok(&format!("pull {name}"))?;
    ensure!(told.contains(&format!("Digest: {wanted}")), "{told}");
    ensure!(digest(setup, name)? == wanted);
    ensure!(setup.ok(&format!("run --rm {name} cat {FILE}"))? == CONTENT);
    Ok(())
}

#[test]
fn hops_docker_pulls_ours_and_we_pull_dockers() -> Result<()> {
    let needs = needs(DOCKER);
    plan("hops_docker_pulls_ours_and_we_pull_dockers", &[LAYERED]).needs(&needs).run(|setup| {
        let sandbox = setup.daemon.sandbox();
        let registry = Registry::empty(sandbox)?;
        let docker = Other::docker(sandbox)?;
        let ours = format!("{}/hop/ours:1", registry.address());
        let theirs = format!("{}/hop/theirs:1", registry.address());
        let pushed = push(setup, &ours)?;
        ensure!(pushed == digest(setup, LAYERED)?, "as it was pulled: {pushed}");
        let told = docker.ok(&format!("pull {ours}"))?;
        ensure!(told.contains(&format!("Digest: {pushed}")), "{told}");
        ensure!(docker.content(&ours, FILE)? == CONTENT);

        // It writes a manifest of its own, of the same layers.
        docker.ok(&format!("tag {ours} {theirs}"))?;
        let by_docker = told_digest(&docker.ok(&format!("push {theirs}"))?)?;
        pull_and_run(setup, &theirs, &by_docker)?;
        let again = format!("{}/hop/again:1", registry.address());
        setup.ok(&format!("tag {theirs} {again}"))?;
        ensure!(told_digest(&setup.ok(&format!("push {again}"))?)? == by_docker);
        let told = docker.ok(&format!("pull {again}"))?;
        ensure!(told.contains(&format!("Digest: {by_docker}")), "{told}");
        Ok(())
    })
}

#[test]
fn hops_podman_pulls_ours_and_we_pull_podmans() -> Result<()> {
    let test = "hops_podman_pulls_ours_and_we_pull_podmans";
    plan(test, &[LAYERED]).needs(&needs(&["podman", "conmon", "runc"])).run(|setup| {
        let sandbox = setup.daemon.sandbox();
        let registry = Registry::empty(sandbox)?;
        let podman = Other::podman(sandbox)?;
        let ours = format!("{}/hop/ours:1", registry.address());
        let theirs = format!("{}/hop/theirs:1", registry.address());
        let pushed = push(setup, &ours)?;
        podman.ok(&format!("pull -q --tls-verify=false {ours}"))?;
        let there = podman.ok(&format!("image inspect --format {{{{.Digest}}}} {ours}"))?;
        ensure!(there == pushed, "{there} is not {pushed}");
        ensure!(podman.content(&ours, FILE)? == CONTENT);

        let file = sandbox.dir().join("digest").display().to_string();
        let flags = format!("-q --tls-verify=false --digestfile {file}");
        podman.ok(&format!("push {flags} {ours} {theirs}"))?;
        let by_podman = std::fs::read_to_string(&file)?.trim().to_owned();
        pull_and_run(setup, &theirs, &by_podman)?;
        let again = format!("{}/hop/again:1", registry.address());
        setup.ok(&format!("tag {theirs} {again}"))?;
        ensure!(told_digest(&setup.ok(&format!("push {again}"))?)? == by_podman);
        let pinned = format!("{}@{by_podman}", again.trim_end_matches(":1"));
        podman.ok(&format!("pull -q --tls-verify=false {pinned}"))?;
        ensure!(podman.content(&pinned, FILE)? == CONTENT);
        Ok(())
    })
}

#[test]
fn hops_skopeo_copies_in_and_out_of_our_pushes() -> Result<()> {
    let test = "hops_skopeo_copies_in_and_out_of_our_pushes";
    plan(test, &[LAYERED]).needs(&[Need::Program("skopeo")]).run(|setup| {
        let sandbox = setup.daemon.sandbox();
        let registry = Registry::empty(sandbox)?;
        let name = |tag: &str| format!("{}/hop/image:{tag}", registry.address());
        let skopeo = |words: &str| -> Result<String> {
            let mut command = sandbox.command("skopeo");
            command.arg("--insecure-policy").args(words.split_whitespace());
            command::run(command, b"", MINUTE)?.ok()
        };
        let copy = "copy -q --preserve-digests --src-tls-verify=false --dest-tls-verify=false";
        let pushed = push(setup, &name("ours"))?;
        let seen = format!(
            "inspect --tls-verify=false --format {{{{.Digest}}}} docker://{}",
            name("ours")
        );
        ensure!(skopeo(&seen)? == pushed);
        let layout = sandbox.dir().join("layout").display().to_string();
        skopeo(&format!("{copy} docker://{} dir:{layout}", name("ours")))?;
        skopeo(&format!("{copy} dir:{layout} docker://{}", name("back")))?;
        pull_and_run(setup, &name("back"), &pushed)?;

        // Of another kind: an OCI manifest with zstd layers.
        skopeo(&format!(
            "copy -q --format oci --dest-compress-format zstd --src-tls-verify=false \
             --dest-tls-verify=false docker://{} docker://{}",
            name("ours"),
            name("zstd")
        ))?;
        let seen = format!(
            "inspect --tls-verify=false --format {{{{.Digest}}}} docker://{}",
            name("zstd")
        );
        let by_skopeo = skopeo(&seen)?;
        pull_and_run(setup, &name("zstd"), &by_skopeo)?;
        setup.ok(&format!("tag {} {}", name("zstd"), name("again")))?;
        ensure!(told_digest(&setup.ok(&format!("push {}", name("again")))?)? == by_skopeo);
        Ok(())
    })
}

/// The digest of the configuration in an archive's `manifest.json`: Docker's id of the image.
fn config_in(setup: &Setup, archive: &str) -> Result<String> {
    let json = setup.daemon.sandbox().sh(&format!("tar -xOf {archive} manifest.json"))?.ok()?;
    let json: Value = serde_json::from_str(&json)?;
    let path = json[0]["Config"].as_str().context("no Config")?;
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".json");
    Ok(format!("sha256:{name}"))
}

#[test]
fn hops_archives_of_docker_and_podman_load_here_and_ours_there() -> Result<()> {
    let test = "hops_archives_of_docker_and_podman_load_here_and_ours_there";
    let needs = needs(&[DOCKER, &["podman", "conmon"]].concat());
    plan(test, &[LAYERED]).needs(&needs).run(|setup| {
        let sandbox = setup.daemon.sandbox();
        let text = |name: &str| sandbox.dir().join(name).display().to_string();
        let ours = text("ours.tar");
        setup.ok(&format!("tag {LAYERED} hop:1"))?;
        setup.ok(&format!("save -o {ours} hop:1"))?;
        let id = config_in(setup, &ours)?;
        for (name, other) in
            [("docker", Other::docker(sandbox)?), ("podman", Other::podman(sandbox)?)]
        {
            let told = other.ok(&format!("load -i {ours}"))?;
            ensure!(told.contains("Loaded image") && told.contains("hop:1"), "{name}: {told}");
            let there = other.ok("image inspect --format {{.Id}} hop:1")?;
            ensure!(id.ends_with(there.trim_start_matches("sha256:")), "{name}: {there}, not {id}");
            ensure!(other.content("hop:1", FILE)? == CONTENT, "{name}");

            let theirs = text(&format!("{name}.tar"));
            other.ok(&format!("tag hop:1 from-{name}:1"))?;
            other.ok(&format!("save -o {theirs} from-{name}:1"))?;
            let told = setup.ok(&format!("load -i {theirs}"))?;
            ensure!(told.contains(&format!("from-{name}:1")), "{name}: {told}");
            let loaded = setup.ok("images --format {{.Repository}}:{{.Tag}}")?;
            let loaded = loaded.lines().find(|line| line.ends_with(&format!("from-{name}:1")));
            let loaded = loaded.context("the loaded image")?;
            ensure!(setup.ok(&format!("run --rm {loaded} cat {FILE}"))? == CONTENT, "{name}");
            let again = text(&format!("{name}-again.tar"));
            setup.ok(&format!("save -o {again} {loaded}"))?;
            ensure!(config_in(setup, &again)? == id, "{name}: the configuration is the same");
        }
        Ok(())
    })
}
