//! Docker's Python SDK, unmodified, from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::requirements::{self, Need};
use davit_testkit::{command, paths};

use crate::setup::plan;

/// The version whose behaviour is expected here.
const SDK: &str = "docker==7.1.0";

const SCRIPT: &str = r#"
import docker, io, tarfile
client = docker.from_env(timeout=30)
assert client.ping()
assert client.version()["ApiVersion"]
assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"
try:
    client.containers.run("busybox", "sh -c 'echo bad >&2; exit 3'", remove=True)
    raise SystemExit("no error")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3 and b"bad" in error.stderr
try:
    client.containers.get("nosuch")
    raise SystemExit("no error")
except docker.errors.NotFound:
    pass
try:
    client.images.get("nosuch")
    raise SystemExit("no error")
except docker.errors.ImageNotFound:
    pass
box = client.containers.run("busybox", ["sh", "-c", "echo started; exec sleep 1000"], detach=True,
                            name="sdk", labels={"sdk": "1"}, environment={"A": "b"},
                            ports={"80/tcp": None}, mem_limit="64m")
assert box.status == "created"
box.reload()
assert box.status == "running" and box.labels["sdk"] == "1"
assert int(box.ports["80/tcp"][0]["HostPort"]) > 0
code, output = box.exec_run("sh -c 'echo $A'")
assert (code, output) == (0, b"b\n"), (code, output)
code, output = box.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
assert output == (b"out\n", b"err\n"), output
archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    info = tarfile.TarInfo("put"); info.size = 4
    tar.addfile(info, io.BytesIO(b"data"))
assert box.put_archive("/tmp", archive.getvalue())
stream, stat = box.get_archive("/tmp/put")
assert stat["size"] == 4
with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
    assert tar.extractfile("put").read() == b"data"
assert box.logs() == b"started\n"
assert box.stats(stream=False)["memory_stats"]["limit"] == 64 << 20
assert [c.name for c in client.containers.list(filters={"label": "sdk=1"})] == ["sdk"]
assert box.top()["Titles"]
box.pause(); box.reload(); assert box.status == "paused"; box.unpause()
box.rename("sdk2"); box.reload(); assert box.name == "sdk2"
box.kill()
assert box.wait()["StatusCode"] == 137
box.remove()
volume = client.volumes.create("sdk")
assert client.containers.run("busybox", "ls -d /v", volumes={"sdk": {"bind": "/v"}}, remove=True) == b"/v\n"
volume.remove()
assert any("busybox:latest" in image.tags for image in client.images.list())
assert client.info()["Containers"] == 0
events = client.events(since=0, until=int(__import__("time").time()), decode=True)
assert any(e["Action"] == "create" for e in events)
print("all of it")
"#;

#[test]
fn dockers_python_sdk_works() -> Result<()> {
    let test = "dockers_python_sdk_works";
    let plan = plan(test, &[BUSYBOX]).needs(&[Need::Program("python3")]);
    plan.run(|setup| {
        let Ok(python) = python_with_sdk() else {
            requirements::not_run(test, "the docker package from PyPI");
            return Ok(());
        };
        let script = setup.daemon.sandbox().dir().join("sdk.py");
        fs::write(&script, SCRIPT)?;
        let mut command = Command::new(python);
        command.arg(script).env("DOCKER_HOST", setup.daemon.docker_host());
        let output = command::run(command, b"", Duration::from_secs(90))?.ok()?;
        ensure!(output == "all of it", "{output}");
        Ok(())
    })
}

/// A Python that has the SDK, kept in the cache.
fn python_with_sdk() -> Result<PathBuf> {
    let dir = paths::cache_dir().join("python");
    let (python, done) = (dir.join("bin/python"), dir.join(SDK));
    if done.exists() {
        return Ok(python);
    }
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments);
        command::run(command, b"", Duration::from_secs(240))?.ok()
    };
    let at = dir.display().to_string();
    run(Path::new("python3"), &["-m", "venv", "--clear", &at]).context("make a venv")?;
    run(&python, &["-m", "pip", "install", "--quiet", SDK]).context("pip install")?;
    fs::write(done, "")?;
    Ok(python)
}
