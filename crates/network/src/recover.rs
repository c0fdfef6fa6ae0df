//! After a restart of the daemon: what is to stay is taken over, the rest of ours goes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use davit_types::{Context, Error, Result};

use crate::netlink::{Connection, NETLINK_ROUTE};
use crate::networks::{Held, Networks, all_or_ok};
use crate::sandbox::{Endpoint, Sandbox};
use crate::{link, netns};

impl Networks {
    /// After a restart of the daemon: takes over these containers' sandboxes and deletes whatever
    /// else of ours is left. To be called once, before any sandbox is made. Each is given by its
    /// container's id and name.
    ///
    /// Published ports are served throughout. A port that another program has bound meanwhile is
    /// served as well, and told in the log.
    ///
    /// # Errors
    /// All steps that failed, in one message.
    pub fn recover(&self, live: &[(String, String, Sandbox)]) -> Result<()> {
        let mut errors: Vec<Error> =
            live.iter().flat_map(|(id, name, sandbox)| self.adopt(id, name, sandbox)).collect();
        errors.extend(self.republish().err());
        errors.extend(self.delete_stray_links().err());
        match self.delete_stray_namespaces() {
            Ok(failed) => errors.extend(failed),
            Err(error) => errors.push(error),
        }
        all_or_ok("recover networks", errors)
    }

    fn adopt(&self, container_id: &str, name: &str, sandbox: &Sandbox) -> Vec<Error> {
        let adopt = |endpoint: &Endpoint| {
            let net = self.find(&endpoint.network_id)?;
            net.adopt(&endpoint.endpoint_id, name, endpoint.given())
        };
        let errors =
            sandbox.endpoints.iter().filter_map(|endpoint| adopt(endpoint).err()).collect();
        let (reservations, failures) = self.ports.adopt(&sandbox.ports);
        for failure in failures {
            tracing::warn!(container_id, "published port is not reserved: {failure:#}");
        }
        let (name, sandbox) = (name.to_owned(), sandbox.clone());
        let held = Held { name, sandbox, reservations, gone: false };
        self.sandboxes().insert(container_id.to_owned(), Arc::new(Mutex::new(held)));
        errors
    }

    /// Rules for what was taken over, and for nothing else.
    fn republish(&self) -> Result<()> {
        let mut published = BTreeMap::new();
        for sandbox in self.live() {
            published.extend(self.published(&sandbox)?);
        }
        self.firewall.replace(&published)
    }

    fn live(&self) -> Vec<Sandbox> {
        let sandbox = |held: &Arc<Mutex<Held>>| {
            held.lock().unwrap_or_else(PoisonError::into_inner).sandbox.clone()
        };
        self.sandboxes().values().map(sandbox).collect()
    }

    fn delete_stray_links(&self) -> Result<()> {
        let route = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let links = link::links(&route).context(|| "list interfaces")?;
        let (bridges, live) = (self.bridges(), self.live());
        let live: HashSet<&str> = live
            .iter()
            .flat_map(|sandbox| sandbox.endpoints.iter().map(|one| one.host_interface.as_str()))
            .collect();
        let strays = links.into_iter().filter(|link| {
            let ours = link.master.is_some_and(|master| bridges.contains(&master));
            ours && is_our_name(&link.name) && !live.contains(link.name.as_str())
        });
        strays.for_each(|stray| self.janitor.delete_link(stray.name));
        Ok(())
    }

    fn delete_stray_namespaces(&self) -> Result<Vec<Error>> {
        let pinned = netns::pinned(&self.config.netns_dir)?;
        let live = self.live();
        let live: HashSet<&PathBuf> = live.iter().map(|sandbox| &sandbox.key).collect();
        let strays = pinned.iter().filter(|path| !live.contains(path));
        Ok(strays.filter_map(|path| netns::unpin(path).err()).collect())
    }
}

/// `veth` and seven hex digits.
fn is_our_name(name: &str) -> bool {
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix("veth").is_some_and(|digits| digits.len() == 7 && is_hex(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_we_give_are_ours() {
        assert!(is_our_name("veth0a1b2c3"));
        for other in ["veth0", "veth0a1b2cg", "veth0a1b2c3d", "eth0a1b2c3"] {
            assert!(!is_our_name(other), "{other}");
        }
    }
}
