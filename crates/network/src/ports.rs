//! Host ports: which one a request gets, and its reservation by a bound socket.
//!
//! The socket never serves anything: the firewall rewrites a connection before it gets there. It
//! makes a clash an error at once, with another container as with any other program, before us or
//! after us. A TCP socket is bound but doesn't listen: should a connection ever reach it, it is
//! refused, and nobody hangs. For a container without an IPv6 address nothing is bound on IPv6, so
//! that a client that tries `::1` first is refused there and goes on to `127.0.0.1`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use davit_types::{Error, Result};
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
    taken: HashMap<(Protocol, u16), Vec<IpAddr>>,
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

/// Where a container's ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The host address of requests that name none.
    pub(crate) default_ip: IpAddr,
    /// The container has an address, by family: IPv4, IPv6.
    pub(crate) has: [bool; 2],
    /// It is served at that address, by family.
    pub(crate) routed: [bool; 2],
}

impl Reach {
    /// The host addresses that a request is for.
    fn hosts(&self, request: &PortRequest) -> Result<Vec<IpAddr>> {
        let any_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let wanted = match request.host_ip {
            Some(ip) => vec![ip],
            // Unless an address is named, both families.
            None if self.default_ip.is_unspecified() && self.default_ip.is_ipv4() => {
                vec![self.default_ip, any_v6]
            }
            None => vec![self.default_ip],
        };
        let hosts: Vec<IpAddr> =
            wanted.iter().copied().filter(|ip| self.has[usize::from(ip.is_ipv6())]).collect();
        if hosts.is_empty() {
            let (ip, family) = (wanted[0], if wanted[0].is_ipv4() { "IPv4" } else { "IPv6" });
            return Err(Error::invalid(format!(
                "publish a port on {}: the container has no {family} address",
                shown(ip)
            )));
        }
        Ok(hosts)
    }

    fn is_routed(&self, ip: IpAddr) -> bool {
        self.routed[usize::from(ip.is_ipv6())]
    }
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
        reach: &Reach,
    ) -> Result<Vec<Reservation>> {
        let mut reservations = Vec::with_capacity(requests.len());
        let mut state = self.lock();
        for request in requests {
            let reserved =
                reach.hosts(request).and_then(|hosts| state.reserve_one(request, &hosts, reach));
            match reserved {
                Ok(mut some) => reservations.append(&mut some),
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
            let ip = binding.host_ip;
            if port == 0 {
                // Of a routed network: nothing was reserved.
                return Reservation { binding: binding.clone(), _socket: None };
            }
            let bound =
                state.bind(protocol, ip, port).map_err(|refusal| refusal.error(protocol, ip, port));
            let socket = bound.map_err(|error| failures.push(error)).ok();
            if socket.is_none() {
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
    /// The same port on all `hosts`.
    fn reserve_one(
        &mut self,
        request: &PortRequest,
        hosts: &[IpAddr],
        reach: &Reach,
    ) -> Result<Vec<Reservation>> {
        let PortRequest { protocol, container_port, .. } = *request;
        let reservation = |host_ip, host_port, socket| {
            let binding = PortBinding { host_ip, host_port, container_port, protocol };
            Reservation { binding, _socket: socket }
        };
        let (routed, bound): (Vec<IpAddr>, Vec<IpAddr>) =
            hosts.iter().partition(|ip| reach.is_routed(**ip));
        // Served at the container's own address: the host's port stays free.
        let mut reserved: Vec<Reservation> =
            routed.into_iter().map(|ip| reservation(ip, 0, None)).collect();
        if bound.is_empty() {
            return Ok(reserved);
        }
        let (port, sockets) = match &request.host_port {
            Some(range) => self.bind_first(protocol, &bound, range.clone())?,
            None => self.bind_ephemeral(protocol, &bound)?,
        };
        let held = bound.into_iter().zip(sockets);
        reserved.extend(held.map(|(ip, socket)| reservation(ip, port, Some(socket))));
        Ok(reserved)
    }

    /// The first port of the range that is free; the first one's refusal if none is.
    fn bind_first(
        &mut self,
        protocol: Protocol,
        hosts: &[IpAddr],
        range: RangeInclusive<u16>,
    ) -> Result<(u16, Vec<Socket>)> {
        let first = *range.start();
        let mut refusal = None;
        for port in range {
            match self.bind_all(protocol, hosts, port) {
                Ok(sockets) => return Ok((port, sockets)),
                Err(other) => refusal = refusal.or(Some(other)),
            }
        }
        Err(refusal.map_or_else(
            || Error::invalid("invalid range of host ports: it is empty"),
            |(ip, refusal)| refusal.error(protocol, ip, first),
        ))
    }

    /// The next free ephemeral port, round and round so that a port just given back isn't the next
    /// one's at once.
    fn bind_ephemeral(
        &mut self,
        protocol: Protocol,
        hosts: &[IpAddr],
    ) -> Result<(u16, Vec<Socket>)> {
        let range = ephemeral_range();
        let reserved = locally_reserved();
        let start = self.next.get(&protocol).copied().filter(|port| range.contains(port));
        let start = start.unwrap_or(*range.start());
        for port in (start..=*range.end()).chain(*range.start()..start) {
            if reserved.iter().any(|ports| ports.contains(&port)) {
                continue;
            }
            match self.bind_all(protocol, hosts, port) {
                Ok(sockets) => {
                    self.next.insert(protocol, port.wrapping_add(1));
                    return Ok((port, sockets));
                }
                Err((_, refusal)) if refusal.is_taken() => {}
                Err((ip, refusal)) => return Err(refusal.error(protocol, ip, port)),
            }
        }
        let ip = hosts.first().map(ToString::to_string).unwrap_or_default();
        Err(Error::internal(format!("all dynamic host ports of {ip}/{protocol} are allocated")))
    }

    /// One port on all of `hosts`, or on none.
    fn bind_all(
        &mut self,
        protocol: Protocol,
        hosts: &[IpAddr],
        port: u16,
    ) -> Result<Vec<Socket>, (IpAddr, Refusal)> {
        let mut sockets = Vec::with_capacity(hosts.len());
        for ip in hosts {
            match self.bind(protocol, *ip, port) {
                Ok(socket) => sockets.push(socket),
                Err(refusal) => {
                    let bound = &hosts[..sockets.len()];
                    bound.iter().for_each(|ip| self.untake((protocol, port), *ip));
                    return Err((*ip, refusal));
                }
            }
        }
        Ok(sockets)
    }

    fn bind(&mut self, protocol: Protocol, ip: IpAddr, port: u16) -> Result<Socket, Refusal> {
        let key = (protocol, port);
        let clashes = |other: &IpAddr| {
            other.is_ipv4() == ip.is_ipv4()
                && (*other == ip || other.is_unspecified() || ip.is_unspecified())
        };
        if self.taken.get(&key).is_some_and(|addresses| addresses.iter().any(clashes)) {
            return Err(Refusal::Ours);
        }
        let socket = self.bind_patiently(protocol, ip, port).map_err(Refusal::Kernel)?;
        self.taken.entry(key).or_default().push(ip);
        Ok(socket)
    }

    /// A child that is being spawned holds a copy of each descriptor until it executes its program.
    /// So a port that we gave back a moment ago may be bound for a moment more.
    fn bind_patiently(&self, protocol: Protocol, ip: IpAddr, port: u16) -> io::Result<Socket> {
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
            self.untake((binding.protocol, binding.host_port), binding.host_ip);
        }
    }

    fn untake(&mut self, key: (Protocol, u16), ip: IpAddr) {
        let Some(addresses) = self.taken.get_mut(&key) else { return };
        if let Some(at) = addresses.iter().position(|other| *other == ip) {
            addresses.swap_remove(at);
        }
        if addresses.is_empty() {
            self.taken.remove(&key);
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
    fn error(self, protocol: Protocol, ip: IpAddr, port: u16) -> Error {
        match self {
            Self::Ours => {
                let host = shown(ip);
                Error::internal(format!("Bind for {host}:{port} failed: port is already allocated"))
            }
            Self::Kernel(error) => {
                let reason = match error.kind() {
                    io::ErrorKind::AddrInUse => "address already in use".to_owned(),
                    io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
                    _ => error.to_string(),
                };
                Error::internal(format!(
                    "failed to bind host port {}:{port}/{protocol}: {reason}",
                    shown(ip)
                ))
            }
        }
    }
}

fn bind_socket(protocol: Protocol, ip: IpAddr, port: u16) -> io::Result<Socket> {
    let kind = if protocol == Protocol::Udp { Type::DGRAM } else { Type::STREAM };
    let number = i32::from(protocol.number()).into();
    let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, kind, Some(number))?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let address = SocketAddr::new(ip, port).into();
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

fn shown(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
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

    const LOOPBACK: Reach = Reach {
        default_ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        has: [true, false],
        routed: [false, false],
    };

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
        let first = ports.reserve(&wanted, &LOOPBACK).unwrap();
        let port = first[0].binding.host_port;

        let again = [request(Some(port..=port), Protocol::Tcp)];
        let error = ports.reserve(&again, &LOOPBACK).expect_err("taken");
        let text = format!("Bind for 127.0.0.1:{port} failed: port is already allocated");
        assert_eq!(error.message(), text);
        ports.release(first);
        ports.reserve(&again, &LOOPBACK).expect("given back");
    }

    #[test]
    fn a_reserved_port_refuses_connections_and_other_programs() {
        let ports = Ports::default();
        let wanted = [request(None, Protocol::Tcp)];
        let held = ports.reserve(&wanted, &LOOPBACK).unwrap();
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
        let error = ports.reserve(&fixed, &LOOPBACK).expect_err("in use");
        let text = format!("failed to bind host port 127.0.0.1:{port}/tcp: address already in use");
        assert_eq!(error.message(), text);

        let range = [request(Some(port..=port.saturating_add(50)), Protocol::Tcp)];
        let found = ports.reserve(&range, &LOOPBACK).unwrap();
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
        Ports::default().reserve(&wanted, &LOOPBACK).expect("TIME_WAIT does not count");
    }

    #[test]
    fn all_requests_are_reserved_or_none() {
        let ports = Ports::default();
        let program = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = program.local_addr().unwrap().port();
        let busy = port..=port;
        let wanted = [request(None, Protocol::Udp), request(Some(busy), Protocol::Udp)];
        ports.reserve(&wanted, &LOOPBACK).expect_err("the second is in use");
        assert!(ports.lock().taken.is_empty());
    }

    #[test]
    fn what_was_taken_meanwhile_is_adopted_with_a_warning() {
        let ports = Ports::default();
        let thief = TcpListener::bind("127.0.0.1:0").unwrap();
        let host_port = thief.local_addr().unwrap().port();
        let protocol = Protocol::Tcp;
        let binding =
            PortBinding { host_ip: LOOPBACK.default_ip, host_port, container_port: 80, protocol };
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
