//! What nearly every test begins with: requirements, a sandbox, images, a daemon.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use davit_testkit::{
    Daemon, DaemonOptions, Finished, Need, Registry, Sandbox, command, met, requirements,
};

/// Which command line drives the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cli {
    Davit,
    Docker,
}

/// Both command lines, for tests that must hold with either.
pub(crate) const BOTH: [Cli; 2] = [Cli::Davit, Cli::Docker];

/// A daemon with images, and the registry that they came from.
pub(crate) struct Setup {
    pub(crate) daemon: Daemon,
    pub(crate) registry: Registry,
}

/// What a test wants to find.
pub(crate) struct Plan<'a> {
    /// The test's name, for the message that it can't run.
    test: &'a str,
    /// Images that the registry has and the daemon has pulled.
    images: &'a [&'a str],
    /// Images that only the registry has.
    unpulled: &'a [&'a str],
    /// Further requirements.
    needs: &'a [Need],
    /// How the daemon is started.
    options: DaemonOptions,
}

/// A plan for `test`, to be [run](Plan::run).
pub(crate) fn plan<'a>(test: &'a str, images: &'a [&'a str]) -> Plan<'a> {
    Plan { test, images, unpulled: &[], needs: &[], options: DaemonOptions::default() }
}

impl<'a> Plan<'a> {
    /// Has `images` in the registry without pulling them.
    pub(crate) fn unpulled(self, images: &'a [&'a str]) -> Self {
        Self { unpulled: images, ..self }
    }

    /// Needs more than every test does.
    pub(crate) fn needs(self, needs: &'a [Need]) -> Self {
        Self { needs, ..self }
    }

    /// Starts the daemon otherwise than usual.
    pub(crate) fn options(self, options: DaemonOptions) -> Self {
        Self { options, ..self }
    }

    /// Starts daemon and registry and runs `body`; does nothing when the machine lacks something.
    /// A failure shows the daemon's log.
    #[allow(clippy::print_stderr, reason = "for whoever reads the failure")]
    pub(crate) fn run(self, body: impl FnOnce(&mut Setup) -> Result<()>) -> Result<()> {
        let images: Vec<&str> = self.images.iter().chain(self.unpulled).copied().collect();
        let mut needs = requirements::DAEMON.to_vec();
        needs.extend(self.needs);
        if images.contains(&davit_testkit::images::NGINX) {
            needs.push(Need::Program("debootstrap"));
        }
        if !met(self.test, &needs) {
            return Ok(());
        }
        let sandbox = Sandbox::new()?;
        let registry = Registry::start(&sandbox, &images)?;
        let daemon = Daemon::start_with(sandbox, self.options)?;
        let mut setup = Setup { daemon, registry };
        let pulled = self.images.iter().try_for_each(|i| setup.daemon.pull(&setup.registry, i));
        let result = pulled.and_then(|()| body(&mut setup));
        if result.is_err() {
            eprintln!("--- the daemon's log\n{}\n---", setup.daemon.log_tail());
        }
        result
    }
}

impl Setup {
    /// A command line of `cli`, to be run.
    pub(crate) fn command(&self, cli: Cli, arguments: &[&str]) -> Command {
        match cli {
            Cli::Davit => self.daemon.davit_command(arguments),
            Cli::Docker => self.daemon.docker_command(arguments),
        }
    }

    /// Runs a command line of `cli` to its end.
    pub(crate) fn run(&self, cli: Cli, arguments: &[&str]) -> Result<Finished> {
        command::run(self.command(cli, arguments), b"", Duration::from_secs(60))
    }

    /// Runs `davit` with words split at spaces; must succeed.
    pub(crate) fn ok(&self, line: &str) -> Result<String> {
        self.davit(line)?.ok()
    }

    /// Runs `davit` with words split at spaces.
    pub(crate) fn davit(&self, line: &str) -> Result<Finished> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.daemon.davit(&words)
    }

    /// Runs a shell script in a new busybox container that is removed, and gives its output.
    pub(crate) fn shell(&self, flags: &str, script: &str) -> Result<String> {
        let mut words = vec!["run", "--rm"];
        words.extend(flags.split_whitespace());
        words.extend(["busybox", "sh", "-c", script]);
        self.daemon.davit(&words)?.ok()
    }

    /// Waits until a URL answers 200 on the sandbox's loopback, and gives the body.
    pub(crate) fn wait_for_page(&self, url: &str) -> Result<String> {
        davit_testkit::until(Duration::from_secs(10), url, || {
            let (code, body) = self.daemon.sandbox().curl(url)?;
            Ok((code == 200).then_some(body))
        })
    }
}
