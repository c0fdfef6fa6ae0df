//! Queries that others have to answer: which servers, in which order, and until when.
//!
//! A server that says nothing isn't waited for ([`super::health`]): the next one is asked as well,
//! and the first answer counts.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use davit_monitor::resolver::Container;
use davit_sys::epoll::Ready;
use davit_sys::namespace::{NETWORK, setns};
use hickory_proto::op::ResponseCode;

use super::answer;
use super::attempt::Attempt;
use super::cache::Cache;
use super::health::{Health, PATIENCE};
use super::host::HostServers;
use super::server::Client;
use super::{Owner, Watch};

/// After that the client gets an error.
const GIVE_UP: Duration = Duration::from_secs(4);
const MOST_PENDING: usize = 1024;
const MOST_SERVERS: usize = 3;

/// All queries that are under way.
#[derive(Debug)]
pub(super) struct Upstream {
    own_namespace: File,
    host: HostServers,
    cache: Cache,
    pending: HashMap<u64, Pending>,
    attempts: HashMap<u64, Attempt>,
    /// Attempts of finished queries, of which only is to be seen whether the server speaks again.
    left: VecDeque<(Instant, u64)>,
    /// When something is to be done about a query.
    due: BTreeSet<(Instant, u64)>,
    next_query: u64,
    health: Health,
    answers: Vec<(Client, Vec<u8>)>,
}

#[derive(Debug)]
struct Pending {
    client: Client,
    query: Vec<u8>,
    /// Of servers of the container's own.
    scope: Option<Rc<str>>,
    namespace: Option<OwnedFd>,
    servers: Vec<IpAddr>,
    asked: usize,
    attempts: Vec<u64>,
    due: Instant,
    end: Instant,
    /// What a server said that couldn't answer.
    failure: Option<Vec<u8>>,
}

impl Upstream {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            own_namespace: File::open("/proc/thread-self/ns/net")?,
            host: HostServers::default(),
            cache: Cache::default(),
            pending: HashMap::new(),
            attempts: HashMap::new(),
            left: VecDeque::new(),
            due: BTreeSet::new(),
            next_query: 0,
            health: Health::default(),
            answers: Vec::new(),
        })
    }

    /// How long nothing has to be done by itself.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let first = self
            .due
            .first()
            .into_iter()
            .chain(self.left.front())
            .map(|(due, _)| *due)
            .chain(self.health.next())
            .min()?;
        // Rounded up: a wait that ends too early would be a busy one.
        Some(first.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    /// What can be sent.
    pub(super) fn take_answers(&mut self) -> Vec<(Client, Vec<u8>)> {
        std::mem::take(&mut self.answers)
    }

    /// Asks the servers of `container`, unless the answer is known still.
    pub(super) fn ask(
        &mut self,
        container: &Container,
        namespace: Option<BorrowedFd<'_>>,
        query: Vec<u8>,
        client: Client,
        watch: &mut Watch,
    ) {
        let now = Instant::now();
        if self.host.look(now) {
            self.cache.clear();
            self.health.forget(None);
        }
        let own = !container.servers.is_empty();
        let scope = own.then(|| Rc::from(container.id.as_str()));
        if let Some(answer) = self.cache.get(scope.as_ref(), &query, now) {
            self.deliver(client, &query, answer);
            return;
        }
        let namespace = match namespace.filter(|_| own).map(|fd| fd.try_clone_to_owned()) {
            Some(Ok(fd)) => Some(fd),
            Some(Err(_)) => return self.fail(client, &query, ResponseCode::ServFail),
            None => None,
        };
        let mut servers = if own { container.servers.clone() } else { self.host.servers.clone() };
        servers.truncate(MOST_SERVERS);
        if servers.is_empty() {
            return self.fail(client, &query, ResponseCode::ServFail);
        }
        if self.pending.len() >= MOST_PENDING {
            return self.fail(client, &query, ResponseCode::Refused);
        }
        self.health.sort(scope.as_ref(), &mut servers);
        let besides = self.health.retry(scope.as_ref(), &servers, now);
        let id = self.next_query;
        self.next_query += 1;
        let pending = Pending {
            client,
            query,
            scope,
            namespace,
            servers,
            asked: 0,
            attempts: Vec::new(),
            due: now,
            end: now + GIVE_UP,
            failure: None,
        };
        self.due.insert((now, id));
        self.pending.insert(id, pending);
        self.go_on(id, now, watch);
        if let Some(server) = besides {
            // One that can't be asked still stays what it is: silent.
            let _ = self.attempt(id, server, watch);
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, watch: &mut Watch) {
        let now = Instant::now();
        for (scope, server) in self.health.expire(now) {
            for id in self.waiting_for(scope.as_ref(), server) {
                self.go_on(id, now, watch);
            }
        }
        while let Some((_, token)) = self.left.front().copied().filter(|(end, _)| *end <= now) {
            self.left.pop_front();
            self.end_attempt(token, watch);
        }
        while let Some((_, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.go_on(id, now, watch);
        }
    }

    /// The queries that were sent to this server last, and that another one may answer.
    fn waiting_for(&self, scope: Option<&Rc<str>>, server: IpAddr) -> Vec<u64> {
        let may_answer = |pending: &Pending| {
            let mut servers = pending.servers.iter();
            servers.any(|ip| !self.health.is_silent(&(pending.scope.clone(), *ip)))
        };
        let waits = |pending: &Pending| {
            pending.scope.as_ref() == scope && pending.last_asked() == Some(server)
        };
        let pending = self.pending.iter();
        let waiting = pending.filter(|(_, pending)| waits(pending) && may_answer(pending));
        waiting.map(|(id, _)| *id).collect()
    }

    /// Asks the next server, or gives up.
    fn go_on(&mut self, id: u64, now: Instant, watch: &mut Watch) {
        loop {
            let Some(pending) = self.pending.get_mut(&id) else {
                self.due.retain(|(_, other)| *other != id);
                return;
            };
            self.due.remove(&(pending.due, id));
            if now >= pending.end {
                self.finish(id, None, watch);
                return;
            }
            // Each twice: a datagram may have been lost.
            if pending.asked >= pending.servers.len() * 2 {
                pending.due = pending.end;
                self.due.insert((pending.due, id));
                return;
            }
            let server = pending.servers[pending.asked % pending.servers.len()];
            pending.asked += 1;
            pending.due = (now + PATIENCE).min(pending.end);
            self.due.insert((pending.due, id));
            if self.attempt(id, server, watch).is_ok() {
                return;
            }
            // Nobody can be asked there: on to the next at once.
            let Some(pending) = self.pending.get(&id) else { return };
            if pending.asked >= pending.servers.len() * 2 && pending.attempts.is_empty() {
                self.finish(id, None, watch);
                return;
            }
        }
    }

    fn attempt(&mut self, id: u64, server: IpAddr, watch: &mut Watch) -> io::Result<()> {
        let Some(pending) = self.pending.get_mut(&id) else { return Ok(()) };
        let server = (pending.scope.clone(), server);
        let is_udp = pending.client.is_udp();
        let start = || Attempt::start(id, &pending.query, server.clone(), is_udp);
        let started = match &pending.namespace {
            None => start(),
            Some(namespace) => {
                setns(namespace.as_fd(), NETWORK)?;
                let started = start();
                // Staying there would be worse than ending: queries would leave by the wrong way.
                setns(self.own_namespace.as_fd(), NETWORK).expect("the own namespace is open");
                started
            }
        };
        let now = Instant::now();
        let attempt = started.inspect_err(|_| self.health.failed(server.clone(), now))?;
        let token = watch.add(attempt.fd(), Owner::Attempt, attempt.interest())?;
        pending.attempts.push(token);
        self.attempts.insert(token, attempt);
        self.health.asked(server, now);
        Ok(())
    }

    /// A server has something to say.
    pub(super) fn ready(&mut self, event: Ready, watch: &mut Watch) {
        let token = event.token;
        let Some(attempt) = self.attempts.get_mut(&token) else { return };
        let (id, server) = (attempt.query, attempt.server.clone());
        match attempt.go_on(event, watch, token) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let pending = self.pending.get(&id);
                if pending.is_some_and(|pending| !attempt.is_answered_by(&pending.query, &bytes)) {
                    // Not to this query: perhaps forged. The right one may come still.
                    return;
                }
                self.health.heard(&server, Instant::now());
                if pending.is_none() {
                    self.end_attempt(token, watch);
                } else if matches!(bytes[3] & 0xf, 2 | 5) {
                    self.drop_attempt(token, watch);
                    self.refused(id, bytes, watch);
                } else {
                    self.finish(id, Some(bytes), watch);
                }
            }
            Err(_) => {
                self.health.failed(server, Instant::now());
                self.drop_attempt(token, watch);
                self.refused(id, Vec::new(), watch);
            }
        }
    }

    /// One server can't answer: the next one may.
    fn refused(&mut self, id: u64, failure: Vec<u8>, watch: &mut Watch) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if !failure.is_empty() {
            pending.failure = Some(failure);
        }
        if pending.asked < pending.servers.len() {
            self.go_on(id, Instant::now(), watch);
        } else if pending.attempts.is_empty() {
            self.finish(id, None, watch);
        }
    }

    /// Answers the client: with `answer`, with what a server said that couldn't, or with an error.
    fn finish(&mut self, id: u64, answer: Option<Vec<u8>>, watch: &mut Watch) {
        let Some(pending) = self.pending.remove(&id) else { return };
        self.due.remove(&(pending.due, id));
        for token in &pending.attempts {
            self.leave_attempt(*token, watch);
        }
        if let Some(bytes) = &answer {
            let scope = pending.scope.clone();
            self.cache.put(scope, &pending.query, bytes, Instant::now());
        }
        match answer.or(pending.failure) {
            Some(bytes) => self.deliver(pending.client, &pending.query, bytes),
            None => self.fail(pending.client, &pending.query, ResponseCode::ServFail),
        }
    }

    fn deliver(&mut self, client: Client, query: &[u8], mut answer: Vec<u8>) {
        if let (Some(to), Some(from)) = (answer.get_mut(..2), query.get(..2)) {
            to.copy_from_slice(from);
        }
        let fitting = if client.is_udp() { answer::fit(answer, query) } else { Some(answer) };
        self.answers.extend(fitting.map(|answer| (client, answer)));
    }

    fn fail(&mut self, client: Client, query: &[u8], code: ResponseCode) {
        let message = answer::failure(query, code);
        let bytes = message.and_then(|message| answer::encode(&message, query, client.is_udp()));
        self.answers.extend(bytes.map(|bytes| (client, bytes)));
    }

    fn drop_attempt(&mut self, token: u64, watch: &mut Watch) {
        let query = self.end_attempt(token, watch);
        if let Some(pending) = query.and_then(|query| self.pending.get_mut(&query)) {
            pending.attempts.retain(|other| *other != token);
        }
    }

    /// Ends an attempt whose query has ended; that at a silent server may show still that it lives.
    fn leave_attempt(&mut self, token: u64, watch: &mut Watch) {
        let Some(attempt) = self.attempts.get(&token) else { return };
        if self.health.is_silent(&attempt.server) {
            self.left.push_back((Instant::now() + PATIENCE, token));
        } else {
            self.end_attempt(token, watch);
        }
    }

    /// Closes its socket; returns the query it was for.
    fn end_attempt(&mut self, token: u64, watch: &mut Watch) -> Option<u64> {
        let attempt = self.attempts.remove(&token)?;
        watch.forget(token, attempt.fd());
        self.health.released(&attempt.server, Instant::now());
        Some(attempt.query)
    }

    /// A container is gone.
    pub(super) fn forget(&mut self, container: &str) {
        self.health.forget(Some(container));
    }
}

impl Pending {
    fn last_asked(&self) -> Option<IpAddr> {
        let last = self.asked.checked_sub(1)?;
        Some(self.servers[last % self.servers.len()])
    }
}
