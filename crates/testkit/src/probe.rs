//! Who reaches whom, and as whom: servers that say what address they see their client at, and a
//! client that says what became of its attempt.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Namespace;

/// How often servers look whether they are to end.
const TICK: Duration = Duration::from_millis(100);
/// After this time a datagram is sent again.
const AGAIN: Duration = Duration::from_millis(300);

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, where the kernel has it.
    Sctp,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, by a server that saw the client at this address.
    Reached(IpAddr),
    /// The other side said no.
    Refused,
    /// Nobody knows the way.
    NoRoute,
    /// Nobody answered.
    Silence,
}

impl Transport {
    /// Those that this kernel has.
    pub fn available() -> Vec<Self> {
        let all = [Self::Tcp, Self::Udp, Self::Sctp];
        let there = |transport: &Self| transport.socket(Domain::IPV4).is_ok();
        all.into_iter().filter(there).collect()
    }

    fn socket(self, domain: Domain) -> io::Result<Socket> {
        match self {
            Self::Tcp => Socket::new(domain, Type::STREAM, Some(Protocol::TCP)),
            Self::Udp => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)),
            Self::Sctp => Socket::new(domain, Type::STREAM, Some(Protocol::SCTP)),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Servers inside a namespace; they end with this value.
#[derive(Debug, Default)]
pub struct Servers {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Servers {
    /// Serves all `transports` on all `ports` of both families' wildcard addresses.
    pub fn start(at: &Namespace, transports: &[Transport], ports: &[u16]) -> Result<Self> {
        let mut servers = Self::default();
        for transport in transports {
            for ip in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
                for port in ports {
                    let socket = at.inside(|| bound(*transport, (ip, *port).into()))?;
                    let over = Arc::clone(&servers.over);
                    let serve = if *transport == Transport::Udp { answer } else { accept };
                    servers.threads.push(thread::spawn(move || serve(&socket, &over)));
                }
            }
        }
        Ok(servers)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            drop(thread.join());
        }
    }
}

fn bound(transport: Transport, address: SocketAddr) -> Result<Socket> {
    let socket = transport.socket(Domain::for_address(address))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into()).with_context(|| format!("bind {transport} {address}"))?;
    if transport != Transport::Udp {
        socket.listen(64)?;
    }
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

fn accept(listener: &Socket, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if let Ok((mut stream, peer)) = listener.accept() {
            // A client that only looks whether it can connect is gone already.
            drop(stream.write_all(seen(&peer).as_bytes()));
        }
    }
}

fn answer(socket: &Socket, over: &AtomicBool) {
    let mut buffer = [MaybeUninit::uninit(); 64];
    while !over.load(Ordering::SeqCst) {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(seen(&peer).as_bytes(), &peer));
        }
    }
}

fn seen(peer: &SockAddr) -> String {
    peer.as_socket().map(|peer| peer.ip().to_string()).unwrap_or_default()
}

/// Tries to reach `address` from inside a namespace; silence is what lasts for `patience`.
pub fn reach(
    from: &Namespace,
    transport: Transport,
    address: SocketAddr,
    patience: Duration,
) -> Result<Outcome> {
    from.inside(|| match attempt(transport, address, patience) {
        Ok(text) => Ok(Outcome::Reached(text.parse().with_context(|| format!("{text:?}"))?)),
        Err(error) => failure(&error).with_context(|| format!("{transport} to {address}: {error}")),
    })
}

fn attempt(transport: Transport, address: SocketAddr, patience: Duration) -> io::Result<String> {
    let mut socket = transport.socket(Domain::for_address(address))?;
    socket.set_read_timeout(Some(patience))?;
    let mut text = [0; 64];
    let mut length = 0;
    if transport == Transport::Udp {
        socket.connect(&address.into())?;
        length = ask(&mut socket, &mut text, patience)?;
    } else {
        socket.connect_timeout(&address.into(), patience)?;
        while let count @ 1.. = socket.read(&mut text[length..])? {
            length += count;
        }
    }
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

fn ask(socket: &mut Socket, answer: &mut [u8], patience: Duration) -> io::Result<usize> {
    socket.set_read_timeout(Some(AGAIN.min(patience)))?;
    let end = Instant::now() + patience;
    loop {
        socket.send(b"?")?;
        match socket.read(answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {}
            other => return other,
        }
    }
}

fn failure(error: &io::Error) -> Option<Outcome> {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Some(Outcome::Refused),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Some(Outcome::NoRoute),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Some(Outcome::Silence),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_tcp_and_udp() {
        assert_eq!(Transport::available()[..2], [Transport::Tcp, Transport::Udp]);
    }
}
