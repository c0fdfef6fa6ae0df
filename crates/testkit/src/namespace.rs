//! Network namespaces of a sandbox, and doing things inside them.

use std::fs::File;
use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Daemon, Sandbox};

/// A network namespace that is kept as long as this value.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// The sandbox's own: the host as the daemon sees it.
    pub fn of_sandbox(sandbox: &Sandbox) -> Result<Self> {
        Self::open(sandbox, "proc/1/ns/net")
    }

    /// One that `ip netns add` has made in the sandbox.
    pub fn named(sandbox: &Sandbox, name: &str) -> Result<Self> {
        Self::open(sandbox, &format!("run/netns/{name}"))
    }

    /// That of a running container.
    pub fn of_container(daemon: &Daemon, name: &str) -> Result<Self> {
        let state = &daemon.inspect(name)?["State"];
        let pid = state["Pid"].as_i64().filter(|pid| *pid > 0);
        let pid = pid.with_context(|| format!("container {name} does not run"))?;
        Self::open(daemon.sandbox(), &format!("proc/{pid}/ns/net"))
    }

    /// Calls `body` on a throw-away thread inside, so that no other thread is ever there.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let run = || {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .context("enter a network namespace")?;
                body()
            };
            scope.spawn(run).join().unwrap_or_else(|_| bail!("the thread inside panicked"))
        })
    }

    fn open(sandbox: &Sandbox, path: &str) -> Result<Self> {
        let path = sandbox.root().join(path);
        File::open(&path).map(Self).with_context(|| format!("open {}", path.display()))
    }
}
