//! The flags that `run` and `create` share, and the request they make.
//!
//! Each file holds the flags of one part of a container's settings and puts them into Docker's `Config` and
//! `HostConfig`. Nothing here talks to the daemon.

mod health;
mod limits;
mod mount;
mod namespaces;
mod network;
mod ports;
mod process;
mod storage;

#[cfg(test)]
mod tests;

use clap::Args;
use davit_api::container::{Config, CreateRequest, HostConfig, RestartPolicy};

use crate::failure::{CLI_ERROR, Failure};

pub(crate) use process::{environment, restart_policy};

/// Everything that says what the new container is like.
#[derive(Debug, Args)]
pub(crate) struct ContainerFlags {
    #[command(flatten)]
    process: process::ProcessFlags,
    #[command(flatten)]
    storage: storage::StorageFlags,
    #[command(flatten)]
    network: network::NetworkFlags,
    #[command(flatten)]
    namespaces: namespaces::NamespaceFlags,
    #[command(flatten)]
    limits: limits::LimitFlags,
    #[command(flatten)]
    health: health::HealthFlags,
}

impl ContainerFlags {
    /// The body of the create request for `image` and what follows it.
    pub(crate) fn request(
        &self,
        image: &str,
        command: &[String],
    ) -> Result<CreateRequest, Failure> {
        let mut request = CreateRequest::default();
        request.config.image = image.to_owned();
        request.config.cmd = (!command.is_empty()).then(|| command.to_vec());
        let CreateRequest { config, host_config, networking_config } = &mut request;
        self.fill(config, host_config)?;
        *networking_config = self.network.apply(host_config)?;
        if host_config.auto_remove && !is_no_restart(&host_config.restart_policy) {
            return Err(Failure::new(
                "conflicting options: cannot specify both --restart and --rm",
            ));
        }
        Ok(request)
    }

    fn fill(&self, config: &mut Config, host_config: &mut HostConfig) -> Result<(), Failure> {
        self.process.apply(config, host_config)?;
        self.storage.apply(config, host_config)?;
        self.network.apply_ports(config, host_config)?;
        self.namespaces.apply(config, host_config)?;
        self.limits.apply(host_config)?;
        config.healthcheck = self.health.config()?;
        Ok(())
    }

    /// The streams named with `--attach`.
    pub(crate) fn attached(&self) -> &[String] {
        &self.process.attach
    }

    /// `--name`
    pub(crate) fn cidfile(&self) -> Option<&str> {
        self.process.cidfile.as_deref()
    }
}

fn is_no_restart(policy: &RestartPolicy) -> bool {
    policy.name.is_empty() || policy.name == "no"
}

/// How `run` and `create` report flags that contradict each other or can't be read.
pub(crate) fn refused(verb: &str, failure: Failure) -> Failure {
    let text = format!("davit: {}\n\nRun 'davit {verb} --help' for more information", failure.text);
    Failure { text, ..failure }.with_code(CLI_ERROR)
}
