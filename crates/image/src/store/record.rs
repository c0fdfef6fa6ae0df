//! Records on disk: one small JSON document per object, with a checksum, replaced atomically.
//!
//! A record is its SHA-256 on the first line and the document after it, so that a torn or edited
//! file is noticed. A bad one is moved to `quarantine/`, logged, and never stops the store.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use davit_types::{Context as _, Digest, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tracing::error;

const TEMPORARY_SUFFIX: &str = ".tmp";

/// A directory of records of one kind.
#[derive(Debug)]
pub(crate) struct Records {
    directory: PathBuf,
    quarantine: PathBuf,
}

/// Whether a write waits for the disk by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    Now,
    /// The caller syncs the whole file system before it publishes.
    Later,
}

impl Records {
    pub(crate) fn open(directory: PathBuf, quarantine: PathBuf) -> Result<Self> {
        let records = Self { directory, quarantine };
        fs::create_dir_all(&records.directory)
            .context(|| format!("create {}", records.directory.display()))?;
        Ok(records)
    }

    /// Writes the record and waits until it is durable.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.stage(name, value, Sync::Now)?;
        self.publish(name)?;
        self.sync()
    }

    /// Writes the record beside its place.
    pub(crate) fn stage<T: Serialize>(&self, name: &str, value: &T, sync: Sync) -> Result<()> {
        let path = self.temporary(name);
        let document = serde_json::to_vec(value).context(|| "encode record")?;
        let mut bytes = format!("{}\n", Digest::from_sha256(Sha256::digest(&document)));
        bytes.push_str(std::str::from_utf8(&document).context(|| "encode record")?);
        bytes.push('\n');
        write_file(&path, bytes.as_bytes(), sync).context(|| format!("write {}", path.display()))
    }

    /// Puts a staged record in its place.
    pub(crate) fn publish(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::rename(self.temporary(name), &path).context(|| format!("replace {}", path.display()))
    }

    /// Waits until what was published or removed is durable.
    pub(crate) fn sync(&self) -> Result<()> {
        sync_directory(&self.directory).context(|| format!("sync {}", self.directory.display()))
    }

    /// Removes the record; it not being there is fine.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Where bad ones go.
    pub(super) fn quarantine(&self) -> &Path {
        &self.quarantine
    }

    /// All good records. Bad ones go to quarantine, leftovers of interrupted writes away.
    pub(crate) fn load<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let place = || format!("read {}", self.directory.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).context(place)? {
            let path = entry.context(place)?.path();
            if path.to_string_lossy().ends_with(TEMPORARY_SUFFIX) {
                fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
                continue;
            }
            match fs::read(&path).context(|| "read").and_then(|bytes| decode(&bytes)) {
                Ok(record) => found.push(record),
                Err(error) => self.put_aside(&path, &error)?,
            }
        }
        Ok(found)
    }

    fn put_aside(&self, path: &Path, why: &Error) -> Result<()> {
        error!(path = %path.display(), "bad record put aside: {why:#}");
        fs::create_dir_all(&self.quarantine)
            .context(|| format!("create {}", self.quarantine.display()))?;
        let to = self.quarantine.join(path.file_name().unwrap_or_default());
        fs::rename(path, &to).context(|| format!("put {} aside", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json{TEMPORARY_SUFFIX}"))
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let newline = bytes.iter().position(|byte| *byte == b'\n');
    let (checksum, document) = newline.map_or((bytes, &b""[..]), |at| bytes.split_at(at));
    let document = document.trim_ascii();
    let actual = Digest::from_sha256(Sha256::digest(document));
    if checksum != actual.as_str().as_bytes() {
        return Err(Error::internal("checksum does not match"));
    }
    serde_json::from_slice(document).context(|| "decode record")
}

/// Writes a file anew.
pub(crate) fn write_file(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    match sync {
        Sync::Now => file.sync_data(),
        Sync::Later => Ok(()),
    }
}

/// Waits until the names in `directory` are durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_record_is_put_aside_and_the_others_stay() {
        let root = tempfile::tempdir().expect("a directory");
        let quarantine = root.path().join("quarantine");
        let records = Records::open(root.path().join("r"), quarantine.clone()).expect("open");
        records.write("good", &"text").expect("write");
        records.write("bad", &"text").expect("write");
        let bad = root.path().join("r/bad.json");
        let torn = fs::read_to_string(&bad).expect("read").replace("text", "tex");
        fs::write(&bad, torn).expect("write");
        fs::write(root.path().join("r/left.json.tmp"), "").expect("write");
        assert_eq!(records.load::<String>().expect("load"), ["text"]);
        assert!(quarantine.join("bad.json").exists() && !bad.exists());
        assert_eq!(fs::read_dir(root.path().join("r")).expect("list").count(), 1);
    }
}
