//! `davit run`: create, attach, wait, start, talk, and leave with the container's exit status.

use clap::Args;
use davit_api::container::CreateRequest;

use super::conversation::{self, Conversation};
use super::create::{CreateFlags, split};
use super::waiting::Waiting;
use super::{attach, path};
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{CLI_ERROR, Failure, Outcome};
use crate::flags::container::{ContainerFlags, refused};
use crate::output;
use crate::session::Session;
use crate::signals::Signals;
use crate::terminal;

/// Flags of `davit run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Run in the background and print the container's id
    #[arg(long, short)]
    detach: bool,
    /// Keys that detach from the container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Hand signals on to the process
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    #[command(flatten)]
    create: CreateFlags,
    #[command(flatten)]
    container: ContainerFlags,
    #[arg(trailing_var_arg = true)]
    operands: Vec<String>,
}

impl Verb for Run {
    const ABOUT: &'static str = "Create and run a new container from an image";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        self.create.check().map_err(|failure| refused("run", failure))?;
        let (image, command) = split(&self.operands);
        let mut request =
            self.container.request(image, command).map_err(|failure| refused("run", failure))?;
        self.prepare(&mut request)?;
        let created = self.create.create(session, &request, self.container.cidfile()).await;
        let id = created.map_err(|failure| refused("run", failure))?;
        if self.detach {
            return start_detached(session, &id).await;
        }
        self.run_attached(session, &id, &request).await
    }
}

impl Run {
    /// What running, other than creating, makes of the flags.
    fn prepare(&self, request: &mut CreateRequest) -> Outcome<()> {
        let config = &mut request.config;
        if self.detach {
            if !self.container.attached().is_empty() {
                return Err(Failure::new(
                    "conflicting options: cannot specify both --attach and --detach",
                ));
            }
            config.attach_stdin = false;
            config.attach_stdout = false;
            config.attach_stderr = false;
            config.stdin_once = false;
        } else {
            conversation::check_terminal(config.attach_stdin, config.tty)?;
        }
        if config.tty
            && let Some(size) = terminal::size()
        {
            request.host_config.console_size = [size.rows.into(), size.columns.into()];
        }
        Ok(())
    }

    async fn run_attached(&self, session: &Session, id: &str, request: &CreateRequest) -> Outcome {
        let config = &request.config;
        let keys = conversation::detach_keys(self.detach_keys.as_deref())?;
        let is_attached = config.attach_stdin || config.attach_stdout || config.attach_stderr;
        let signals =
            if self.sig_proxy && !config.tty { Some(Signals::forwarded()?) } else { None };
        let streams = attach::Streams {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
        };
        let duplex = match is_attached {
            true => Some(
                attach::open(session, id, &streams, self.detach_keys.as_deref())
                    .await
                    .map_err(|failure| refused("run", failure))?,
            ),
            false => None,
        };
        let condition = if request.host_config.auto_remove { "removed" } else { "next-exit" };
        let waiting = Waiting::open(session, id, condition)
            .await
            .map_err(|failure| refused("run", failure))?;
        let talk = Conversation {
            tty: config.tty,
            stdin: config.attach_stdin,
            output: config.attach_stdout || config.attach_stderr,
            detach_keys: keys,
        };
        let raw_mode = talk.raw_mode()?;
        if let Err(failure) = session.client.post(&path(id, "/start"), &Query::new()).await {
            drop(raw_mode);
            if request.host_config.auto_remove {
                // It is removed now; being told so, not how it went, is what is waited for.
                let _ = waiting.status().await;
            }
            return Err(start_failure(failure));
        }
        let code = match duplex {
            Some(duplex) => {
                attach::talk_and_wait(session, id, talk, duplex, waiting, signals).await
            }
            None => attach::wait_forwarding(session, id, waiting, signals).await,
        };
        drop(raw_mode);
        code
    }
}

async fn start_detached(session: &Session, id: &str) -> Outcome {
    output::line(id)?;
    session.client.post(&path(id, "/start"), &Query::new()).await.map_err(start_failure)?;
    Ok(0)
}

/// A failed start: the exit status follows from the daemon's words, as for a shell.
fn start_failure(failure: Failure) -> Failure {
    let code = exit_status(&failure.text);
    refused("run", failure).with_code(code)
}

fn exit_status(text: &str) -> u8 {
    let has = |part: &str| text.contains(part);
    if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else {
        CLI_ERROR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_follows_from_the_daemons_words() {
        let table = [
            ("exec: \"nope\": executable file not found in $PATH", 127),
            ("stat /nope: no such file or directory", 127),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("port is already allocated", 125),
        ];
        for (text, code) in table {
            assert_eq!(exit_status(text), code, "{text}");
        }
    }
}
