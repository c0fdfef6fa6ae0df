//! Taking a sandbox away: every step is tried, whatever became of the others.

use std::time::Instant;

use davit_types::{Error, Result};

use crate::netns;
use crate::networks::{Held, Networks, all_or_ok};
use crate::sandbox::Sandbox;

impl Networks {
    /// Takes everything of a container's sandbox away. Every step is tried; doing it again, or for
    /// a container that has none, is no error. Interfaces vanish a moment later, when the kernel
    /// ends the namespace.
    ///
    /// # Errors
    /// All steps that failed, in one message.
    pub fn remove_sandbox(&self, container_id: &str) -> Result<()> {
        let held = self.sandboxes().remove(container_id);
        let errors = held.map(|held| self.dismantle(held)).unwrap_or_default();
        all_or_ok(&format!("remove sandbox of container {container_id}"), errors)
    }

    /// Undoes whatever there is of a sandbox.
    pub(crate) fn dismantle(&self, held: Held) -> Vec<Error> {
        let Held { sandbox, reservations } = held;
        let mut errors = Vec::new();
        errors.extend(self.unpublish(&sandbox).err());
        // Only now: the rules went before the ports can be anyone else's.
        self.ports.release(reservations);
        errors.extend(netns::unpin(&sandbox.key).err());
        if let (Some(endpoint), Ok(uplink)) = (sandbox.endpoint, self.uplink()) {
            uplink.janitor.delete_link(endpoint.host_interface);
            uplink.pool().release(endpoint.ip, Instant::now());
        }
        errors
    }

    fn unpublish(&self, sandbox: &Sandbox) -> Result<()> {
        let (Some(endpoint), false) = (&sandbox.endpoint, sandbox.ports.is_empty()) else {
            return Ok(());
        };
        let uplink = self.uplink()?;
        uplink.firewall.unpublish(endpoint.ip)?;
        uplink.janitor.forget_flows_of(endpoint.ip, &sandbox.ports);
        Ok(())
    }
}
