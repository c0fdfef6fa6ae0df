//! Engines of others that use the runtime: Debian's containerd, Docker and Podman, each started here,
//! in the sandbox, with directories of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use davit_testkit::{Need, met, paths, wait};

use crate::support::{Ended, Lab, PATIENCE, lab};

/// A lab in which `programs` are there, too.
fn lab_with(test: &str, programs: &[&'static str]) -> Result<Option<Lab>> {
    let needs: Vec<Need> = programs.iter().map(|program| Need::Program(program)).collect();
    if met(test, &needs) { lab(test) } else { Ok(None) }
}

/// A command line to be run again and again, with the words of one use added.
struct Engine<'a> {
    lab: &'a Lab,
    words: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Engine<'_> {
    fn command(&self, args: &[&str]) -> Command {
        // The programs that an engine starts itself are found beside it.
        let directories = self.lab.engine_directories();
        let path = std::env::join_paths(&directories).expect("plain paths");
        let mut command = self.lab.sandbox.command("env");
        command.arg(format!("PATH={}", path.to_string_lossy()));
        command.args(self.env.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(&self.words).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Result<Ended> {
        self.lab.finish(self.command(args))
    }

    /// The same on a terminal.
    fn on_terminal(&self, args: &[&str]) -> Result<Ended> {
        let quoted = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
        let plain = self.command(args);
        let words = std::iter::once(plain.get_program()).chain(plain.get_args());
        let line: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
        command.stdin(Stdio::null());
        self.lab.finish(command)
    }

    /// Starts a daemon and waits until `probe` does well.
    fn start(&self, daemon: &[&str], probe: &[&str]) -> Result<()> {
        let log = self.lab.sandbox.dir().join("daemon.log");
        let bare = Engine { lab: self.lab, words: Vec::new(), env: self.env.clone() };
        let mut daemon = bare.command(daemon);
        // Ended with the sandbox; nobody waits for it.
        let output = File::create(&log)?;
        let mut child = daemon.stdout(output.try_clone()?).stderr(output).spawn()?;
        wait::until_true(PATIENCE, "the daemon's answer", || {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the daemon ended, {status}: {}", fs::read_to_string(&log)?);
            }
            Ok(self.run(probe)?.code == 0)
        })
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())
    }
}

impl Lab {
    fn engine_directories(&self) -> Vec<PathBuf> {
        let known = ["ctr", "containerd", "dockerd", "conmon", "runc", "podman"];
        let found = known.iter().filter_map(|name| paths::program(name));
        let found = found.filter_map(|program| program.parent().map(PathBuf::from));
        found.chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from)).collect()
    }

    fn text(&self, name: &str) -> String {
        self.sandbox.dir().join(name).to_string_lossy().into_owned()
    }
}

#[test]
fn containerd_runs_containers_with_it() -> Result<()> {
    let test = "containerd_runs_containers_with_it";
    let Some(lab) = lab_with(test, &["containerd", "ctr", "script"])? else { return Ok(()) };
    let socket = "/run/containerd-test.sock";
    let config = format!(
        "version = 2\nroot = \"{}\"\nstate = \"/run/containerd-test\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n",
        lab.text("containerd")
    );
    fs::write(lab.sandbox.dir().join("config.toml"), config)?;
    let words = ["ctr", "--address", socket].map(str::to_owned).to_vec();
    let ctr = Engine { lab: &lab, words, env: Vec::new() };
    ctr.start(&["containerd", "--config", &lab.text("config.toml")], &["version"])?;

    let runtime = lab.runtime.to_string_lossy().into_owned();
    let (root, parent) = (lab.text("rootfs"), lab.sandbox.cgroup_parent().to_owned());
    let run = |id: &str, flags: &[&str], command: &[&str]| {
        let cgroup = format!("{parent}/{id}");
        let fixed = ["--runc-binary", &runtime, "--cgroup", &cgroup, "--rootfs"];
        let words = [&["run"], &fixed[..], flags, &[root.as_str(), id], command].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let go = |list: Vec<String>| ctr.run(&list.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(go(run("c0", &["--rm"], &["/bin/echo", "hello"]))?.ok()?, "hello\n");
    go(run("c1", &["--detach"], &["/bin/sleep", "1000"]))?.ok()?;
    let exec = |id: &'static str, script: &'static str| {
        ["task", "exec", "--exec-id", id, "c1", "/bin/sh", "-c", script]
    };
    let ended = ctr.run(&exec("e1", "echo in; exit 3"))?;
    assert_eq!((ended.code, &*ended.stdout), (3, "in\n"), "{}", ended.stderr);
    ctr.run(&["task", "pause", "c1"])?.ok()?;
    assert!(ctr.run(&["task", "ls"])?.ok()?.contains("PAUSED"));
    ctr.run(&["task", "resume", "c1"])?.ok()?;
    assert!(ctr.run(&["task", "metrics", "c1"])?.ok()?.contains("pids.current"));
    ctr.run(&["task", "kill", "--signal", "KILL", "c1"])?.ok()?;
    wait::until_true(PATIENCE, "c1 to be stopped", || {
        Ok(ctr.run(&["task", "ls"])?.ok()?.contains("STOPPED"))
    })?;
    // Its exit status is that of the task, 137.
    ctr.run(&["task", "delete", "c1"])?;
    ctr.run(&["container", "rm", "c1"])?.ok()?;
    let terminal = run("c2", &["--rm", "--tty"], &["/bin/sh", "-c", "/bin/tty; exit 4"]);
    let ended = ctr.on_terminal(&terminal.iter().map(String::as_str).collect::<Vec<_>>())?;
    assert_eq!(ended.code, 4, "{}", ended.stdout);
    assert!(ended.stdout.contains("/dev/pts/0"), "{}", ended.stdout);
    assert_eq!(lab.cgroups_left(), Vec::<String>::new());
    Ok(())
}

#[test]
fn docker_runs_containers_with_it() -> Result<()> {
    let programs = ["dockerd", "containerd", "docker", "script", "tar"];
    let Some(lab) = lab_with("docker_runs_containers_with_it", &programs)? else { return Ok(()) };
    // Debian's own command line, should there be another one in PATH.
    let beside = paths::program("dockerd").and_then(|dockerd| {
        let usr = dockerd.parent()?.parent()?.to_owned();
        Some(usr.join("bin/docker")).filter(|docker| docker.is_file())
    });
    let client = beside.unwrap_or_else(|| paths::program_or_name("docker"));
    let words = vec![client.to_string_lossy().into_owned(), "--host=unix:///run/d.sock".to_owned()];
    let docker = Engine { lab: &lab, words, env: vec![("HOME", lab.text("home"))] };
    let daemon = [
        "dockerd",
        "--host=unix:///run/d.sock",
        "--pidfile=/run/d.pid",
        "--exec-root=/run/docker-test",
        &format!("--data-root={}", lab.text("docker")),
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--userland-proxy=false",
        "--storage-driver=vfs",
        &format!("--cgroup-parent={}", lab.sandbox.cgroup_parent()),
        &format!("--add-runtime=tested={}", lab.runtime.display()),
    ];
    docker.start(&daemon, &["version"])?;
    lab.sandbox
        .sh(&format!("tar -C {} -cf {} .", lab.text("rootfs"), lab.text("image.tar")))?
        .ok()?;
    docker.run(&["import", &lab.text("image.tar"), "busybox"])?.ok()?;

    let run = ["run", "--runtime=tested", "--network=none"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    assert_eq!(docker.run(&with(&["--rm", "busybox", "echo", "hello"]))?.ok()?, "hello\n");
    docker.run(&with(&["-d", "--name=c1", "busybox", "sleep", "1000"]))?.ok()?;
    let ended = docker.on_terminal(&["exec", "-it", "c1", "sh", "-c", "tty; exit 3"])?;
    assert_eq!(ended.code, 3, "{}", ended.stdout);
    assert!(ended.stdout.contains("/dev/pts/0"), "{}", ended.stdout);
    docker.run(&["update", "--memory=64m", "--memory-swap=64m", "--pids-limit=50", "c1"])?.ok()?;
    let stats = ["stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", "c1"];
    let stats = docker.run(&stats)?.ok()?;
    assert!(stats.trim().ends_with("/ 64MiB 1"), "{stats}");
    docker.run(&["pause", "c1"])?.ok()?;
    assert!(docker.run(&["ps", "--format={{.Status}}"])?.ok()?.contains("(Paused)"));
    docker.run(&["unpause", "c1"])?.ok()?;
    assert!(docker.run(&["top", "c1"])?.ok()?.contains("sleep 1000"));
    docker.run(&["rm", "--force", "c1"])?.ok()?;

    let hungry = "x=a; while :; do x=$x$x$x; done";
    let limits = ["--name=oom", "--memory=8m", "--memory-swap=8m", "busybox", "sh", "-c", hungry];
    assert_eq!(docker.run(&with(&limits))?.code, 137);
    let killed = docker.run(&["inspect", "--format={{.State.OOMKilled}}", "oom"])?.ok()?;
    assert_eq!(killed, "true\n");
    // Docker reads the reason out of the runtime's text.
    let missing = docker.run(&with(&["--rm", "busybox", "nosuch"]))?;
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    assert!(missing.stderr.contains("executable file not found in $PATH"), "{}", missing.stderr);
    Ok(())
}

#[test]
fn podman_runs_containers_with_it() -> Result<()> {
    let test = "podman_runs_containers_with_it";
    let Some(lab) = lab_with(test, &["podman", "conmon", "script"])? else { return Ok(()) };
    let conmon = paths::program_or_name("conmon");
    // More than the limits of this process may not be given on every machine.
    let config = format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
         [engine]\nconmon_path = [\"{}\"]\nevents_logger = \"none\"\ncgroup_manager = \"cgroupfs\"\n",
        conmon.display()
    );
    fs::write(lab.sandbox.dir().join("containers.conf"), config)?;
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/podman-test\"\ngraphroot = \"{}\"\n",
        lab.text("podman")
    );
    fs::write(lab.sandbox.dir().join("storage.conf"), storage)?;
    fs::create_dir_all(lab.sandbox.dir().join("home"))?;
    let libraries = paths::unpacked_libraries();
    let env = vec![
        ("HOME", lab.text("home")),
        ("TMPDIR", lab.text("home")),
        ("CONTAINERS_CONF", lab.text("containers.conf")),
        ("CONTAINERS_STORAGE_CONF", lab.text("storage.conf")),
        ("LD_LIBRARY_PATH", std::env::join_paths(libraries)?.to_string_lossy().into_owned()),
    ];
    let runtime = lab.runtime.to_string_lossy().into_owned();
    let program = paths::program_or_name("podman").to_string_lossy().into_owned();
    let words = [
        program.as_str(),
        "--root",
        &lab.text("podman"),
        "--runroot",
        "/run/podman-test",
        "--tmpdir",
        "/run/podman-tmp",
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
        "--runtime",
        &runtime,
    ];
    let podman = Engine { lab: &lab, words: words.map(str::to_owned).to_vec(), env };
    let (root, parent) = (lab.text("rootfs"), lab.sandbox.cgroup_parent().to_owned());
    let run = |flags: &[&str], command: &[&str]| {
        let fixed = ["run", "--cgroup-parent", &parent, "--network", "none"];
        let words = [&fixed[..], flags, &["--rootfs", &root], command].concat();
        podman.run(&words)
    };
    assert_eq!(run(&["--rm"], &["echo", "hello"])?.ok()?, "hello\n");
    run(&["--detach", "--name", "c1"], &["sleep", "1000"])?.ok()?;
    let ended = podman.run(&["exec", "c1", "sh", "-c", "echo in; exit 3"])?;
    assert_eq!((ended.code, &*ended.stdout), (3, "in\n"), "{}", ended.stderr);
    let ended = podman.on_terminal(&["exec", "-it", "c1", "sh", "-c", "tty; exit 2"])?;
    assert_eq!(ended.code, 2, "{}", ended.stdout);
    assert!(ended.stdout.contains("/dev/pts/0"), "{}", ended.stdout);
    let stats = ["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "c1"];
    assert_eq!(podman.run(&stats)?.ok()?.trim(), "c1 1");
    podman.run(&["stop", "--time", "0", "c1"])?.ok()?;
    let code = podman.run(&["inspect", "--format", "{{.State.ExitCode}}", "c1"])?.ok()?;
    assert_eq!(code, "137\n");
    podman.run(&["start", "c1"])?.ok()?;
    podman.run(&["rm", "--force", "--time", "0", "c1"])?.ok()?;
    assert_eq!(podman.run(&["ps", "--all", "--quiet"])?.ok()?, "");
    let missing = run(&["--rm"], &["nosuch"])?;
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    Ok(())
}
