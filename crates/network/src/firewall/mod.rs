//! The firewall tables: publish ports, let the networks out, keep others away from them.
//!
//! One table of our own per family, computed whole from the networks and what is published
//! ([`ruleset`]) and replaced in one transaction ([`nft`]); while it stands, publishing and
//! unpublishing only change its maps' elements, and a change of networks its rules. The tables are
//! left in place when the daemon ends: ports are served without it.

mod entry;
mod expression;
pub(crate) mod message;
mod nft;
mod ruleset;
pub(crate) mod table;
mod text;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use davit_types::{Context, Result};

use crate::netlink::Connection;
use ruleset::{elements, ruleset};
use table::{BridgeRules, Element, Family, Published, Ruleset, Settings};

/// The tables and what should be in them.
#[derive(Debug)]
pub(crate) struct Firewall {
    tables: [Table; 2],
}

/// The table of one family. There is none as long as there is no network.
#[derive(Debug)]
struct Table {
    family: Family,
    name: String,
    state: Mutex<State>,
    /// Numbers of the sockets that changes were made by.
    senders: Arc<Mutex<BTreeSet<u32>>>,
}

#[derive(Debug, Default)]
struct State {
    bridges: Vec<BridgeRules>,
    /// The published ports by the container's address.
    published: BTreeMap<IpAddr, Published>,
    /// Whether the kernel's table is what this daemon made of the above.
    applied: bool,
    /// Absent: not opened yet, or the last use failed.
    connection: Option<Connection>,
    senders: Arc<Mutex<BTreeSet<u32>>>,
}

impl Firewall {
    /// Makes the tables for these networks, by family, or leaves those of a former daemon as they
    /// are until [`Firewall::replace`]: their ports are being served.
    pub(crate) fn open(name: &str, bridges: [Vec<BridgeRules>; 2]) -> Result<Self> {
        let [v4, v6] = bridges;
        let senders: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
        let table = |family, bridges| Table {
            family,
            name: name.to_owned(),
            state: Mutex::new(State { bridges, senders: Arc::clone(&senders), ..State::default() }),
            senders: Arc::clone(&senders),
        };
        let tables = [table(Family::V4, v4), table(Family::V6, v6)];
        let is_used = tables.iter().any(|table| !table.lock().bridges.is_empty());
        tables.iter().try_for_each(Table::ensure)?;
        let firewall = Self { tables };
        if is_used {
            firewall.ensure_user_chains();
        }
        Ok(firewall)
    }

    /// Publishes exactly these ports, by the containers' addresses, in one transaction per family.
    /// What is published already is not touched.
    pub(crate) fn replace(&self, published: &BTreeMap<IpAddr, Published>) -> Result<()> {
        for table in &self.tables {
            let own = published.iter().filter(|(ip, _)| Family::of(**ip) == table.family);
            let mut state = table.lock();
            state.published = own.map(|(ip, published)| (*ip, published.clone())).collect();
            table.update_whole(&mut state)?;
        }
        Ok(())
    }

    /// Makes the rules those of these networks, by family.
    pub(crate) fn set_networks(&self, bridges: [Vec<BridgeRules>; 2]) -> Result<()> {
        for (table, bridges) in self.tables.iter().zip(bridges) {
            let mut state = table.lock();
            if state.bridges == bridges {
                continue;
            }
            let former = std::mem::replace(&mut state.bridges, bridges);
            if let Err(error) = table.update_whole(&mut state) {
                state.bridges = former;
                return Err(error);
            }
            if former.is_empty() {
                table.ensure_user_chain(&mut state);
            }
        }
        Ok(())
    }

    /// Publishes the ports of a container's address.
    pub(crate) fn publish(&self, ip: IpAddr, published: &Published) -> Result<()> {
        let table = self.table(ip);
        let mut state = table.lock();
        state.published.insert(ip, published.clone());
        let done = table.update(&mut state, &elements(ip, published), nft::add_elements);
        if done.is_err() {
            state.published.remove(&ip);
        }
        done
    }

    /// Takes back what [`Firewall::publish`] did.
    pub(crate) fn unpublish(&self, ip: IpAddr) -> Result<()> {
        let table = self.table(ip);
        let mut state = table.lock();
        match state.published.remove(&ip) {
            Some(published) => {
                table.update(&mut state, &elements(ip, &published), nft::delete_elements)
            }
            None => Ok(()),
        }
    }

    /// Whether a change that the kernel told took something out of our tables, and wasn't our own.
    pub(crate) fn is_damage(&self, kind: u16, sender: u32, message: &[u8]) -> bool {
        nft::is_deletion(kind)
            && nft::table_of(message).is_some_and(|name| name == self.tables[0].name)
            && !self.tables.iter().any(|table| table.senders().contains(&sender))
    }

    /// Brings the tables back to what they should be, in one transaction each.
    pub(crate) fn restore(&self) -> Result<()> {
        for table in &self.tables {
            let mut state = table.lock();
            // Before that it is a former daemon's, which nobody here answers for.
            if state.applied {
                table.update_whole(&mut state)?;
            }
        }
        self.ensure_user_chains();
        Ok(())
    }

    /// In both families: scripts put rules there without asking which of them is in use.
    fn ensure_user_chains(&self) {
        for table in &self.tables {
            table.ensure_user_chain(&mut table.lock());
        }
    }

    fn table(&self, ip: IpAddr) -> &Table {
        &self.tables[Family::of(ip).index()]
    }
}

/// In the calling thread's network namespace: leads queries to `address` to these ports, UDP and
/// TCP. The connection is the caller's to close, which takes a while.
pub(crate) fn lead_to_resolver(address: Ipv4Addr, ports: [u16; 2]) -> io::Result<Connection> {
    let connection = nft::connect()?;
    nft::replace_table(&connection, &ruleset::resolver(address, ports))?;
    Ok(connection)
}

impl Table {
    /// Makes it unless it is there, or not wanted.
    fn ensure(&self) -> Result<()> {
        let mut state = self.lock();
        if state.bridges.is_empty() {
            return Ok(());
        }
        let found =
            state.with_connection(|connection| nft::find(connection, self.family, &self.name));
        if found.context(|| self.describe("look for"))?.is_none() {
            self.apply(&mut state)?;
        }
        Ok(())
    }

    /// Makes the administrator's chain. Nothing depends on it until there are rules in it.
    fn ensure_user_chain(&self, state: &mut State) {
        let made = state.with_connection(|connection| user::ensure(connection, self.family));
        if let Err(error) = made {
            let family = self.family.name();
            tracing::warn!(%error, family, "make the chain DOCKER-USER");
        }
    }

    /// Makes it what it should be, touching only what differs.
    fn update_whole(&self, state: &mut State) -> Result<()> {
        if state.bridges.is_empty() && !state.applied {
            return Ok(());
        }
        let wanted = self.ruleset(state);
        state
            .with_connection(|connection| nft::update_table(connection, &wanted))
            .context(|| self.describe("update"))?;
        state.applied = true;
        Ok(())
    }

    /// Changes elements, or the whole table when it isn't what it should be: somebody flushed it,
    /// or it is a former daemon's.
    fn update(
        &self,
        state: &mut State,
        elements: &[Element],
        change: impl Fn(&Connection, (Family, &str), &[Element]) -> io::Result<()>,
    ) -> Result<()> {
        if state.applied {
            let at = (self.family, self.name.as_str());
            match state.with_connection(|connection| change(connection, at, elements)) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "firewall table is not as it was left"),
            }
        }
        self.apply(state)
    }

    fn apply(&self, state: &mut State) -> Result<()> {
        let wanted = self.ruleset(state);
        state
            .with_connection(|connection| nft::replace_table(connection, &wanted))
            .context(|| self.describe("write"))?;
        state.applied = true;
        Ok(())
    }

    fn ruleset(&self, state: &State) -> Ruleset {
        let settings = Settings {
            family: self.family,
            table: self.name.clone(),
            bridges: state.bridges.clone(),
        };
        ruleset(&settings, &state.published)
    }

    fn describe(&self, verb: &str) -> String {
        format!("{verb} nftables table {} {}", self.family.name(), self.name)
    }

    fn senders(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
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
            None => {
                let connection = nft::connect()?;
                let port = connection.port()?;
                self.senders.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
                connection
            }
        };
        let done = work(&connection)?;
        self.connection = Some(connection);
        Ok(done)
    }
}
