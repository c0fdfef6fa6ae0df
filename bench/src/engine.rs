//! The engines, each in its own sandbox with its own registry and the images pulled.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use davit_testkit::{
    Daemon, DaemonOptions, Engine as DaemonKind, Registry, Sandbox, images, paths,
};

use crate::agent::Agent;
use crate::measure::Subject;

/// Images that every engine gets.
const IMAGES: [&str; 2] = [images::BUSYBOX, images::NGINX];

/// Which engine or runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Davit,
    Docker,
    Podman,
    Runc,
    Crun,
}

impl Kind {
    /// The other engines that are installed here.
    pub(crate) fn installed() -> Vec<Self> {
        let there = |name| paths::program(name).is_some();
        let candidates = [(Self::Docker, there("dockerd")), (Self::Podman, there("podman"))];
        candidates.into_iter().filter_map(|(kind, there)| there.then_some(kind)).collect()
    }

    /// An engine by name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        match name {
            "docker" => Ok(Self::Docker),
            "podman" => Ok(Self::Podman),
            _ => bail!("unknown engine {name}: docker or podman"),
        }
    }

    /// As in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Davit => "Davit",
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// One engine, ready to be measured.
pub(crate) struct Engine {
    /// Which.
    pub(crate) kind: Kind,
    // Before the place that it runs in.
    agent: Agent,
    registry: Registry,
    place: Place,
}

impl Subject for Engine {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// Podman has no daemon.
enum Place {
    WithDaemon(Box<Daemon>),
    Alone(Box<Sandbox>),
}

/// Starts ours and the `others`.
pub(crate) fn start(others: &[Kind]) -> Result<Vec<Engine>> {
    let kinds = [Kind::Davit].into_iter().chain(others.iter().copied());
    kinds
        .map(|kind| Engine::start(kind).with_context(|| format!("start {}", kind.name())))
        .collect()
}

impl Engine {
    fn start(kind: Kind) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let registry = Registry::start(&sandbox, &IMAGES)?;
        let daemon = match kind {
            Kind::Davit => Some(DaemonKind::Davit),
            Kind::Docker => Some(DaemonKind::Docker),
            Kind::Podman => None,
            Kind::Runc | Kind::Crun => bail!("{} is not an engine", kind.name()),
        };
        let place = match daemon {
            Some(engine) => {
                let options = DaemonOptions { engine, ..DaemonOptions::default() };
                Place::WithDaemon(Box::new(Daemon::start_with(sandbox, options)?))
            }
            None => Place::Alone(Box::new(sandbox)),
        };
        let environment = match &place {
            Place::WithDaemon(daemon) => vec![("DOCKER_HOST", daemon.docker_host())],
            Place::Alone(_) => Vec::new(),
        };
        let agent = Agent::start(place.sandbox(), &environment)?;
        let engine = Self { kind, agent, registry, place };
        for name in IMAGES {
            engine.pull(name)?;
            engine.run(&["tag", &engine.registry.reference(name), name])?;
        }
        Ok(engine)
    }

    /// The agent in the sandbox.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The sandbox.
    pub(crate) fn sandbox(&self) -> &Sandbox {
        self.place.sandbox()
    }

    /// Pulls from the loopback registry; seconds.
    pub(crate) fn pull(&self, name: &str) -> Result<f64> {
        let reference = self.registry.reference(name);
        match self.kind {
            Kind::Podman => Ok(self.run(&["pull", "-q", "--tls-verify=false", &reference])?.0),
            _ => Ok(self.run(&["pull", "-q", &reference])?.0),
        }
    }

    /// Removes every name of an image.
    pub(crate) fn remove_image(&self, name: &str) -> Result<()> {
        self.run(&["rmi", name, &self.registry.reference(name)])?;
        Ok(())
    }

    /// Runs a command line; seconds and output.
    pub(crate) fn run(&self, words: &[&str]) -> Result<(f64, String)> {
        self.agent.run(self.command(words))
    }

    /// The full command line for `words`.
    pub(crate) fn command(&self, words: &[&str]) -> Vec<String> {
        let mut command = self.program();
        command.extend(words.iter().map(|word| (*word).to_owned()));
        if self.kind == Kind::Podman && words.first() == Some(&"run") {
            // Below the sandbox's parent, which is removed in the end.
            let parent = format!("--cgroup-parent={}", self.sandbox().cgroup_parent());
            let after_run = command.len() - words.len() + 1;
            command.insert(after_run, parent);
        }
        command
    }

    fn program(&self) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        match self.kind {
            Kind::Davit => vec![text(paths::davit())],
            Kind::Docker => vec![text(paths::program_or_name("docker"))],
            Kind::Podman => {
                let dir = |name: &str| text(self.sandbox().dir().join(name));
                let mut words = vec![text(paths::program_or_name("podman"))];
                let flags = ["--root", "--runroot", "--tmpdir"];
                for (flag, name) in flags.into_iter().zip(["root", "run", "tmp"]) {
                    words.extend([flag.to_owned(), dir(name)]);
                }
                words.extend(["--cgroup-manager".to_owned(), "cgroupfs".to_owned()]);
                words
            }
            Kind::Runc | Kind::Crun => vec![text(paths::program_or_name(self.kind.name()))],
        }
    }

    /// Proportional set size of all the engine's processes in KiB: everything in the sandbox but the
    /// sandbox's own processes, the agent, the registry, and what runs in containers.
    pub(crate) fn pss(&self) -> Result<f64> {
        let proc_dir = self.sandbox().proc_dir();
        let namespace = |pid: &str| fs::read_link(proc_dir.join(pid).join("ns/pid"));
        let own = namespace("1")?;
        let mut total = 0.0;
        for (pid, name) in self.sandbox().processes() {
            let foreign = ["docker-registry", "davit-bench"].contains(&name.as_str());
            let inside = namespace(&pid.to_string()).is_ok_and(|found| found != own);
            if foreign || inside || pid == 1 || self.is_setup(pid) {
                continue;
            }
            let path = proc_dir.join(pid.to_string()).join("smaps_rollup");
            // It may have ended meanwhile.
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            total += number.unwrap_or(0.0);
        }
        Ok(total)
    }

    /// The sandbox's `cat`, which waits for the test's end.
    fn is_setup(&self, pid: i32) -> bool {
        let path = self.sandbox().proc_dir().join(pid.to_string());
        let command_line = fs::read(path.join("cmdline")).unwrap_or_default();
        command_line == b"cat\0"
    }
}

impl Place {
    fn sandbox(&self) -> &Sandbox {
        match self {
            Self::WithDaemon(daemon) => daemon.sandbox(),
            Self::Alone(sandbox) => sandbox,
        }
    }
}
