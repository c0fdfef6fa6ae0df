//! `davit start`

use clap::Args;

use super::attach::{self, Streams};
use super::conversation::{self, Conversation};
use super::path;
use super::waiting::Waiting;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::output::template::Value;
use crate::session::Session;
use crate::signals::Signals;

/// Flags of `davit start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Show the output and hand signals on
    #[arg(long, short)]
    attach: bool,
    /// Keys that detach from the container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Connect standard input as well
    #[arg(long, short)]
    interactive: bool,
    operands: Vec<String>,
}

impl Verb for Start {
    const ABOUT: &'static str = "Start one or more stopped containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        if !self.attach && !self.interactive {
            return self.start_all(session).await;
        }
        match self.operands.as_slice() {
            [name] => self.start_attached(session, name).await,
            _ => Err(Failure::new("you cannot start and attach multiple containers at once")),
        }
    }
}

impl Start {
    async fn start_all(&self, session: &Session) -> Outcome {
        let mut failed = Vec::new();
        for name in &self.operands {
            match session.client.post(&path(name, "/start"), &Query::new()).await {
                Ok(()) => {
                    output::line(name)?;
                }
                Err(failure) => {
                    output::complain(&failure.text);
                    failed.push(name.as_str());
                }
            }
        }
        match failed.is_empty() {
            true => Ok(0),
            false => Err(Failure::new(format!(
                "Error: failed to start containers: {}",
                failed.join(", ")
            ))),
        }
    }

    async fn start_attached(&self, session: &Session, name: &str) -> Outcome {
        let keys = conversation::detach_keys(self.detach_keys.as_deref())?;
        let container: Value = session.client.get(&path(name, "/json"), &Query::new()).await?;
        let id = container.at(&["Id"]).text();
        let is_set = |field: &str| container.at(&["Config", field]).is_true();
        let (tty, stdin) = (is_set("Tty"), self.interactive && is_set("OpenStdin"));
        conversation::check_terminal(stdin, tty)?;
        let signals = if tty { None } else { Some(Signals::forwarded()?) };
        let streams = Streams { stdin, stdout: true, stderr: true };
        let duplex = attach::open(session, id, &streams, self.detach_keys.as_deref()).await?;
        let removes_itself = container.at(&["HostConfig", "AutoRemove"]).is_true();
        let condition = if removes_itself { "removed" } else { "next-exit" };
        let waiting = Waiting::open(session, id, condition).await?;
        session.client.post(&path(id, "/start"), &Query::new()).await?;
        let talk = Conversation { tty, stdin, output: true, detach_keys: keys };
        attach::talk_and_wait(session, id, talk, duplex, waiting, signals).await
    }
}
