//! Which servers answer, as far as queries have shown. No I/O.
//!
//! A server is silent when the queries that it owes an answer have waited a second, all together,
//! since it last said something: one query waits for a second, a hundred at a time for ten
//! milliseconds each. A silent one is asked last, and now and then besides, until it answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long the queries wait for one server, all together.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How long each of them waits at least.
const LEAST: Duration = Duration::from_millis(10);
/// How often a silent server is asked besides.
const AGAIN: Duration = Duration::from_secs(5);

/// A server, as the container whose own it is sees it, or the host.
pub(super) type Server = (Option<Rc<str>>, IpAddr);

/// What is known of all servers.
#[derive(Debug, Default)]
pub(super) struct Health {
    servers: HashMap<Server, State>,
}

#[derive(Debug)]
struct State {
    /// Queries without an answer so far.
    owed: u32,
    /// How long they had waited, all together, at `counted`.
    waited: Duration,
    counted: Instant,
    /// When it last said something, or was asked for the first time.
    heard: Instant,
    is_silent: bool,
    /// When a silent one is asked besides.
    again: Instant,
}

impl Health {
    /// Puts the silent ones last.
    pub(super) fn sort(&self, scope: Option<&Rc<str>>, servers: &mut [IpAddr]) {
        servers.sort_by_key(|ip| self.is_silent(&(scope.cloned(), *ip)));
    }

    pub(super) fn is_silent(&self, server: &Server) -> bool {
        self.servers.get(server).is_some_and(|state| state.is_silent)
    }

    /// A silent server that is to be asked besides.
    pub(super) fn retry(
        &mut self,
        scope: Option<&Rc<str>>,
        servers: &[IpAddr],
        now: Instant,
    ) -> Option<IpAddr> {
        servers.iter().copied().find(|ip| {
            let Some(state) = self.servers.get_mut(&(scope.cloned(), *ip)) else { return false };
            let is_due = state.is_silent && now >= state.again;
            if is_due {
                state.again = now + AGAIN;
            }
            is_due
        })
    }

    /// A query has been sent.
    pub(super) fn asked(&mut self, server: Server, now: Instant) {
        let state = self.servers.entry(server).or_insert_with(|| State::new(now));
        state.count(now);
        if state.owed == 0 && state.waited.is_zero() {
            state.heard = now;
        }
        state.owed += 1;
    }

    /// A query that was sent isn't waited for any more.
    pub(super) fn released(&mut self, server: &Server, now: Instant) {
        let Some(state) = self.servers.get_mut(server) else { return };
        state.count(now);
        state.owed = state.owed.saturating_sub(1);
    }

    /// Something has come from it.
    pub(super) fn heard(&mut self, server: &Server, now: Instant) {
        let Some(state) = self.servers.get_mut(server) else { return };
        *state = State { owed: state.owed, ..State::new(now) };
    }

    /// It can't be asked.
    pub(super) fn failed(&mut self, server: Server, now: Instant) {
        self.servers.entry(server).or_insert_with(|| State::new(now)).fall_silent(now);
    }

    /// When the next server will have been waited for long enough.
    pub(super) fn next(&self) -> Option<Instant> {
        self.servers.values().filter_map(State::end).min()
    }

    /// The servers that have become silent.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Server> {
        let states = self.servers.iter_mut();
        let expired = states.filter(|(_, state)| state.end().is_some_and(|end| end <= now));
        expired
            .map(|(server, state)| {
                state.fall_silent(now);
                server.clone()
            })
            .collect()
    }

    /// Those of a container that is gone, or of the host whose file has changed.
    pub(super) fn forget(&mut self, scope: Option<&str>) {
        self.servers.retain(|(other, _), _| other.as_deref() != scope);
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            owed: 0,
            waited: Duration::ZERO,
            counted: now,
            heard: now,
            is_silent: false,
            again: now,
        }
    }

    fn count(&mut self, now: Instant) {
        self.waited += now.saturating_duration_since(self.counted) * self.owed;
        self.counted = now;
    }

    fn fall_silent(&mut self, now: Instant) {
        self.is_silent = true;
        self.again = now + AGAIN;
    }

    fn end(&self) -> Option<Instant> {
        if self.is_silent || self.owed == 0 {
            return None;
        }
        let left = PATIENCE.saturating_sub(self.waited) / self.owed;
        Some((self.counted + left).max(self.heard + LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn server(last: u8) -> Server {
        (None, IpAddr::from([192, 0, 2, last]))
    }

    fn order(health: &Health) -> Vec<IpAddr> {
        let mut servers = vec![server(1).1, server(2).1];
        health.sort(None, &mut servers);
        servers
    }

    #[test]
    fn one_query_waits_for_a_second() {
        let (mut health, start) = (Health::default(), Instant::now());
        assert_eq!(health.next(), None);
        health.asked(server(1), start);
        assert_eq!(health.next(), Some(start + 1000 * MS));
        assert!(health.expire(start + 999 * MS).is_empty());
        assert_eq!(health.expire(start + 1000 * MS), [server(1)]);
        assert_eq!(health.next(), None, "it is said once");
        assert_eq!(order(&health), [server(2).1, server(1).1]);
    }

    #[test]
    fn many_queries_wait_together() {
        let (mut health, start) = (Health::default(), Instant::now());
        for _ in 0..50 {
            health.asked(server(1), start);
        }
        assert_eq!(health.next(), Some(start + 20 * MS));
        for _ in 0..50 {
            health.released(&server(1), start + 10 * MS);
        }
        assert_eq!(health.next(), None, "nobody waits");
        for _ in 0..1000 {
            health.asked(server(1), start + 10 * MS);
        }
        assert_eq!(health.next(), Some(start + 10 * MS + MS / 2), "half of it was used up");
        health.heard(&server(1), start + 10 * MS);
        assert_eq!(health.next(), Some(start + 20 * MS), "never less than ten");
    }

    #[test]
    fn a_silent_server_is_tried_again_until_it_speaks() {
        let (mut health, start) = (Health::default(), Instant::now());
        health.failed(server(1), start);
        let servers = order(&health);
        assert_eq!(health.retry(None, &servers, start + 4999 * MS), None);
        assert_eq!(health.retry(None, &servers, start + 5000 * MS), Some(server(1).1));
        assert_eq!(health.retry(None, &servers, start + 5001 * MS), None, "not with each query");
        health.asked(server(1), start + 5000 * MS);
        health.heard(&server(1), start + 5001 * MS);
        assert_eq!(order(&health), [server(1).1, server(2).1]);
    }

    #[test]
    fn each_containers_own_servers_are_judged_apart() {
        let (mut health, now) = (Health::default(), Instant::now());
        let own = (Some(Rc::from("c")), server(1).1);
        health.failed(own.clone(), now);
        assert!(health.is_silent(&own) && !health.is_silent(&server(1)));
        health.forget(Some("c"));
        assert!(!health.is_silent(&own));
    }
}
