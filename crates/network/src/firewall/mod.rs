//! The firewall table: publishes ports, lets the bridge out, keeps others away from it.
//!
//! One table of our own, computed whole from what is published ([`ruleset`]) and replaced in one
//! transaction ([`nft`]); while it stands, publishing and unpublishing only change its maps'
//! elements. It is left in place when the daemon ends: ports are served without it.

mod entry;
mod expression;
pub(crate) mod message;
mod nft;
pub(crate) mod ruleset;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use davit_types::{Context, Result};

use crate::netlink::Connection;
use crate::sandbox::PortBinding;
use ruleset::{Element, Settings, elements, ruleset};

/// The table and what should be in it.
#[derive(Debug)]
pub(crate) struct Firewall {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The published ports by the container's address.
    published: BTreeMap<Ipv4Addr, Vec<PortBinding>>,
    /// Whether the kernel's table is what this daemon made of `published`.
    applied: bool,
    /// Absent: not opened yet, or the last use failed.
    connection: Option<Connection>,
}

impl Firewall {
    /// Makes the table, or leaves that of a former daemon as it is until
    /// [`Firewall::replace`]: its ports are being served.
    pub(crate) fn open(settings: Settings) -> Result<Self> {
        let firewall = Self { settings, state: Mutex::default() };
        let mut state = firewall.lock();
        let table = &firewall.settings.table;
        let found = state.with_connection(|connection| nft::find(connection, table));
        if found.context(|| firewall.describe("look for"))?.is_none() {
            firewall.apply(&mut state)?;
        }
        drop(state);
        Ok(firewall)
    }

    /// Publishes exactly these ports, by the containers' addresses, in one transaction. What is
    /// published already is not touched.
    pub(crate) fn replace(&self, published: BTreeMap<Ipv4Addr, Vec<PortBinding>>) -> Result<()> {
        let mut state = self.lock();
        state.published = published;
        let wanted = ruleset(&self.settings, &state.published);
        state
            .with_connection(|connection| nft::update_table(connection, &wanted))
            .context(|| self.describe("update"))?;
        state.applied = true;
        Ok(())
    }

    /// Publishes a container's ports.
    pub(crate) fn publish(&self, ip: Ipv4Addr, ports: &[PortBinding]) -> Result<()> {
        let mut state = self.lock();
        state.published.insert(ip, ports.to_vec());
        let done = self.update(&mut state, &elements(ip, ports), nft::add_elements);
        if done.is_err() {
            state.published.remove(&ip);
        }
        done
    }

    /// Takes back what [`Firewall::publish`] did.
    pub(crate) fn unpublish(&self, ip: Ipv4Addr) -> Result<()> {
        let mut state = self.lock();
        match state.published.remove(&ip) {
            Some(ports) => self.update(&mut state, &elements(ip, &ports), nft::delete_elements),
            None => Ok(()),
        }
    }

    /// Changes elements, or the whole table when it isn't what it should be: somebody flushed it,
    /// or it is a former daemon's.
    fn update(
        &self,
        state: &mut State,
        elements: &[Element],
        change: impl Fn(&Connection, &str, &[Element]) -> io::Result<()>,
    ) -> Result<()> {
        if state.applied {
            let table = &self.settings.table;
            match state.with_connection(|connection| change(connection, table, elements)) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "firewall table is not as it was left"),
            }
        }
        self.apply(state)
    }

    fn apply(&self, state: &mut State) -> Result<()> {
        let wanted = ruleset(&self.settings, &state.published);
        state
            .with_connection(|connection| nft::replace_table(connection, &wanted))
            .context(|| self.describe("write"))?;
        state.applied = true;
        Ok(())
    }

    fn describe(&self, verb: &str) -> String {
        format!("{verb} nftables table ip {}", self.settings.table)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> io::Result<T>,
    ) -> io::Result<T> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => nft::connect()?,
        };
        let done = work(&connection)?;
        self.connection = Some(connection);
        Ok(done)
    }
}
