//! The servers of the host.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

/// How often the host's file is looked at.
const LOOK: Duration = Duration::from_secs(1);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What `/etc/resolv.conf` of the host says.
#[derive(Debug, Default)]
pub(super) struct HostServers {
    pub(super) servers: Vec<IpAddr>,
    looked: Option<Instant>,
    version: Option<(SystemTime, u64)>,
}

impl HostServers {
    /// Reads the file if it has changed; says whether it has.
    pub(super) fn look(&mut self, now: Instant) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_whatever_else_the_file_says() {
        let text = "# c\nsearch a b\nnameserver 127.0.0.53\n nameserver  fd00::1 # x\nnameserver bad\nnew option\n";
        let expected: Vec<IpAddr> =
            ["127.0.0.53", "fd00::1"].map(|ip| ip.parse().expect("one")).to_vec();
        assert_eq!(servers(text), expected);
    }
}
