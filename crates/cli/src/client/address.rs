//! Where the daemon is: `DOCKER_HOST`, `-H`, or Davit's own socket.

use std::path::PathBuf;

use crate::failure::Failure;

/// The socket that is used when nothing else is said.
pub(crate) const DEFAULT_SOCKET: &str = "/run/davit/davit.sock";

/// The address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// Plain HTTP to `host:port`.
    Tcp(String),
}

impl Address {
    /// Davit's own socket.
    pub(crate) fn default_socket() -> Self {
        Self::Unix(PathBuf::from(DEFAULT_SOCKET))
    }

    /// Parses what `-H` and `DOCKER_HOST` take.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Failure::new(format!("unable to parse docker host `{text}`")));
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::default_socket()),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" => Ok(Self::Tcp(authority(rest))),
            _ => Err(Failure::new(format!("unsupported scheme in docker host `{text}`"))),
        }
    }

    /// The address as users write it.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Tcp(authority) => format!("tcp://{authority}"),
        }
    }
}

/// `host:port` of what follows `tcp://`, with Docker's defaults for both.
fn authority(rest: &str) -> String {
    let host = rest.split('/').next().unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    match host {
        "" => "localhost:2375".to_owned(),
        _ if has_port && host.starts_with(':') => format!("localhost{host}"),
        _ if has_port => host.to_owned(),
        _ => format!("{}:2375", host.trim_end_matches(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let unix = |path: &str| Some(Address::Unix(PathBuf::from(path)));
        let tcp = |authority: &str| Some(Address::Tcp(authority.to_owned()));
        let table = [
            ("unix:///x.sock", unix("/x.sock")),
            ("unix://", unix(DEFAULT_SOCKET)),
            ("tcp://10.0.0.1:99", tcp("10.0.0.1:99")),
            ("tcp://[::1]:99", tcp("[::1]:99")),
            ("tcp://host", tcp("host:2375")),
            ("tcp://:99", tcp("localhost:99")),
            ("ssh://host", None),
            ("nonsense", None),
        ];
        for (text, expected) in table {
            assert_eq!(Address::parse(text).ok(), expected, "{text}");
        }
    }
}
