//! Durable records: a file is replaced as a whole or not at all.
//!
//! A record is written to a temporary file beside it and renamed over it. [`Durability::Durable`]
//! additionally survives a power failure (the file and its directory are flushed);
//! [`Durability::Relaxed`] survives the death of the daemon, which is all that a record of something
//! running needs: after a power failure it does not run.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use davit_types::{Context, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a record must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of the daemon.
    Relaxed,
    /// The death of the machine.
    Durable,
}

/// Replaces the file at `path` by `value` as JSON.
pub(crate) fn write_json<T: Serialize>(
    path: &Path,
    value: &T,
    durability: Durability,
) -> Result<()> {
    let bytes = serde_json::to_vec(value).context(|| format!("encode {}", path.display()))?;
    write_file(path, &bytes, 0o600, durability)
}

/// Replaces the file at `path` by `bytes`.
pub(crate) fn write_file(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| Error::internal(format!("{} has no directory", path.display())))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".tmp-{name}"));
    let written = write_new(&temporary, bytes, mode, durability)
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one to report; a left-over temporary file is overwritten next time.
        let _ = std::fs::remove_file(&temporary);
        return Err(error).context(|| format!("write {}", path.display()));
    }
    if durability == Durability::Durable {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Reads the record at `path`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).context(|| format!("parse {}", path.display()))
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .context(|| format!("sync {}", directory.display()))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    match durability {
        Durability::Durable => file.sync_all(),
        Durability::Relaxed => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_and_no_temporary_file_stays() {
        let directory = std::env::temp_dir().join(format!("davit-store-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temporary directory");
        let path = directory.join("record.json");
        for (value, durability) in [("one", Durability::Relaxed), ("two", Durability::Durable)] {
            write_json(&path, &value, durability).expect("write");
            assert_eq!(read_json::<String>(&path).expect("read"), value);
        }
        assert_eq!(std::fs::read_dir(&directory).expect("list").count(), 1);
        std::fs::remove_dir_all(&directory).expect("clean up");
    }

    #[test]
    fn a_truncated_record_is_an_error_that_names_the_file() {
        let path = std::env::temp_dir().join(format!("davit-bad-{}.json", std::process::id()));
        std::fs::write(&path, b"{\"a\":").expect("write");
        let error = read_json::<serde_json::Value>(&path).expect_err("half a document");
        assert!(error.to_string().contains("davit-bad-"), "{error}");
        std::fs::remove_file(&path).expect("clean up");
    }
}
