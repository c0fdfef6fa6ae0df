//! The resolver: one process that answers the DNS queries of all containers on networks of the
//! user's, at 127.0.0.11 inside each of them.
//!
//! The daemon opens the sockets inside the containers' namespaces, hands them over, and tells who is
//! called what ([`davit_monitor::resolver`]). This process goes on answering while the daemon is
//! down, and ends when it is without both daemon and containers. One thread, one epoll loop.

mod answer;
mod attempt;
mod cache;
mod control;
mod health;
mod host;
mod server;
mod services;
mod tables;
mod upstream;

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use davit_monitor::resolver::LISTEN_FD;
use davit_sys::epoll::{Epoll, Interest, Ready};
use davit_sys::fdpass;
use davit_types::{Context, Result};
use rustix::process::{Resource, Rlimit};

use control::Control;
use server::{Client, Servers};
use services::Services;
use tables::Tables;
use upstream::Upstream;

/// How long it waits for a daemon when nothing else is to be done.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a descriptor belongs to.
#[derive(Debug, Clone)]
enum Owner {
    Listener,
    Daemon,
    Datagrams(Rc<str>),
    Connections(Rc<str>),
    Stream,
    Attempt,
}

/// Descriptors that are waited for, by number.
struct Watch {
    epoll: Epoll,
    owners: std::collections::HashMap<u64, Owner>,
    next: u64,
}

impl Watch {
    fn add(
        &mut self,
        fd: impl std::os::fd::AsFd,
        owner: Owner,
        interest: Interest,
    ) -> std::io::Result<u64> {
        let token = self.next;
        self.epoll.add(fd, token, interest)?;
        self.next += 1;
        self.owners.insert(token, owner);
        Ok(token)
    }

    /// To be called before the descriptor is closed.
    fn forget(&mut self, token: u64, fd: impl std::os::fd::AsFd) {
        self.owners.remove(&token);
        // One that is gone already is not waited for any more.
        let _ = self.epoll.remove(fd);
    }
}

/// Everything.
struct Resolver {
    watch: Watch,
    listener: OwnedFd,
    control: Control,
    tables: Tables,
    servers: Servers,
    upstream: Upstream,
    /// Counts answers, so that several addresses take turns.
    turn: usize,
}

/// Runs until there is nothing more to do.
pub(crate) fn run() -> Result<()> {
    let listener = fdpass::take_inherited(LISTEN_FD).context(|| "take the listening socket")?;
    settle();
    let mut watch = Watch {
        epoll: Epoll::new().context(|| "create an epoll instance")?,
        owners: std::collections::HashMap::new(),
        next: 0,
    };
    watch
        .add(&listener, Owner::Listener, Interest::READ)
        .context(|| "watch the listening socket")?;
    let mut resolver = Resolver {
        watch,
        listener,
        control: Control::default(),
        tables: Tables::new(Services::read()),
        servers: Servers::default(),
        upstream: Upstream::new().context(|| "open the own network namespace")?,
        turn: 0,
    };
    while resolver.is_needed() {
        resolver.turn_once().context(|| "wait for queries")?;
    }
    Ok(())
}

/// Away from whoever started it, with as many descriptors as there may be.
fn settle() {
    // A session leader already is what it should be, and a smaller limit is no reason to give up.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let _ = rustix::thread::set_name(c"davit-resolver");
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, all);
}

impl Resolver {
    fn is_needed(&self) -> bool {
        self.control.is_connected() || !self.servers.is_empty() || self.control.waits(PATIENCE)
    }

    fn turn_once(&mut self) -> std::io::Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        let timeout = self.upstream.timeout().unwrap_or(PATIENCE);
        self.watch.epoll.wait(Some(timeout), |event| ready.push(event))?;
        // What the daemon says comes first: it may be about those who ask.
        let is_control =
            |owner: Option<&Owner>| matches!(owner, Some(Owner::Listener | Owner::Daemon));
        ready.sort_by_key(|event| !is_control(self.watch.owners.get(&event.token)));
        for event in ready {
            let Some(owner) = self.watch.owners.get(&event.token).cloned() else { continue };
            match owner {
                Owner::Listener => {
                    self.control.accept(&self.listener, &mut self.watch, &self.servers);
                }
                Owner::Daemon => {
                    let orders = self.control.receive(&mut self.watch);
                    for (order, fds) in orders {
                        self.control.note(&order);
                        self.obey(order, fds);
                    }
                }
                Owner::Datagrams(container) => {
                    while let Some((bytes, client)) = self.servers.datagram(&container) {
                        self.serve(&container, bytes, client);
                    }
                }
                Owner::Connections(container) => {
                    self.servers.accept(&container, &mut self.watch);
                }
                Owner::Stream => {
                    for (container, bytes, client) in self.servers.stream(event, &mut self.watch) {
                        self.serve(&container, bytes, client);
                    }
                }
                Owner::Attempt => self.upstream.ready(event, &mut self.watch),
            }
        }
        self.upstream.tick(&mut self.watch);
        for (client, answer) in self.upstream.take_answers() {
            self.servers.answer(&client, answer, &mut self.watch);
        }
        Ok(())
    }

    fn serve(&mut self, container: &Rc<str>, bytes: Vec<u8>, client: Client) {
        let Some(asking) = self.tables.container(container) else { return };
        self.turn = self.turn.wrapping_add(1);
        match answer::decide(&self.tables, asking, &bytes, self.turn) {
            answer::Verdict::Ignore => {}
            answer::Verdict::Answer(message) => {
                if let Some(answer) = answer::encode(&message, &bytes, client.is_udp()) {
                    self.servers.answer(&client, answer, &mut self.watch);
                }
            }
            answer::Verdict::Forward => {
                let namespace = self.servers.namespace(container);
                self.upstream.ask(asking, namespace, bytes, client, &mut self.watch);
            }
        }
    }
}
