//! Host ports: which one a request gets, and its reservation by a bound socket.
//!
//! The socket never serves anything: the firewall rewrites a connection before it gets there. It
//! makes a clash an error at once, with another container as with any other program, before us or
//! after us. A TCP socket is bound but doesn't listen: should a connection ever reach it, it is
//! refused, and nobody hangs. Nothing is bound on IPv6, so that a client that tries `::1` first is
//! refused there and goes on to `127.0.0.1`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use davit_types::{Error, Kind, Result};
use socket2::{Domain, Socket, Type};

use crate::sandbox::{PortBinding, PortRequest, Protocol};

/// Used when the kernel doesn't tell (IANA's dynamic ports).
const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 49153..=65535;

/// How long a port that was given back may be bound still.
const LINGER: Duration = Duration::from_millis(100);

/// All ports of this daemon.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The host addresses a port is published on.
    taken: HashMap<(Protocol, u16), Vec<Ipv4Addr>>,
    /// When ports were given back lately.
    released: HashMap<(Protocol, u16), Instant>,
    /// Where the search for the next ephemeral port starts.
    next: HashMap<Protocol, u16>,
}

/// One published port and what reserves it.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) binding: PortBinding,
    /// Absent: another program took the port while no daemon was running.
    _socket: Option<Socket>,
}

/// Why a port can't be had.
enum Refusal {
    /// One of our containers has it.
    Ours,
    /// The kernel said so.
    Kernel(io::Error),
}

impl Ports {
    /// Reserves a port for each request, all or none.
    pub(crate) fn reserve(
        &self,
        requests: &[PortRequest],
        default_ip: IpAddr,
    ) -> Result<Vec<Reservation>> {
        let mut reservations = Vec::with_capacity(requests.len());
        let mut state = self.lock();
        for request in requests {
            let host_ip = request.host_ip.unwrap_or(default_ip);
            match state.reserve_one(request, host_ip) {
                Ok(reservation) => reservations.push(reservation),
                Err(error) => {
                    state.forget(&reservations);
                    return Err(error);
                }
            }
        }
        Ok(reservations)
    }

    /// Reserves the ports of a container that was published before this daemon started. They stay
    /// published whatever happened meanwhile; those that another program took are told.
    pub(crate) fn adopt(&self, bindings: &[PortBinding]) -> (Vec<Reservation>, Vec<Error>) {
        let mut state = self.lock();
        let mut failures = Vec::new();
        let mut adopt = |binding: &PortBinding| {
            let (protocol, port) = (binding.protocol, binding.host_port);
            let bound = ipv4(binding.host_ip).and_then(|ip| {
                state.bind(protocol, ip, port).map_err(|r| r.error(protocol, ip, port))
            });
            let socket = bound.map_err(|error| failures.push(error)).ok();
            if let (None, IpAddr::V4(ip)) = (&socket, binding.host_ip) {
                state.taken.entry((protocol, port)).or_default().push(ip);
            }
            Reservation { binding: binding.clone(), _socket: socket }
        };
        let reservations = bindings.iter().map(&mut adopt).collect();
        (reservations, failures)
    }

    /// Gives ports back.
    pub(crate) fn release(&self, reservations: Vec<Reservation>) {
        let mut state = self.lock();
        state.forget(&reservations);
        // Closed before anybody else can ask for them.
        drop(reservations);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reserve_one(&mut self, request: &PortRequest, host_ip: IpAddr) -> Result<Reservation> {
        let ip = ipv4(host_ip)?;
        let protocol = request.protocol;
        let (port, socket) = match &request.host_port {
            Some(range) => self.bind_first(protocol, ip, range.clone())?,
            None => self.bind_ephemeral(protocol, ip)?,
        };
        let binding = PortBinding {
            host_ip,
            host_port: port,
            container_port: request.container_port,
            protocol,
        };
        Ok(Reservation { binding, _socket: Some(socket) })
    }

    /// The first port of the range that is free; the first one's refusal if none is.
    fn bind_first(
        &mut self,
        protocol: Protocol,
        ip: Ipv4Addr,
        range: RangeInclusive<u16>,
    ) -> Result<(u16, Socket)> {
        let first = *range.start();
        let mut refusal = None;
        for port in range {
            match self.bind(protocol, ip, port) {
                Ok(socket) => return Ok((port, socket)),
                Err(other) => refusal = refusal.or(Some(other)),
            }
        }
        Err(refusal.map_or_else(
            || Error::invalid("invalid range of host ports: it is empty"),
            |refusal| refusal.error(protocol, ip, first),
        ))
    }

    /// The next free ephemeral port, round and round so that a port just given back isn't the next
    /// one's at once.
    fn bind_ephemeral(&mut self, protocol: Protocol, ip: Ipv4Addr) -> Result<(u16, Socket)> {
        let range = ephemeral_range();
        let reserved = locally_reserved();
        let start = self.next.get(&protocol).copied().filter(|port| range.contains(port));
        let start = start.unwrap_or(*range.start());
        for port in (start..=*range.end()).chain(*range.start()..start) {
            if reserved.iter().any(|ports| ports.contains(&port)) {
                continue;
            }
            match self.bind(protocol, ip, port) {
                Ok(socket) => {
                    self.next.insert(protocol, port.wrapping_add(1));
                    return Ok((port, socket));
                }
                Err(refusal) if refusal.is_taken() => {}
                Err(refusal) => return Err(refusal.error(protocol, ip, port)),
            }
        }
        Err(Error::internal(format!("all dynamic host ports of {ip}/{protocol} are allocated")))
    }

    fn bind(&mut self, protocol: Protocol, ip: Ipv4Addr, port: u16) -> Result<Socket, Refusal> {
        let key = (protocol, port);
        let clashes =
            |other: &Ipv4Addr| *other == ip || other.is_unspecified() || ip.is_unspecified();
        if self.taken.get(&key).is_some_and(|addresses| addresses.iter().any(clashes)) {
            return Err(Refusal::Ours);
        }
        let socket = self.bind_patiently(protocol, ip, port).map_err(Refusal::Kernel)?;
        self.taken.entry(key).or_default().push(ip);
        Ok(socket)
    }

    /// A child that is being spawned holds a copy of each descriptor until it executes its program.
    /// So a port that we gave back a moment ago may be bound for a moment more.
    fn bind_patiently(&self, protocol: Protocol, ip: Ipv4Addr, port: u16) -> io::Result<Socket> {
        loop {
            match bind_socket(protocol, ip, port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let released = self.released.get(&(protocol, port));
                    if released.is_none_or(|since| since.elapsed() > LINGER) {
                        return Err(error);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }

    fn forget(&mut self, reservations: &[Reservation]) {
        self.released.retain(|_, since| since.elapsed() <= LINGER);
        let now = Instant::now();
        self.released.extend(
            reservations.iter().map(|held| ((held.binding.protocol, held.binding.host_port), now)),
        );
        for Reservation { binding, .. } in reservations {
            let key = (binding.protocol, binding.host_port);
            if let Some(addresses) = self.taken.get_mut(&key) {
                if let Some(at) = addresses.iter().position(|ip| IpAddr::V4(*ip) == binding.host_ip)
                {
                    addresses.swap_remove(at);
                }
                if addresses.is_empty() {
                    self.taken.remove(&key);
                }
            }
        }
    }
}

impl Refusal {
    fn is_taken(&self) -> bool {
        match self {
            Self::Ours => true,
            Self::Kernel(error) => error.kind() == io::ErrorKind::AddrInUse,
        }
    }

    /// In Docker's words: the first text is for its own ports, the second for other programs'.
    fn error(self, protocol: Protocol, ip: Ipv4Addr, port: u16) -> Error {
        match self {
            Self::Ours => {
                Error::internal(format!("Bind for {ip}:{port} failed: port is already allocated"))
            }
            Self::Kernel(error) => {
                let reason = match error.kind() {
                    io::ErrorKind::AddrInUse => "address already in use".to_owned(),
                    io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
                    _ => error.to_string(),
                };
                Error::internal(format!(
                    "failed to bind host port {ip}:{port}/{protocol}: {reason}"
                ))
            }
        }
    }
}

fn ipv4(host_ip: IpAddr) -> Result<Ipv4Addr> {
    match host_ip {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(ip) => {
            let message =
                format!("publish a port on [{ip}]: IPv6 host addresses are not supported");
            Err(Error::new(Kind::NotImplemented, message))
        }
    }
}

fn bind_socket(protocol: Protocol, ip: Ipv4Addr, port: u16) -> io::Result<Socket> {
    let kind = if protocol == Protocol::Udp { Type::DGRAM } else { Type::STREAM };
    let number = i32::from(protocol.number()).into();
    let socket = Socket::new(Domain::IPV4, kind, Some(number))?;
    let address = SocketAddrV4::new(ip, port).into();
    if protocol == Protocol::Udp {
        socket.bind(&address)?;
        // Datagrams that no rule took must not pile up.
        socket.set_recv_buffer_size(0)?;
        return Ok(socket);
    }
    // With SO_REUSEADDR the remains of closed connections (TIME_WAIT) don't count as a clash;
    // listening finds the real ones. Then neither is wanted any more: without the option nobody
    // can bind the port beside us, and a socket that doesn't listen refuses connections.
    socket.set_reuse_address(true)?;
    socket.bind(&address)?;
    socket.listen(1)?;
    socket.set_reuse_address(false)?;
    socket.shutdown(Shutdown::Read)?;
    Ok(socket)
}

fn ephemeral_range() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    parse_range(text.split_whitespace()).unwrap_or(DEFAULT_EPHEMERAL)
}

/// The ports an administrator keeps for certain programs; without the file there are none.
fn locally_reserved() -> Vec<RangeInclusive<u16>> {
    let path = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().split(',').filter_map(|part| parse_range(part.split('-'))).collect()
}

/// One number or two: a range's ends.
fn parse_range<'a>(mut numbers: impl Iterator<Item = &'a str>) -> Option<RangeInclusive<u16>> {
    let first = numbers.next()?.trim().parse().ok()?;
    let last = numbers.next().map_or(Some(first), |text| text.trim().parse().ok())?;
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn request(host_port: Option<RangeInclusive<u16>>, protocol: Protocol) -> PortRequest {
        PortRequest { host_ip: None, host_port, container_port: 80, protocol }
    }

    /// A port that is free right now on 127.0.0.1.
    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn a_port_is_one_containers_only() {
        let ports = Ports::default();
        let wanted = [request(Some(free_port()..=u16::MAX), Protocol::Tcp)];
        let first = ports.reserve(&wanted, LOOPBACK).unwrap();
        let port = first[0].binding.host_port;

        let again = [request(Some(port..=port), Protocol::Tcp)];
        let error = ports.reserve(&again, LOOPBACK).expect_err("taken");
        let text = format!("Bind for 127.0.0.1:{port} failed: port is already allocated");
        assert_eq!(error.message(), text);
        ports.release(first);
        ports.reserve(&again, LOOPBACK).expect("given back");
    }

    #[test]
    fn a_reserved_port_refuses_connections_and_other_programs() {
        let ports = Ports::default();
        let wanted = [request(None, Protocol::Tcp)];
        let held = ports.reserve(&wanted, LOOPBACK).unwrap();
        let address = ("127.0.0.1", held[0].binding.host_port);
        // The standard library's listener sets SO_REUSEADDR.
        let bind = TcpListener::bind(address).expect_err("reserved");
        assert_eq!(bind.kind(), io::ErrorKind::AddrInUse);
        let connect = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(connect.kind(), io::ErrorKind::ConnectionRefused);
        drop(held);
        TcpListener::bind(address).expect("free again");
    }

    #[test]
    fn another_programs_port_is_refused_and_ranges_go_on_to_the_next() {
        let ports = Ports::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fixed = [request(Some(port..=port), Protocol::Tcp)];
        let error = ports.reserve(&fixed, LOOPBACK).expect_err("in use");
        let text = format!("failed to bind host port 127.0.0.1:{port}/tcp: address already in use");
        assert_eq!(error.message(), text);

        let range = [request(Some(port..=port.saturating_add(50)), Protocol::Tcp)];
        let found = ports.reserve(&range, LOOPBACK).unwrap();
        assert!(found[0].binding.host_port > port);
    }

    #[test]
    fn remains_of_closed_connections_are_no_clash() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        // The side that closes first keeps the port in TIME_WAIT.
        drop(listener.accept().unwrap());
        drop(listener);
        drop(client);
        let port = address.port();
        let wanted = [request(Some(port..=port), Protocol::Tcp)];
        Ports::default().reserve(&wanted, LOOPBACK).expect("TIME_WAIT does not count");
    }

    #[test]
    fn all_requests_are_reserved_or_none() {
        let ports = Ports::default();
        let program = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = program.local_addr().unwrap().port();
        let busy = port..=port;
        let wanted = [request(None, Protocol::Udp), request(Some(busy), Protocol::Udp)];
        ports.reserve(&wanted, LOOPBACK).expect_err("the second is in use");
        assert!(ports.lock().taken.is_empty());
    }

    #[test]
    fn what_was_taken_meanwhile_is_adopted_with_a_warning() {
        let ports = Ports::default();
        let thief = TcpListener::bind("127.0.0.1:0").unwrap();
        let host_port = thief.local_addr().unwrap().port();
        let protocol = Protocol::Tcp;
        let binding = PortBinding { host_ip: LOOPBACK, host_port, container_port: 80, protocol };
        let (held, failures) = ports.adopt(&[binding]);
        assert_eq!((held.len(), failures.len()), (1, 1));
        ports.release(held);
        assert!(ports.lock().taken.is_empty());
    }

    #[test]
    fn ranges_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_range("32768\t60999\n".split_whitespace()), Some(32768..=60999));
        assert_eq!(parse_range("8080".split('-')), Some(8080..=8080));
        assert_eq!(parse_range("9000-9100".split('-')), Some(9000..=9100));
        assert_eq!(parse_range("".split('-')), None);
    }
}
