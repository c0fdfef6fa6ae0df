//! What every command gets: the client of the chosen daemon.

use crate::client::{Address, Client, autostart};
use crate::failure::Outcome;

/// The surroundings of one invocation.
pub(crate) struct Session {
    /// Talks to the daemon.
    pub(crate) client: Client,
}

impl Session {
    /// A session with the daemon that `-H`, else `DOCKER_HOST`, else nobody names.
    pub(crate) fn new(host: Option<&str>) -> Outcome<Self> {
        let from_environment = std::env::var("DOCKER_HOST").ok().filter(|text| !text.is_empty());
        let client = match host.map(str::to_owned).or(from_environment) {
            Some(text) => Client::new(Address::parse(&text)?, false)?,
            None => Client::new(Address::default_socket(), autostart::is_allowed())?,
        };
        Ok(Self { client })
    }
}
