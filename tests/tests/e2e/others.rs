//! Engines of others in the sandbox of a test, to exchange images with: Debian's Docker and Podman,
//! with directories and namespaces of their own and no network.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use davit_testkit::{Finished, Sandbox, command, paths, wait};

/// What Docker needs.
pub(crate) const DOCKER: &[&str] = &["dockerd", "containerd", "runc"];
const MINUTE: Duration = Duration::from_secs(60);

/// A command line in the sandbox that drives another engine.
pub(crate) struct Other<'a> {
    sandbox: &'a Sandbox,
    words: Vec<String>,
    /// Flags behind `pull`, `push`, `load` and `save`.
    transfer: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Other<'a> {
    /// Debian's dockerd, and the docker command line on it.
    pub(crate) fn docker(sandbox: &'a Sandbox) -> Result<Self> {
        let dir = sandbox.dir().join("docker");
        fs::create_dir_all(dir.join("client"))?;
        let host = format!("unix://{}", dir.join("d.sock").display());
        let program = paths::program_or_name("docker").display().to_string();
        let client = ("DOCKER_CONFIG", dir.join("client").display().to_string());
        let words = vec![program, "--host".to_owned(), host.clone()];
        let docker = Self { sandbox, words, transfer: Vec::new(), environment: vec![client] };
        let flags = "--exec-root=/run/other-docker --bridge=none --iptables=false --ip6tables=false \
             --ip-forward=false --ip-masq=false --userland-proxy=false --storage-driver=overlay2";
        let mut daemon = docker.raw(&["dockerd"]);
        daemon.args(["--host", &host, "--pidfile=/run/other-docker.pid"]);
        daemon.arg(format!("--data-root={}", dir.join("data").display()));
        daemon.arg(format!("--cgroup-parent={}", sandbox.cgroup_parent()));
        daemon.args(flags.split_whitespace());
        let log = dir.join("log");
        let output = File::create(&log)?;
        // Ended with the sandbox; nobody waits for it.
        let mut process = daemon.stdout(output.try_clone()?).stderr(output).spawn()?;
        let answers = wait::until_true(MINUTE, "docker's answer", || {
            if let Some(status) = process.try_wait()? {
                bail!("dockerd ended: {status}");
            }
            Ok(docker.run(&["version"])?.code == 0)
        });
        match answers {
            Ok(()) => Ok(docker),
            Err(error) => Err(error.context(fs::read_to_string(&log).unwrap_or_default())),
        }
    }

    /// Debian's Podman.
    pub(crate) fn podman(sandbox: &'a Sandbox) -> Result<Self> {
        let dir = sandbox.dir().join("podman");
        fs::create_dir_all(&dir)?;
        let text = |name: &str| dir.join(name).display().to_string();
        fs::write(text("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
        let limits = "default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]";
        let conmon = paths::program_or_name("conmon");
        let engine = format!("conmon_path = [\"{}\"]\nevents_logger = \"none\"", conmon.display());
        fs::write(
            text("containers.conf"),
            format!("[containers]\n{limits}\n[engine]\n{engine}\n"),
        )?;
        let storage = "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/other-podman\"\n";
        fs::write(text("storage.conf"), format!("{storage}graphroot = \"{}\"\n", text("root")))?;
        let libraries = std::env::join_paths(paths::unpacked_libraries())?;
        let environment = vec![
            ("HOME", text("")),
            ("TMPDIR", text("")),
            ("CONTAINERS_CONF", text("containers.conf")),
            ("CONTAINERS_STORAGE_CONF", text("storage.conf")),
            ("LD_LIBRARY_PATH", libraries.to_string_lossy().into_owned()),
        ];
        let program = paths::program_or_name("podman").display().to_string();
        let words = vec![program, "--cgroup-manager".to_owned(), "cgroupfs".to_owned()];
        let transfer = vec!["--signature-policy".to_owned(), text("policy.json")];
        Ok(Self { sandbox, words, transfer, environment })
    }

    /// Runs its command line to the end.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Finished> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let mut command = self.raw(&words);
        command.args(&args[..1]);
        if matches!(args[0], "pull" | "push" | "load") {
            command.args(&self.transfer);
        }
        command.args(&args[1..]);
        command::run(command, b"", MINUTE)
    }

    /// Runs its command line, which must succeed.
    pub(crate) fn ok(&self, line: &str) -> Result<String> {
        self.run(&line.split_whitespace().collect::<Vec<_>>())?.ok()
    }

    /// What a file of `image` says, in a container (Docker) or a mount (Podman, whose containers end
    /// slowly where its libraries are not installed).
    pub(crate) fn content(&self, image: &str, file: &str) -> Result<String> {
        if self.transfer.is_empty() {
            let parent = format!("--cgroup-parent={}", self.sandbox.cgroup_parent());
            return self.ok(&format!("run --rm --network=none {parent} {image} cat {file}"));
        }
        let root = self.ok(&format!("image mount {image}"))?;
        let content = self.sandbox.sh(&format!("cat {root}{file}"))?.ok()?;
        self.ok(&format!("image unmount {image}"))?;
        Ok(content)
    }

    /// A command of the sandbox that finds the programs beside the engines.
    fn raw(&self, words: &[&str]) -> Command {
        let known = ["containerd", "dockerd", "conmon", "runc", "podman"];
        let known = known.iter().filter_map(|name| paths::program(name));
        let known = known.filter_map(|program| Some(program.parent()?.display().to_string()));
        let usual = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(str::to_owned);
        let path: Vec<String> = known.chain(usual).collect();
        let mut command = self.sandbox.command("env");
        command.arg(format!("PATH={}", path.join(":")));
        command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(words).stdin(Stdio::null());
        command
    }
}
