//! Messages: lines in the log that the caller reads, and errors on standard error for people.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::ValueEnum;
use davit_types::{Context, Result};
use jiff::{Timestamp, Unit};
use serde::Serialize;

/// `--log-format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// key=value
    Text,
    /// One JSON object a line
    Json,
}

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: String,
}

impl Log {
    /// Opens `path` for appending; standard error without one.
    pub(crate) fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
            file.context(|| format!("open log {}", path.display()))
        };
        let path = path.filter(|path| !path.as_os_str().is_empty());
        Ok(Self { file: path.map(open).transpose()?, format, debug })
    }

    /// Standard error alone.
    pub(crate) fn stderr(format: Format) -> Self {
        Self { file: None, format, debug: false }
    }

    /// Something failed: also said on standard error when the log is elsewhere.
    pub(crate) fn error(&self, message: &str) {
        self.line("error", message);
        if self.file.is_some() {
            write_stderr(&format!("{message}\n"));
        }
    }

    /// Something is odd, but goes on.
    pub(crate) fn warn(&self, message: &str) {
        self.line("warning", message);
    }

    /// What is being done.
    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.line("debug", message);
        }
    }

    fn line(&self, level: &str, message: &str) {
        let time = Timestamp::now().round(Unit::Second).unwrap_or_default().to_string();
        let line = match self.format {
            Format::Json => {
                serde_json::to_string(&Line { level, msg: message, time }).expect("three strings")
            }
            Format::Text => format!("time={time:?} level={level} msg={message:?}"),
        };
        match &self.file {
            // A full disk must not keep the command from doing its work.
            Some(file) => {
                let _ = (&mut &*file).write_all(format!("{line}\n").as_bytes());
            }
            None => write_stderr(&format!("{line}\n")),
        }
    }
}

fn write_stderr(text: &str) {
    // Nobody is left to tell of a closed standard error.
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
