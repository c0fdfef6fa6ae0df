//! Writing and reading `status.json`.

use std::fs;
use std::path::Path;

use davit_types::{Context, Result};

use crate::task::Status;

/// Name of the file in the task's directory.
pub const FILE: &str = "status.json";

/// Replaces the file: a reader sees the old or the new state, never a part. The directory does not
/// outlive the machine's run, so nothing is flushed to disk.
///
/// # Errors
/// The directory is gone or full.
pub fn write(task_dir: &Path, status: &Status) -> Result<()> {
    let path = task_dir.join(FILE);
    let unfinished = task_dir.join(".status.json.tmp");
    let write = || -> std::io::Result<()> {
        fs::write(&unfinished, serde_json::to_vec(status)?)?;
        fs::rename(&unfinished, &path)
    };
    write().context(|| format!("write {}", path.display()))
}

/// The last state that was written.
///
/// # Errors
/// There is none, or it is not ours.
pub fn read(task_dir: &Path) -> Result<Status> {
    let path = task_dir.join(FILE);
    let read = || -> std::io::Result<Status> { Ok(serde_json::from_slice(&fs::read(&path)?)?) };
    read().context(|| format!("read {}", path.display()))
}
