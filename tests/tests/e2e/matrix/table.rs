//! The table of expected verdicts, and its cells.

use std::fmt;

use davit_testkit::Engine;
use davit_testkit::probe::Transport;

/// A column for each network of the target, a row for each way to it. Two words with a slash are for
/// IPv4 and IPv6; `-` is a cell that isn't there.
///
/// From: `outside`, a host on the wire with routes to the containers' addresses; `forger`, one that
/// sends packets for the engine host's loopback address to it; `host`, the engine's host; `other`, a
/// container of another network; `sibling`, one of the same; `self`, the target itself; `abroad`, a
/// container of another host's engine.
///
/// To: `published`, the host's address and a published port; `loopback`, the same port of the
/// host's loopback; `private`, the host's address and a port published on loopback only; `own`, that
/// port of the host's loopback; `closed`, the host's address and a port that nobody published; `direct`,
/// the container's address and its published port; `inner`, its address and a port not published.
///
/// The kernel has no way back for what leaves its IPv6 loopback address: nothing is served there.
///
/// Verdicts: reached with the source address `kept`, with the target's `gateway` or the client's
/// `engine` as source; `refused` at once; `noroute`; `dropped`; `shut`: not reached in whatever way.
const TABLE: &str = "
from     to         bridge   user     routed   internal icc-off
outside  published  kept     kept     refused  refused  kept
outside  private    refused  refused  refused  refused  refused
outside  closed     refused  refused  refused  refused  refused
outside  direct     dropped  dropped  kept     dropped  dropped
outside  inner      dropped  dropped  dropped  dropped  dropped
forger   own        shut/-   shut/-   shut/-   shut/-   shut/-
host     published  kept     kept     refused  refused  kept
host     loopback   gateway/shut gateway/shut refused refused gateway/shut
host     own        gateway/shut gateway/shut refused refused gateway/shut
host     private    refused  refused  refused  refused  refused
host     closed     refused  refused  refused  refused  refused
host     direct     gateway  gateway  gateway  gateway  gateway
host     inner      gateway  gateway  gateway  gateway  gateway
sibling  published  gateway  gateway  refused  noroute  gateway
sibling  private    refused  refused  refused  noroute  refused
sibling  direct     kept     kept     kept     kept     dropped
sibling  inner      kept     kept     kept     kept     dropped
other    published  gateway  gateway  refused  refused  gateway
other    private    refused  refused  refused  refused  refused
other    direct     dropped  dropped  gateway  dropped  dropped
other    inner      dropped  dropped  dropped  dropped  dropped
self     published  gateway  gateway  refused  noroute  gateway
self     direct     kept     kept     kept     kept     kept
abroad   published  engine   engine   refused  refused  engine
abroad   direct     dropped  dropped  engine   dropped  dropped
abroad   inner      dropped  dropped  dropped  dropped  dropped
";

/// Rows that are others with Docker 20.10, which Debian has: it left the way to published ports of
/// containers' addresses open, and that to ports published on loopback (both closed in Docker 28);
/// `localhost` is served by its proxy on IPv6 as well, which answers datagrams for the host's
/// address from another one (`stream`: reached by all but UDP); containers of internal networks had a
/// default route, and didn't find their siblings by IPv6. It knows no gateway modes.
const OLDER: &str = "
outside  direct     kept     kept     -        dropped  kept
forger   own        kept/-   kept/-   -        shut/-   kept/-
host     loopback   gateway  gateway  -        refused  gateway
host     own        gateway  gateway  -        refused  gateway
sibling  published  stream   stream   -        refused  stream
sibling  private    refused  refused  -        refused  refused
sibling  direct     kept     kept     -        kept/shut dropped
sibling  inner      kept     kept     -        kept/shut dropped
other    published  stream   stream   -        refused  stream
self     published  stream   stream   -        refused  stream
abroad   direct     engine   engine   -        dropped  engine
";
const UNKNOWN_TO_OLDER: &str = "routed";

/// Where a probe comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Outside,
    Forger,
    Host,
    Sibling,
    Other,
    Itself,
    Abroad,
}

/// Which address and port it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Published,
    Loopback,
    Private,
    Own,
    Closed,
    Direct,
    Inner,
}

/// What is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Kept,
    Gateway,
    Engine,
    Refused,
    NoRoute,
    Dropped,
    Shut,
}

/// One probe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) from: From,
    pub(super) to: To,
    /// Its number in the table.
    pub(super) network: usize,
    /// 0 for IPv4, 1 for IPv6.
    pub(super) family: usize,
    pub(super) transport: Transport,
    pub(super) verdict: Verdict,
}

/// The networks, in the order of [`TABLE`].
pub(super) const NETWORKS: [&str; 5] = ["bridge", "user", "routed", "internal", "icc-off"];

impl Verdict {
    /// Whether it takes waiting in vain to find it.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Dropped | Self::Shut)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = [4, 6][self.family];
        let network = NETWORKS[self.network];
        write!(f, "{network}: {:?} to {:?}, {} v{family}", self.from, self.to, self.transport)
    }
}

/// All cells of the table for these transports.
pub(super) fn cells(engine: Engine, transports: &[Transport]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for [from, to, verdicts @ ..] in rows(engine) {
        let (from, to) = (origin(from), target(to));
        for (network, words) in verdicts.into_iter().enumerate() {
            if engine == Engine::Docker && NETWORKS[network] == UNKNOWN_TO_OLDER {
                continue;
            }
            let (v4, v6) = words.split_once('/').unwrap_or((words, words));
            for (family, word) in [v4, v6].into_iter().enumerate() {
                cells.extend(transports.iter().filter_map(|transport| {
                    let (transport, verdict) = (*transport, verdict(word, *transport)?);
                    Some(Cell { from, to, network, family, transport, verdict })
                }));
            }
        }
    }
    cells
}

/// The lines of the table, as words.
fn rows(engine: Engine) -> Vec<[&'static str; 7]> {
    let words = |line: &'static str| -> [&'static str; 7] {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.try_into().unwrap_or_else(|words| panic!("{words:?}"))
    };
    let lines = |table: &'static str| table.lines().filter(|line| !line.is_empty()).map(words);
    let mut rows: Vec<_> = lines(TABLE).skip(1).collect();
    if engine == Engine::Docker {
        for older in lines(OLDER) {
            let row = rows.iter_mut().find(|row| row[..2] == older[..2]);
            *row.expect("a row of the table") = older;
        }
    }
    rows
}

fn origin(word: &str) -> From {
    match word {
        "outside" => From::Outside,
        "forger" => From::Forger,
        "host" => From::Host,
        "sibling" => From::Sibling,
        "other" => From::Other,
        "self" => From::Itself,
        "abroad" => From::Abroad,
        _ => panic!("no origin is called {word}"),
    }
}

fn target(word: &str) -> To {
    match word {
        "published" => To::Published,
        "loopback" => To::Loopback,
        "private" => To::Private,
        "own" => To::Own,
        "closed" => To::Closed,
        "direct" => To::Direct,
        "inner" => To::Inner,
        _ => panic!("no target is called {word}"),
    }
}

fn verdict(word: &str, transport: Transport) -> Option<Verdict> {
    Some(match word {
        "-" => return None,
        "kept" => Verdict::Kept,
        "gateway" => Verdict::Gateway,
        "stream" if transport == Transport::Udp => Verdict::Dropped,
        "stream" => Verdict::Gateway,
        "engine" => Verdict::Engine,
        "refused" => Verdict::Refused,
        "noroute" => Verdict::NoRoute,
        "dropped" => Verdict::Dropped,
        "shut" => Verdict::Shut,
        _ => panic!("no verdict is called {word}"),
    })
}
