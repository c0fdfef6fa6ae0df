//! `davit attach`, and the opening of a container's streams.

use clap::Args;
use http::Method;

use super::conversation::{self, Conversation, Ended, Resized};
use super::path;
use super::waiting::Waiting;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::failure::{Failure, Outcome};
use crate::output::template::Value;
use crate::session::Session;
use crate::signals::{self, Signals};
use crate::stream::Duplex;
use crate::terminal;

/// Which streams of a container are attached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    /// Ours goes there.
    pub(super) stdin: bool,
    /// Its output comes here.
    pub(super) stdout: bool,
    /// Its errors come here.
    pub(super) stderr: bool,
}

/// Opens the container's streams; it need not run yet.
pub(super) async fn open(
    session: &Session,
    id: &str,
    streams: &Streams,
    detach_keys: Option<&str>,
) -> Outcome<Duplex> {
    let query = Query::new()
        .with_some("detachKeys", detach_keys)
        .with_flag("stderr", streams.stderr)
        .with_flag("stdin", streams.stdin)
        .with_flag("stdout", streams.stdout)
        .with("stream", "1");
    let request = Request::new(Method::POST, path(id, "/attach"), &query)
        .header("content-type", "text/plain");
    session.client.hijack(request).await
}

/// Flags of `davit attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Keys that detach from the container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Don't attach to standard input
    #[arg(long)]
    no_stdin: bool,
    /// Hand signals on to the process
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    operands: Vec<String>,
}

impl Verb for Attach {
    const ABOUT: &'static str = "Attach this terminal to a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let name = &self.operands[0];
        let keys = conversation::detach_keys(self.detach_keys.as_deref())?;
        let container: Value = session.client.get(&path(name, "/json"), &Query::new()).await?;
        check_state(&container)?;
        let id = container.at(&["Id"]).text();
        let is_set = |field: &str| container.at(&["Config", field]).is_true();
        let (tty, stdin) = (is_set("Tty"), !self.no_stdin && is_set("OpenStdin"));
        conversation::check_terminal(stdin, tty)?;
        let signals = if self.sig_proxy && !tty { Some(Signals::forwarded()?) } else { None };
        let waiting = Waiting::open(session, id, "").await?;
        let streams = Streams { stdin, stdout: true, stderr: true };
        let duplex = open(session, id, &streams, self.detach_keys.as_deref()).await?;
        let talk = Conversation { tty, stdin, output: true, detach_keys: keys };
        talk_and_wait(session, id, talk, duplex, waiting, signals).await
    }
}

fn check_state(container: &Value) -> Outcome<()> {
    let is = |field: &str| container.at(&["State", field]).is_true();
    if !is("Running") {
        return Err(Failure::new("You cannot attach to a stopped container, start it first"));
    }
    if is("Paused") {
        return Err(Failure::new("You cannot attach to a paused container, unpause it first"));
    }
    if is("Restarting") {
        return Err(Failure::new(
            "You cannot attach to a restarting container, wait until it is running",
        ));
    }
    Ok(())
}

/// Talks to a running container and returns its exit status, or 0 when the user left.
pub(super) async fn talk_and_wait(
    session: &Session,
    id: &str,
    talk: Conversation,
    duplex: Duplex,
    waiting: Waiting,
    signals: Option<Signals>,
) -> Outcome {
    let tty = talk.tty;
    let end = async {
        match talk.hold(duplex).await? {
            Ended::Detached => Ok(0),
            Ended::Closed => waiting.exit_code().await,
        }
    };
    let size = async {
        if tty && terminal::is_stdout() {
            conversation::follow_size(session, Resized::Container(id.to_owned())).await;
        }
        std::future::pending().await
    };
    let proxy = async {
        if let Some(signals) = signals {
            signals::forward(session, id, signals).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        code = end => code,
        () = size => Ok(0),
        () = proxy => Ok(0),
    }
}

/// Waits for a container that nothing is attached to, handing signals on.
pub(super) async fn wait_forwarding(
    session: &Session,
    id: &str,
    waiting: Waiting,
    signals: Option<Signals>,
) -> Outcome {
    let proxy = async {
        if let Some(signals) = signals {
            signals::forward(session, id, signals).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        code = waiting.exit_code() => code,
        () = proxy => Ok(0),
    }
}
