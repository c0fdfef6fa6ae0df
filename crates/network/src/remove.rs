//! Taking a sandbox away: every step is tried, whatever became of the others.

use std::time::Instant;

use davit_types::{Error, Result};

use crate::networks::{Held, Networks, all_or_ok};
use crate::sandbox::Endpoint;
use crate::{conntrack, netns};

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
        let published = !sandbox.ports.is_empty();
        let mut errors = Vec::new();
        if let Some(endpoint) = sandbox.endpoint.as_ref().filter(|_| published) {
            errors.extend(self.unpublish(endpoint).err());
        }
        // Only now: the rules went before the ports can be anyone else's.
        self.ports.release(reservations);
        errors.extend(netns::unpin(&sandbox.key).err());
        if let (Some(endpoint), Ok(uplink)) = (sandbox.endpoint, self.uplink()) {
            uplink.reaper.delete(endpoint.host_interface);
            uplink.pool().release(endpoint.ip, Instant::now());
        }
        errors
    }

    fn unpublish(&self, endpoint: &Endpoint) -> Result<()> {
        self.uplink()?.firewall.unpublish(endpoint.ip)?;
        // Best effort: an old kernel lets a running UDP flow end by its timeout.
        if let Err(error) = conntrack::forget_flows_of(endpoint.ip) {
            tracing::debug!(%error, ip = %endpoint.ip, "forget a removed container's flows");
        }
        Ok(())
    }
}
