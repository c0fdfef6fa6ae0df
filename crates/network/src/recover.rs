//! After a restart of the daemon: what is to stay is taken over, the rest of ours goes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use davit_types::{Context, Error, Result};

use crate::netlink::{Connection, NETLINK_ROUTE};
use crate::networks::{Held, Networks, Uplink, all_or_ok};
use crate::sandbox::Sandbox;
use crate::{link, netns};

impl Networks {
    /// After a restart of the daemon: takes over these containers' sandboxes and deletes whatever
    /// else of ours is left. To be called once, before any sandbox is made.
    ///
    /// Published ports are served throughout. A port that another program has bound meanwhile is
    /// served as well, and told in the log.
    ///
    /// # Errors
    /// All steps that failed, in one message.
    pub fn recover(&self, live: &[(String, Sandbox)]) -> Result<()> {
        let mut errors: Vec<Error> =
            live.iter().flat_map(|(id, sandbox)| self.adopt(id, sandbox)).collect();
        if let Ok(uplink) = self.uplink() {
            errors.extend(self.republish(uplink).err());
            errors.extend(self.delete_stray_links(uplink).err());
        }
        match self.delete_stray_namespaces() {
            Ok(failed) => errors.extend(failed),
            Err(error) => errors.push(error),
        }
        all_or_ok("recover networks", errors)
    }

    fn adopt(&self, container_id: &str, sandbox: &Sandbox) -> Option<Error> {
        let taken = self.adopt_address(container_id, sandbox);
        let (reservations, failures) = self.ports.adopt(&sandbox.ports);
        for failure in failures {
            tracing::warn!(container_id, "published port is not reserved: {failure:#}");
        }
        let held = Held { sandbox: sandbox.clone(), reservations };
        self.sandboxes().insert(container_id.to_owned(), held);
        taken.err()
    }

    fn adopt_address(&self, container_id: &str, sandbox: &Sandbox) -> Result<()> {
        let (Some(endpoint), Ok(uplink)) = (&sandbox.endpoint, self.uplink()) else {
            return Ok(());
        };
        if uplink.pool().take(endpoint.ip) {
            return Ok(());
        }
        let (ip, subnet) = (endpoint.ip, uplink.bridge.address.trunc());
        let message = format!("adopt container {container_id}: {ip} is not free in {subnet}");
        Err(Error::conflict(message))
    }

    /// Rules for what was taken over, and for nothing else.
    fn republish(&self, uplink: &Uplink) -> Result<()> {
        let mut published = BTreeMap::new();
        for held in self.sandboxes().values() {
            let ports = &held.sandbox.ports;
            if let Some(endpoint) = held.sandbox.endpoint.as_ref().filter(|_| !ports.is_empty()) {
                published.insert(endpoint.ip, ports.clone());
            }
        }
        uplink.firewall.replace(published)
    }

    fn delete_stray_links(&self, uplink: &Uplink) -> Result<()> {
        let route = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let links = link::links(&route).context(|| "list interfaces")?;
        let sandboxes = self.sandboxes();
        let live: HashSet<&str> = sandboxes
            .values()
            .filter_map(|held| Some(held.sandbox.endpoint.as_ref()?.host_interface.as_str()))
            .collect();
        let strays = links.into_iter().filter(|link| {
            let ours = link.master == Some(uplink.bridge.index) && is_our_name(&link.name);
            ours && !live.contains(link.name.as_str())
        });
        strays.for_each(|stray| uplink.janitor.delete_link(stray.name));
        Ok(())
    }

    fn delete_stray_namespaces(&self) -> Result<Vec<Error>> {
        let pinned = netns::pinned(&self.config.netns_dir)?;
        let sandboxes = self.sandboxes();
        let live: HashSet<&PathBuf> = sandboxes.values().map(|held| &held.sandbox.key).collect();
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
