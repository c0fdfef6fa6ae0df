//! The sockets inside the containers: queries in, answers out, over UDP and TCP.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use davit_sys::epoll::{Interest, Ready};
use davit_sys::fdpass::set_nonblocking;

use super::{Owner, Watch};

/// The largest query over UDP.
const LARGEST: usize = 4096;
/// Connections at a time, of all containers.
const MOST_STREAMS: usize = 512;

/// Who waits for an answer.
#[derive(Debug, Clone)]
pub(super) enum Client {
    Udp { container: Rc<str>, address: SocketAddr },
    Tcp { stream: u64 },
}

impl Client {
    pub(super) fn is_udp(&self) -> bool {
        matches!(self, Self::Udp { .. })
    }
}

/// All containers' sockets.
#[derive(Debug, Default)]
pub(super) struct Servers {
    containers: BTreeMap<Rc<str>, Served>,
    streams: HashMap<u64, Stream>,
}

#[derive(Debug)]
struct Served {
    datagrams: (UdpSocket, u64),
    connections: (TcpListener, u64),
    namespace: OwnedFd,
}

/// A client's connection. Answers may come in another order than the queries.
#[derive(Debug)]
struct Stream {
    container: Rc<str>,
    stream: TcpStream,
    /// What has come of the next query.
    input: Vec<u8>,
    /// What is to be sent still.
    output: Vec<u8>,
}

impl Servers {
    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.containers.keys().map(|id| &**id)
    }

    /// The container's network namespace.
    pub(super) fn namespace(&self, container: &str) -> Option<BorrowedFd<'_>> {
        self.containers.get(container).map(|served| served.namespace.as_fd())
    }

    /// Serves a container on these sockets from now on: UDP, TCP; and its namespace.
    pub(super) fn add(
        &mut self,
        id: &str,
        (datagrams, connections, namespace): (OwnedFd, OwnedFd, OwnedFd),
        watch: &mut Watch,
    ) {
        self.remove(id, watch);
        let id: Rc<str> = Rc::from(id);
        let prepared = [&datagrams, &connections].map(|fd| set_nonblocking(fd, true));
        if prepared.iter().any(Result::is_err) {
            return;
        }
        let owners = [Owner::Datagrams(Rc::clone(&id)), Owner::Connections(Rc::clone(&id))];
        let [first, second] = owners;
        let (Ok(one), Ok(other)) = (
            watch.add(&datagrams, first, Interest::READ),
            watch.add(&connections, second, Interest::READ),
        ) else {
            return;
        };
        let served = Served {
            datagrams: (UdpSocket::from(datagrams), one),
            connections: (TcpListener::from(connections), other),
            namespace,
        };
        self.containers.insert(id, served);
    }

    /// Closes a container's sockets.
    pub(super) fn remove(&mut self, id: &str, watch: &mut Watch) {
        let Some(served) = self.containers.remove(id) else { return };
        watch.forget(served.datagrams.1, &served.datagrams.0);
        watch.forget(served.connections.1, &served.connections.0);
        let of_it = self.streams.iter().filter(|(_, stream)| &*stream.container == id);
        let tokens: Vec<u64> = of_it.map(|(token, _)| *token).collect();
        for token in tokens {
            self.close(token, watch);
        }
    }

    /// The next datagram that waits.
    pub(super) fn datagram(&self, container: &Rc<str>) -> Option<(Vec<u8>, Client)> {
        let socket = &self.containers.get(container)?.datagrams.0;
        let mut buffer = [0; LARGEST];
        let (length, address) = socket.recv_from(&mut buffer).ok()?;
        let client = Client::Udp { container: Rc::clone(container), address };
        Some((buffer[..length].to_vec(), client))
    }

    /// Takes the connections that wait.
    pub(super) fn accept(&mut self, container: &Rc<str>, watch: &mut Watch) {
        let Some(served) = self.containers.get(container) else { return };
        while let Ok((stream, _)) = served.connections.0.accept() {
            if self.streams.len() >= MOST_STREAMS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            if let Ok(token) = watch.add(&stream, Owner::Stream, Interest::READ) {
                let container = Rc::clone(container);
                let (input, output) = (Vec::new(), Vec::new());
                self.streams.insert(token, Stream { container, stream, input, output });
            }
        }
    }

    /// Goes on with a connection; returns the queries that are complete.
    pub(super) fn stream(
        &mut self,
        event: Ready,
        watch: &mut Watch,
    ) -> Vec<(Rc<str>, Vec<u8>, Client)> {
        let token = event.token;
        let Some(stream) = self.streams.get_mut(&token) else { return Vec::new() };
        let mut is_over = event.hung_up;
        if event.writable {
            is_over |= stream.flush().is_err();
        }
        if event.readable {
            is_over |= stream.fill().is_err();
        }
        let container = Rc::clone(&stream.container);
        let queries = stream.take_queries();
        if is_over {
            self.close(token, watch);
            return Vec::new();
        }
        self.update_interest(token, watch);
        let client = Client::Tcp { stream: token };
        queries.into_iter().map(|query| (Rc::clone(&container), query, client.clone())).collect()
    }

    /// Sends an answer, as far as the client is still there.
    pub(super) fn answer(&mut self, client: &Client, answer: Vec<u8>, watch: &mut Watch) {
        match client {
            Client::Udp { container, address } => {
                if let Some(served) = self.containers.get(container) {
                    // A datagram may get lost; the client asks again.
                    let _ = served.datagrams.0.send_to(&answer, address);
                }
            }
            Client::Tcp { stream: token } => {
                let Some(stream) = self.streams.get_mut(token) else { return };
                let Ok(length) = u16::try_from(answer.len()) else { return };
                stream.output.extend_from_slice(&length.to_be_bytes());
                stream.output.extend_from_slice(&answer);
                match stream.flush() {
                    Ok(()) => self.update_interest(*token, watch),
                    Err(_) => self.close(*token, watch),
                }
            }
        }
    }

    fn update_interest(&self, token: u64, watch: &Watch) {
        let Some(stream) = self.streams.get(&token) else { return };
        let writable = !stream.output.is_empty();
        // It is watched for as long as it is here.
        let _ = watch.epoll.modify(&stream.stream, token, Interest { writable, ..Interest::READ });
    }

    fn close(&mut self, token: u64, watch: &mut Watch) {
        if let Some(stream) = self.streams.remove(&token) {
            watch.forget(token, &stream.stream);
        }
    }
}

impl Stream {
    /// Reads what there is; the end is an error.
    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; LARGEST];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.input.len() > 1 << 17 {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Each query has its length in front.
    fn take_queries(&mut self) -> Vec<Vec<u8>> {
        let mut queries = Vec::new();
        while let [high, low, rest @ ..] = self.input.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(query) = rest.get(..length) else { break };
            queries.push(query.to_vec());
            self.input.drain(..length + 2);
        }
        queries
    }
}
