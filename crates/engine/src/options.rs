//! What callers choose when they ask the engine for something, beside the API's own documents.

use std::os::fd::OwnedFd;

use davit_api::filters::Filters;
use davit_types::{Error, Result};

/// `DELETE /containers/{id}`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
    /// Remove only the link alias that the name stands for.
    pub link: bool,
}

/// What `POST /containers/{id}/wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// It does not run; at once if that is so already.
    #[default]
    NotRunning,
    /// The next end of a run.
    NextExit,
    /// It is gone.
    Removed,
}

impl WaitCondition {
    /// Reads the query parameter `condition`.
    ///
    /// # Errors
    /// Anything but the three words or nothing is invalid.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(Error::invalid(format!("invalid condition: {text:?}"))),
        }
    }
}

/// `GET /containers/json`.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Those that don't run, too.
    pub all: bool,
    /// Only so many of the newest; 0 for no limit. Implies `all`.
    pub limit: usize,
    /// With the sizes of writable layers and images.
    pub size: bool,
    /// Which ones.
    pub filters: Filters,
}

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// From this time on, nanoseconds since the epoch.
    pub since: Option<i64>,
    /// Up to this time, nanoseconds since the epoch.
    pub until: Option<i64>,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// A time in front of each line.
    pub timestamps: bool,
    /// The line's attributes in front of it.
    pub details: bool,
}

/// A log to be sent to a client.
#[derive(Debug)]
pub struct LogStream {
    /// The container has a terminal: raw text, no frames.
    pub tty: bool,
    /// Encoded for the client; the channel ends when the log does.
    pub chunks: tokio::sync::mpsc::Receiver<Result<bytes::Bytes>>,
}

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Send the log so far first.
    pub logs: bool,
    /// Stay connected; without it only the logs are sent.
    pub stream: bool,
    /// The client's input goes to the process.
    pub stdin: bool,
    /// The client gets standard output.
    pub stdout: bool,
    /// The client gets standard error.
    pub stderr: bool,
    /// Key sequence that detaches; `None` for the default, ctrl-p ctrl-q.
    pub detach_keys: Option<String>,
}

/// A client's connection after the upgrade, to be handed to the monitor.
///
/// The descriptor is a connected stream socket. A client that isn't on a socket (TLS) is relayed by
/// the caller through a socket pair.
#[derive(Debug)]
pub struct ClientStream {
    /// The socket.
    pub fd: OwnedFd,
    /// What the client sent behind its request and the caller has read already.
    pub early_input: Vec<u8>,
}

/// `DELETE /images/{name}`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveImageOptions {
    /// Even if stopped containers use it or it has several names.
    pub force: bool,
    /// Keep untagged parents.
    pub no_prune: bool,
}

/// `POST /commit`.
#[derive(Debug, Clone, Default)]
pub struct CommitContainerOptions {
    /// Who made it.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// What the image is to run, instead of what the container runs.
    pub config: Option<davit_api::container::Config>,
    /// Stop the processes meanwhile.
    pub pause: bool,
    /// The image's name.
    pub name: Option<davit_types::Reference>,
}

/// `PUT /containers/{id}/archive`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PutArchiveOptions {
    /// Refuse to replace a directory by something else, or the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Give everything to the container's user.
    pub copy_uid_gid: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_conditions() {
        assert_eq!(WaitCondition::parse("").expect("default"), WaitCondition::NotRunning);
        assert_eq!(WaitCondition::parse("removed").expect("word"), WaitCondition::Removed);
        let error = WaitCondition::parse("nosuch").expect_err("unknown");
        assert_eq!(error.to_string(), "invalid condition: \"nosuch\"");
    }
}
