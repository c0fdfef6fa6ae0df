//! Moving the log's files on: `x.log` to `x.log.1`, `.1` to `.2` and so on, the oldest one out.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::task::Log;

/// Argument under which the program around the monitor compresses one file and ends: the deflate
/// window and the time for it would be too much for the monitor itself.
pub const COMPRESS_ROLE: &str = "compress-log";

/// Makes room for a new, empty file at the log's path. Steps that fail are passed over: a log that is
/// kept in the wrong file is better than none. Returns the child that compresses, if any.
pub(crate) fn rotate(log: &Log) -> Option<std::process::Child> {
    let kept = log.max_files.max(1);
    if kept == 1 {
        // Recreated, not truncated: a follower keeps what it has open.
        let _ = fs::remove_file(&log.path);
        return None;
    }
    for suffix in ["", ".gz"] {
        let _ = fs::remove_file(numbered(&log.path, kept - 1, suffix));
        for number in (1..kept - 1).rev() {
            let from = numbered(&log.path, number, suffix);
            let _ = fs::rename(from, numbered(&log.path, number + 1, suffix));
        }
    }
    let first = numbered(&log.path, 1, "");
    fs::rename(&log.path, &first).ok()?;
    if !log.compress {
        return None;
    }
    Command::new("/proc/self/exe")
        // The name is what makes it the shim and not the runtime.
        .arg0("davit-shim")
        .arg(COMPRESS_ROLE)
        .arg(&first)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// Replaces `path` by `path.gz`, which appears only when it is complete.
///
/// # Errors
/// The file can't be read or there is no space; `path` then stays as it is.
pub fn compress(path: &Path) -> io::Result<()> {
    let mut source = fs::File::open(path)?;
    let unfinished = with_suffix(path, ".gz.tmp");
    let mut write = || {
        let target = fs::File::create(&unfinished)?;
        fs::set_permissions(&unfinished, source.metadata()?.permissions())?;
        let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
        io::copy(&mut source, &mut encoder)?;
        encoder.finish()?;
        fs::rename(&unfinished, with_suffix(path, ".gz"))
    };
    match write() {
        Ok(()) => fs::remove_file(path),
        Err(error) => {
            // Nothing of it may be taken for a log.
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

fn numbered(path: &Path, number: u32, suffix: &str) -> PathBuf {
    with_suffix(path, &format!(".{number}{suffix}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
