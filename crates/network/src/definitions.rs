//! The records of user-defined networks: one file each, with a checksum.
//!
//! ```text
//! <data-root>/network/networks/<id>.json    {"checksum": SHA-256 of "record", "record": {...}}
//! ```
//! A record is there before the first interface of its network is made, and goes after the last one
//! is gone: what the kernel has beyond the records is nobody's. `removing` says that a removal had
//! begun, so that it is carried on after a crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use davit_types::id::hex;
use davit_types::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::definition::Definition;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) definition: Definition,
    /// Its removal has begun.
    pub(crate) removing: bool,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    checksum: String,
    /// JSON as a text, so that its bytes are what was summed.
    record: String,
}

/// All records below `dir`. One that can't be used is renamed to `<name>.bad` and told in the log.
pub(crate) fn load(dir: &Path) -> Result<Vec<Stored>> {
    let dir = directory(dir);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(|| format!("list networks in {}", dir.display()))?,
    };
    let mut stored = Vec::new();
    for entry in entries {
        let path = entry.context(|| format!("list networks in {}", dir.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read(&path) {
            Ok(record) => stored.push(record),
            Err(failure) => {
                let aside = path.with_extension("json.bad");
                let renamed = fs::rename(&path, &aside).is_ok();
                let error = format!("{failure:#}");
                tracing::error!(error, aside = %aside.display(), renamed, "put a network aside");
            }
        }
    }
    Ok(stored)
}

/// Writes a record durably.
pub(crate) fn save(dir: &Path, stored: &Stored) -> Result<()> {
    let dir = directory(dir);
    let path = dir.join(format!("{}.json", stored.definition.id));
    let write = || -> io::Result<()> {
        fs::create_dir_all(&dir)?;
        let record = serde_json::to_string(stored)?;
        let envelope = Envelope { checksum: checksum(&record), record };
        let temporary = dir.join(format!(".{}.new", stored.definition.id));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&envelope)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&dir)?.sync_all()
    };
    write().context(|| format!("write {}", path.display()))
}

/// Deletes a record; none there is no error.
pub(crate) fn delete(dir: &Path, id: &str) -> Result<()> {
    let path = directory(dir).join(format!("{id}.json"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Stored> {
    let name = || format!("read {}", path.display());
    let envelope: Envelope =
        serde_json::from_slice(&fs::read(path).context(name)?).context(name)?;
    if checksum(&envelope.record) != envelope.checksum {
        return Err(Error::internal(format!("{}: the checksum is wrong", name())));
    }
    serde_json::from_str(&envelope.record).context(name)
}

fn checksum(record: &str) -> String {
    hex(&Sha256::digest(record.as_bytes()))
}

fn directory(dir: &Path) -> PathBuf {
    dir.join("networks")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;

    fn stored(id: &str) -> Stored {
        let definition = Definition {
            id: id.to_owned(),
            name: "n".to_owned(),
            driver: "bridge".to_owned(),
            created: SystemTime::now(),
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            ipam_options: None,
            config_only: false,
            config_from: String::new(),
            owns_parent: false,
            subnets: Vec::new(),
        };
        Stored { definition, removing: false }
    }

    #[test]
    fn records_come_back_and_bad_ones_are_put_aside() {
        let dir = std::env::temp_dir().join(format!("davit-definitions-{}", std::process::id()));
        assert_eq!(load(&dir).expect("nothing is no error"), []);
        save(&dir, &stored("aa")).expect("save");
        save(&dir, &stored("bb")).expect("save");
        let path = dir.join("networks/bb.json");
        let text = fs::read_to_string(&path).expect("read");
        fs::write(&path, text.replace("bridge", "bridgf")).expect("damage");

        let found = load(&dir).expect("load");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].definition.id, "aa");
        assert!(dir.join("networks/bb.json.bad").exists());
        delete(&dir, "aa").expect("delete");
        delete(&dir, "aa").expect("delete again");
        assert_eq!(load(&dir).expect("load"), []);
        fs::remove_dir_all(&dir).expect("clean up");
    }
}
