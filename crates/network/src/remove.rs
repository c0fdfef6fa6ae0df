//! Taking a sandbox away: every step is tried, whatever became of the others.

use std::sync::PoisonError;

use davit_types::{Error, Result};

use crate::netns;
use crate::networks::{Held, Networks, all_or_ok};
use crate::sandbox::{Endpoint, Sandbox};

impl Networks {
    /// Takes everything of a container's sandbox away. Every step is tried; doing it again, or for
    /// a container that has none, is no error. Interfaces vanish a moment later, when the kernel
    /// ends the namespace.
    ///
    /// # Errors
    /// All steps that failed, in one message.
    pub fn remove_sandbox(&self, container_id: &str) -> Result<()> {
        let found = self.sandboxes().remove(container_id);
        let errors = found.map(|held| {
            // Whoever connects it right now is waited for.
            self.dismantle(&mut held.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let errors = errors.unwrap_or_default();
        all_or_ok(&format!("remove sandbox of container {container_id}"), errors)
    }

    /// Undoes whatever there is of a sandbox.
    pub(crate) fn dismantle(&self, held: &mut Held) -> Vec<Error> {
        held.gone = true;
        let mut errors = Vec::new();
        errors.extend(self.unpublish(&held.sandbox).err());
        // Only now: the rules went before the ports can be anyone else's.
        self.ports.release(std::mem::take(&mut held.reservations));
        errors.extend(netns::unpin(&held.sandbox.key).err());
        for endpoint in held.sandbox.endpoints.drain(..) {
            let given = endpoint.given();
            // What is on a parent goes with the namespace.
            if !endpoint.host_interface.is_empty() {
                self.janitor.delete_link(endpoint.host_interface);
            }
            if let Ok(net) = self.find(&endpoint.network_id) {
                net.take_back(&endpoint.endpoint_id, given);
            }
        }
        errors
    }

    fn unpublish(&self, sandbox: &Sandbox) -> Result<()> {
        if sandbox.ports.is_empty() {
            return Ok(());
        }
        for ip in sandbox.gateway().into_iter().flat_map(Endpoint::addresses) {
            self.firewall.unpublish(ip)?;
            self.janitor.forget_flows_of(ip, &sandbox.ports);
        }
        Ok(())
    }
}
