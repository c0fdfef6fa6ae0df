//! Queries that others have to answer: which servers, in which order, and until when.
//!
//! A server that doesn't answer within a second isn't waited for: the next one is asked as well, and
//! the first answer counts. One that failed to answer is asked last for a while, so that a dead
//! server costs its second once and not with every query.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use davit_monitor::resolver::Container;
use davit_sys::epoll::{Interest, Ready};
use davit_sys::namespace::{NETWORK, setns};
use hickory_proto::op::ResponseCode;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::answer;
use super::cache::Cache;
use super::server::Client;
use super::{Owner, Watch};

/// After that the next server is asked.
const NEXT: Duration = Duration::from_secs(1);
/// After that the client gets an error.
const GIVE_UP: Duration = Duration::from_secs(4);
/// How long a server that didn't answer is asked last.
const SUSPICION: Duration = Duration::from_secs(30);
/// How often the host's file is looked at.
const LOOK: Duration = Duration::from_secs(1);
const MOST_PENDING: usize = 1024;
const MOST_SERVERS: usize = 3;
const PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// All queries that are under way.
#[derive(Debug)]
pub(super) struct Upstream {
    own_namespace: File,
    host: HostServers,
    cache: Cache,
    pending: HashMap<u64, Pending>,
    attempts: HashMap<u64, Attempt>,
    /// When something is to be done about a query.
    due: BTreeSet<(Instant, u64)>,
    next_query: u64,
    suspects: HashMap<IpAddr, Instant>,
    answers: Vec<(Client, Vec<u8>)>,
}

/// What `/etc/resolv.conf` of the host says.
#[derive(Debug, Default)]
struct HostServers {
    servers: Vec<IpAddr>,
    looked: Option<Instant>,
    version: Option<(SystemTime, u64)>,
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

#[derive(Debug)]
struct Attempt {
    query: u64,
    server: IpAddr,
    number: [u8; 2],
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, output: Vec<u8>, input: Vec<u8> },
}

impl Upstream {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            own_namespace: File::open("/proc/thread-self/ns/net")?,
            host: HostServers::default(),
            cache: Cache::default(),
            pending: HashMap::new(),
            attempts: HashMap::new(),
            due: BTreeSet::new(),
            next_query: 0,
            suspects: HashMap::new(),
            answers: Vec::new(),
        })
    }

    /// How long nothing has to be done by itself.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let (first, _) = self.due.first()?;
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
        self.suspects.retain(|_, until| *until > now);
        servers.sort_by_key(|server| self.suspects.contains_key(server));
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
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, watch: &mut Watch) {
        let now = Instant::now();
        while let Some((_, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            if let Some(pending) = self.pending.get(&id) {
                let silent = pending.attempts.iter().filter_map(|at| self.attempts.get(at));
                for attempt in silent {
                    self.suspects.insert(attempt.server, now + SUSPICION);
                }
            }
            self.go_on(id, now, watch);
        }
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
            pending.due = (now + NEXT).min(pending.end);
            self.due.insert((pending.due, id));
            if self.attempt(id, server, watch).is_ok() {
                return;
            }
            // Nobody can be asked there: on to the next at once.
            self.suspects.insert(server, now + SUSPICION);
            let Some(pending) = self.pending.get(&id) else { return };
            if pending.asked >= pending.servers.len() * 2 && pending.attempts.is_empty() {
                self.finish(id, None, watch);
                return;
            }
        }
    }

    fn attempt(&mut self, id: u64, server: IpAddr, watch: &mut Watch) -> io::Result<()> {
        let Some(pending) = self.pending.get_mut(&id) else { return Ok(()) };
        let mut number = [0; 2];
        rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
        let mut query = pending.query.clone();
        if let Some(start) = query.get_mut(..2) {
            start.copy_from_slice(&number);
        }
        let address = SocketAddr::new(server, PORT);
        let is_udp = pending.client.is_udp();
        let kind = if is_udp { SocketType::DGRAM } else { SocketType::STREAM };
        let fd = match &pending.namespace {
            None => connect(address, kind)?,
            Some(namespace) => {
                setns(namespace.as_fd(), NETWORK)?;
                let connected = connect(address, kind);
                // Staying there would be worse than ending: queries would leave by the wrong way.
                setns(self.own_namespace.as_fd(), NETWORK).expect("the own namespace is open");
                connected?
            }
        };
        let (socket, interest) = if is_udp {
            let socket = UdpSocket::from(fd);
            socket.send(&query)?;
            (Socket::Udp(socket), Interest::READ)
        } else {
            let length = u16::try_from(query.len()).map_err(io::Error::other)?;
            let output = [&length.to_be_bytes()[..], &query].concat();
            let stream = TcpStream::from(fd);
            (Socket::Tcp { stream, output, input: Vec::new() }, Interest::WRITE)
        };
        let token = watch.add(socket.fd(), Owner::Attempt, interest)?;
        pending.attempts.push(token);
        self.attempts.insert(token, Attempt { query: id, server, number, socket });
        Ok(())
    }

    /// A server has something to say.
    pub(super) fn ready(&mut self, event: Ready, watch: &mut Watch) {
        let token = event.token;
        let Some(attempt) = self.attempts.get_mut(&token) else { return };
        let (id, server) = (attempt.query, attempt.server);
        match attempt.go_on(event, watch, token) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let Some(pending) = self.pending.get(&id) else { return };
                if !answers(&pending.query, attempt.number, &bytes) {
                    // Not to this query: perhaps forged. The right one may come still.
                    return;
                }
                self.suspects.remove(&server);
                if matches!(bytes[3] & 0xf, 2 | 5) {
                    self.drop_attempt(token, watch);
                    self.refused(id, bytes, watch);
                } else {
                    self.finish(id, Some(bytes), watch);
                }
            }
            Err(_) => {
                self.suspects.insert(server, Instant::now() + SUSPICION);
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
            if let Some(attempt) = self.attempts.remove(token) {
                watch.forget(*token, attempt.socket.fd());
            }
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
        let Some(attempt) = self.attempts.remove(&token) else { return };
        watch.forget(token, attempt.socket.fd());
        if let Some(pending) = self.pending.get_mut(&attempt.query) {
            pending.attempts.retain(|other| *other != token);
        }
    }
}

impl HostServers {
    /// Reads the file if it has changed; says whether it has.
    fn look(&mut self, now: Instant) -> bool {
        if self.looked.is_some_and(|looked| now < looked + LOOK) {
            return false;
        }
        self.looked = Some(now);
        let metadata = std::fs::metadata(RESOLV_CONF).ok();
        let version = metadata.and_then(|data| Some((data.modified().ok()?, data.len())));
        if version.is_some() && version == self.version {
            return false;
        }
        self.version = version;
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let servers = servers(&text);
        let has_changed = servers != self.servers;
        self.servers = servers;
        has_changed
    }
}

/// The servers that a `resolv.conf` names.
fn servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

impl Attempt {
    /// Goes on; returns the answer when it is complete.
    fn go_on(&mut self, event: Ready, watch: &Watch, token: u64) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 65_535];
        match &mut self.socket {
            Socket::Udp(socket) => match socket.recv(&mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    Ok(Some(buffer))
                }
                Err(error) if is_not_yet(&error) => Ok(None),
                Err(error) => Err(error),
            },
            Socket::Tcp { stream, output, input } => {
                if event.writable && !output.is_empty() {
                    match stream.write(output) {
                        Ok(written) => drop(output.drain(..written)),
                        Err(error) if is_not_yet(&error) => {}
                        Err(error) => return Err(error),
                    }
                    if output.is_empty() {
                        watch.epoll.modify(&*stream, token, Interest::READ)?;
                    }
                    return Ok(None);
                }
                match stream.read(&mut buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(length) => input.extend_from_slice(&buffer[..length]),
                    Err(error) if is_not_yet(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
                let [high, low, rest @ ..] = input.as_slice() else { return Ok(None) };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                Ok(rest.get(..length).map(<[u8]>::to_vec))
            }
        }
    }
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tcp { stream, .. } => stream.as_fd(),
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A socket in the present namespace, connected or about to be.
fn connect(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Whether `answer` is one to `query`, sent under `number`: same number, same question.
fn answers(query: &[u8], number: [u8; 2], answer: &[u8]) -> bool {
    let Some(length) = question_length(query) else { return false };
    let is_answer = answer.len() >= 12 + length && answer[..2] == number && answer[2] & 0x80 != 0;
    is_answer && answer[12..12 + length].eq_ignore_ascii_case(&query[12..12 + length])
}

/// Bytes of the first question: labels, type, class.
fn question_length(query: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        match query.get(at)? {
            0 => break,
            length => at += 1 + usize::from(*length),
        }
    }
    let length = at + 1 + 4 - 12;
    (query.len() >= 12 + length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_is_taken() {
        let query = [
            &[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
            b"\x01a\x02bc\x00\x00\x01\x00\x01",
            b"extra",
        ]
        .concat();
        let answer = |number: [u8; 2], flags: u8, question: &[u8]| {
            [&number[..], &[flags, 0, 0, 1, 0, 0, 0, 0, 0, 0], question].concat()
        };
        let question = b"\x01A\x02BC\x00\x00\x01\x00\x01";
        assert!(answers(&query, [1, 2], &answer([1, 2], 0x80, question)));
        assert!(!answers(&query, [1, 3], &answer([1, 2], 0x80, question)), "the number");
        assert!(!answers(&query, [1, 2], &answer([1, 2], 0, question)), "a query");
        let other = b"\x01X\x02BC\x00\x00\x01\x00\x01";
        assert!(!answers(&query, [1, 2], &answer([1, 2], 0x80, other)), "the question");
        assert!(!answers(&query, [1, 2], &answer([1, 2], 0x80, &question[..4])), "cut");
    }

    #[test]
    fn servers_are_read_whatever_else_the_file_says() {
        let text = "# c\nsearch a b\nnameserver 127.0.0.53\n nameserver  fd00::1 # x\nnameserver bad\nnew option\n";
        let expected: Vec<IpAddr> =
            ["127.0.0.53", "fd00::1"].map(|ip| ip.parse().expect("one")).to_vec();
        assert_eq!(servers(text), expected);
    }
}
