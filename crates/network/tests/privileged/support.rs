//! A private place for each test: a thread in network and mount namespaces of its own, with
//! neighbours in further network namespaces connected to it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use davit_network::{
    Config, Endpoint, EndpointSpec, Networks, PortRequest, Protocol, Sandbox, SandboxSpec,
};
use davit_sys::namespace::{MOUNT, NETWORK, setns, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

/// Runs `body` on a thread with private network and mount namespaces. When they can't be had, says
/// so by the test's name; under `CI=true` that is a failure.
pub(crate) fn in_private_namespaces(test: &str, body: impl FnOnce(&Host) + Send + 'static) {
    let name = test.to_owned();
    let run = move || {
        #[allow(clippy::print_stdout, reason = "whoever runs the tests has to know")]
        if let Err(error) = enter_private_namespaces() {
            let message = format!("NOT RUN: {name} needs root and network namespaces: {error}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
            println!("{message}");
            return;
        }
        shell("ip link set lo up");
        let host = Host { directory: directory_for(&name) };
        body(&host);
    };
    let thread = thread::Builder::new().name(test.to_owned()).spawn(run).expect("a thread");
    let result = thread.join();
    // From out here nothing is mounted in it.
    std::fs::remove_dir_all(directory_for(test)).expect("remove the test's directory");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn enter_private_namespaces() -> io::Result<()> {
    unshare(NETWORK | MOUNT)?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    Ok(())
}

fn directory_for(test: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("{test}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the test");
    directory
}

/// The machine as the test's thread sees it.
pub(crate) struct Host {
    pub(crate) directory: PathBuf,
}

impl Host {
    pub(crate) fn config(&self) -> Config {
        Config {
            state_dir: self.directory.join("state"),
            netns_dir: self.directory.join("netns"),
            ..Config::default()
        }
    }

    pub(crate) fn open(&self) -> Networks {
        Networks::open(self.config()).expect("networks")
    }

    /// A network namespace beside the host, at 192.0.2.2, the host being 192.0.2.1.
    pub(crate) fn add_outside(&self) -> PathBuf {
        let pin = self.directory.join("outside");
        let pin_text = pin.display();
        shell(&format!(
            "touch {pin_text} && unshare --net={pin_text} true && \
             ip link add out0 type veth peer name in0 && \
             nsenter --net={pin_text} sleep 0 && \
             ip link set in0 netns $(nsenter --net={pin_text} sh -c 'sleep 5 >/dev/null 2>&1 & echo $!') && \
             ip addr add 192.0.2.1/24 dev out0 && ip link set out0 up && \
             nsenter --net={pin_text} sh -c 'ip link set lo up; ip addr add 192.0.2.2/24 dev in0; \
             ip link set in0 up; ip route add default via 192.0.2.1'"
        ));
        pin
    }
}

/// Runs `body` on a thread inside the network namespace pinned at `path`.
pub(crate) fn inside<T: Send>(path: &Path, body: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(path).expect("a pinned namespace");
    thread::scope(|scope| {
        let run = || {
            setns(namespace.as_fd(), NETWORK).expect("enter the namespace");
            body()
        };
        scope.spawn(run).join().expect("the thread inside")
    })
}

/// Runs a command line here and returns what it printed.
pub(crate) fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().expect("sh");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn bridge(ports: Vec<PortRequest>) -> SandboxSpec {
    on("bridge", ports)
}

pub(crate) fn on(network: &str, ports: Vec<PortRequest>) -> SandboxSpec {
    SandboxSpec { name: next_name(), endpoints: vec![to(network)], ports, ..SandboxSpec::default() }
}

/// A connection to a network, without further wishes.
pub(crate) fn to(network: &str) -> EndpointSpec {
    EndpointSpec { network: network.to_owned(), ..EndpointSpec::default() }
}

/// Containers' names are unique.
pub(crate) fn next_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("web{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The first connection.
pub(crate) fn first(sandbox: &Sandbox) -> &Endpoint {
    sandbox.endpoints.first().expect("an endpoint")
}

/// The IPv4 address of the first connection.
pub(crate) fn address(sandbox: &Sandbox) -> Ipv4Addr {
    first(sandbox).ipv4.expect("an IPv4 address").addr()
}

pub(crate) fn port(
    host_ip: Option<&str>,
    host_port: u16,
    container_port: u16,
    protocol: Protocol,
) -> PortRequest {
    let host_ip = host_ip.map(|ip| ip.parse().expect("an address"));
    PortRequest { host_ip, host_port: Some(host_port..=host_port), container_port, protocol }
}

/// A server inside `namespace` that answers every TCP connection and datagram on `port` with the
/// address it sees the client at. Serves as long as the process lives.
pub(crate) fn serve(namespace: &Path, port: u16) {
    inside(namespace, move || {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("listen");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let peer = stream.peer_addr().expect("its peer").ip().to_string();
                // A client that only looks whether it can connect is gone already.
                let _ = stream.write_all(peer.as_bytes());
            }
        });
        let socket = UdpSocket::bind(("0.0.0.0", port)).expect("bind");
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
            }
        });
    });
}

/// What the server behind `address` says, over TCP.
pub(crate) fn ask_tcp(address: (&str, u16)) -> io::Result<String> {
    let address = SocketAddr::new(address.0.parse().expect("an address"), address.1);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// What the server behind `address` says, over UDP.
pub(crate) fn ask_udp(address: (&str, u16)) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.connect(address)?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Waits for the kernel's background work; panics with what is still there after ten seconds.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "not so after ten seconds: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whatever a sandbox could leave behind: links, namespaces, mounts, rules, descriptors.
pub(crate) fn traces(host: &Host) -> String {
    let netns = host.directory.join("netns");
    let netns = netns.display();
    let visible = shell(&format!(
        "ip -o link | cut -d: -f2 | sort; ls {netns}; \
         grep -c {netns} /proc/thread-self/mountinfo || true; nft list ruleset"
    ));
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("own descriptors");
    // Other tests run in this process as well: only what is of networks counts.
    let own = descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(&host.directory))
        .count();
    format!("{visible}{own} descriptors\n")
}
