//! What outlives everything: the networks' ids and the subnet the bridge was given.
//!
//! ```text
//! <data-root>/network/networks.json    [`Records`], replaced durably
//! ```
//! Allocations are not in here: they follow from the live containers.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use davit_types::id::hex;
use davit_types::{Context, Result};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

const FILE: &str = "networks.json";

/// The predefined networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {
    pub(crate) bridge: Record,
    pub(crate) host: Record,
    pub(crate) none: Record,
    /// The bridge's address and subnet, once chosen.
    pub(crate) bridge_ip: Option<Ipv4Net>,
    /// Its IPv6 address and subnet, once chosen.
    #[serde(default)]
    pub(crate) bridge_ipv6: Option<Ipv6Net>,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) created: SystemTime,
}

impl Records {
    /// What is kept in `dir`; new ids if nothing is.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).context(|| format!("read {}", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::new(),
            Err(error) => Err(error).context(|| format!("read {}", path.display())),
        }
    }

    /// Replaces what is kept in `dir`, all or nothing.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        self.replace(dir, &path).context(|| format!("write {}", path.display()))
    }

    /// Bits that are this daemon's own, always the same.
    pub(crate) fn seed(&self) -> [u8; 5] {
        let mut seed = [0; 5];
        for (byte, digits) in seed.iter_mut().zip(self.bridge.id.as_bytes().chunks(2)) {
            let text = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(text, 16).unwrap_or_default();
        }
        seed
    }

    fn new() -> Result<Self> {
        Ok(Self {
            bridge: Record::new()?,
            host: Record::new()?,
            none: Record::new()?,
            bridge_ip: None,
            bridge_ipv6: None,
        })
    }

    fn replace(&self, dir: &Path, path: &Path) -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        let temporary = dir.join(".networks.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    }
}

impl Record {
    fn new() -> Result<Self> {
        Ok(Self { id: random_id()?, created: SystemTime::now() })
    }
}

/// A new id: 64 hex digits.
pub(crate) fn random_id() -> Result<String> {
    Ok(hex(&random::<32>()?))
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // Up to 256 bytes come whole and without interruption (getrandom(2)).
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context(|| "get random bytes")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_subnet_come_back_as_they_were_saved() {
        let dir = std::env::temp_dir().join(format!("davit-store-{}", std::process::id()));
        let mut records = Records::load(&dir).expect("a missing file is no error");
        records.bridge_ip = Some("172.20.0.1/16".parse().expect("a subnet"));
        records.save(&dir).expect("saved");
        assert_eq!(Records::load(&dir).expect("loaded"), records);
        fs::remove_dir_all(&dir).expect("removed");
        assert_ne!(records.bridge.id, records.host.id);
        assert_eq!(records.none.id.len(), 64);
    }
}
