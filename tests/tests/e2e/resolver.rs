//! The resolver at 127.0.0.11, asked by a client that sees the answers' codes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::until;

use crate::setup::{Setup, plan};

/// Answers A queries at each address given, over UDP with 192.0.2.N, over TCP with 198.51.100.N.
/// Whatever is asked for by a name that starts with "long" is cut over UDP.
const SERVER: &str = "import socket, sys, threading
def answer(q, tcp, n):
    end = q.index(0, 12) + 5
    net = b'\\xc6\\x33\\x64' if tcp else b'\\xc0\\0\\2'
    cut = not tcp and q[13:17] == b'long'
    is_a = q[end - 3] == 1 and not cut
    data = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4' + net + bytes([n]) if is_a else b''
    flags = b'\\x83\\x80' if cut else b'\\x81\\x80'
    return q[:2] + flags + b'\\0\\1' + bytes([0, 1 if is_a else 0]) + bytes(4) + q[12:end] + data
def udp(s, n):
    while True:
        q, a = s.recvfrom(4096)
        s.sendto(answer(q, False, n), a)
def tcp(s, n):
    while True:
        c, _ = s.accept()
        f = c.makefile('rb')
        q = f.read(int.from_bytes(f.read(2), 'big'))
        if len(q) > 16:
            a = answer(q, True, n)
            c.sendall(len(a).to_bytes(2, 'big') + a)
        f.close(); c.close()
threads = []
for given in sys.argv[1:]:
    ip, n = given.split('=')
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((ip, 53))
    t = socket.socket(); t.bind((ip, 53)); t.listen(64)
    for serve, s in ((udp, u), (tcp, t)):
        threads.append(threading.Thread(target=serve, args=(s, int(n))))
# Whoever gets an answer from one knows that all are there.
for thread in threads:
    thread.start()
";

/// `client.py udp|tcp NAME TYPE`: prints the code, whether it was cut, and the addresses.
const CLIENT: &str = "import socket, sys
proto, name, kind = sys.argv[1], sys.argv[2], int(sys.argv[3])
labels = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\\0'
q = b'\\x12\\x34\\1\\0\\0\\1' + bytes(6) + labels + kind.to_bytes(2, 'big') + b'\\0\\1'
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if proto == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(60)
s.connect(('127.0.0.11', 53))
if proto == 'tcp':
    s.sendall(len(q).to_bytes(2, 'big') + q)
    f = s.makefile('rb')
    a = f.read(int.from_bytes(f.read(2), 'big'))
else:
    s.send(q)
    a = s.recv(4096)
assert a[:2] == q[:2]
count = int.from_bytes(a[6:8], 'big')
print('code', a[3] & 15, 'cut' if a[2] & 2 else 'whole', socket.inet_ntoa(a[-4:]) if count else 'none')
";

#[test]
fn the_resolver_speaks_tcp_and_follows_its_servers() -> Result<()> {
    plan("the_resolver_speaks_tcp_and_follows_its_servers", &[BUSYBOX]).run(|setup| {
        let dir = setup.daemon.sandbox().dir().display().to_string();
        std::fs::write(format!("{dir}/server.py"), SERVER)?;
        std::fs::write(format!("{dir}/client.py"), CLIENT)?;
        std::fs::write(format!("{dir}/resolv.conf"), "nameserver 127.0.0.1\n")?;
        setup.ok("network create --subnet 10.99.0.0/24 n1")?;
        let script = format!(
            "mount --bind {dir}/resolv.conf /etc/resolv.conf; \
             setsid python3 {dir}/server.py 127.0.0.1=1 127.0.0.2=2 10.99.0.1=3 \
             </dev/null >/dev/null 2>{dir}/server.log &"
        );
        setup.daemon.sandbox().sh(&script)?.ok()?;
        setup.ok("run -d --name client --network n1 --ip 10.99.0.7 busybox sleep 1000")?;
        setup.ok("run -d --name own --network n1 --dns 10.99.0.1 busybox sleep 1000")?;
        let host = |name: &str, expected: &str| {
            until(Duration::from_secs(60), "the host's server to be asked", || {
                let found = ask(setup, "client", &format!("udp {name} 1"))?;
                Ok((found == format!("code 0 whole {expected}")).then_some(()))
            })
        };
        host("www.example.com", "192.0.2.1")?;
        for (from, query, expected) in [
            ("client", "tcp client 1", "code 0 whole 10.99.0.7"),
            ("client", "udp client 28", "code 0 whole none"),
            ("client", "udp client 33", "code 0 whole none"),
            ("client", "tcp client 33", "code 0 whole none"),
            ("client", "udp long.example.com 1", "code 0 cut none"),
            ("client", "tcp long.example.com 1", "code 0 whole 198.51.100.1"),
            ("own", "udp www.example.com 1", "code 0 whole 192.0.2.3"),
            ("own", "tcp long.example.com 1", "code 0 whole 198.51.100.3"),
            ("own", "tcp client 1", "code 0 whole 10.99.0.7"),
        ] {
            let found = ask(setup, from, query)?;
            ensure!(found == expected, "{from}: {query}: {found}, expected {expected}");
        }
        // Longer than before: the file's time may be as coarse as a tick of the kernel's.
        std::fs::write(format!("{dir}/resolv.conf"), "# changed\nnameserver 127.0.0.2\n")?;
        host("www.example.com", "192.0.2.2")
    })
}

/// What the client prints inside a container's network.
fn ask(setup: &Setup, container: &str, query: &str) -> Result<String> {
    let state = &setup.daemon.inspect(container)?["State"];
    let pid = state["Pid"].as_i64().context("no process")?;
    let dir = setup.daemon.sandbox().dir().display().to_string();
    let line = format!("nsenter -t {pid} -n python3 {dir}/client.py {query} 2>&1 || true");
    setup.daemon.sandbox().sh(&line)?.ok()
}
