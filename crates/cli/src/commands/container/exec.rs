//! `davit exec`

use clap::Args;
use davit_api::exec::{
    ExecCreateRequest, ExecCreateResponse, ExecInspectResponse, ExecStartRequest,
};
use http::Method;

use super::conversation::{self, Conversation, Ended, Resized};
use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::failure::Outcome;
use crate::flags::container::environment;
use crate::flags::values;
use crate::session::Session;
use crate::terminal;

/// Flags of `davit exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Don't wait and don't show output
    #[arg(long, short)]
    detach: bool,
    /// Keys that detach from the command
    #[arg(long)]
    detach_keys: Option<String>,
    /// Environment variable, NAME=value, or NAME for its value here
    #[arg(long, short, value_parser = values::environment)]
    env: Vec<String>,
    /// File with environment variables, one on each line
    #[arg(long)]
    env_file: Vec<String>,
    /// Connect standard input
    #[arg(long, short)]
    interactive: bool,
    /// Give the command all privileges of the host's root
    #[arg(long)]
    privileged: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// User to run as, name or number, optionally with :group
    #[arg(long, short)]
    user: Option<String>,
    /// Directory to start in
    #[arg(long, short)]
    workdir: Option<String>,
    #[arg(trailing_var_arg = true)]
    operands: Vec<String>,
}

impl Verb for Exec {
    const ABOUT: &'static str = "Run a command in a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER COMMAND [ARG...]";
    const ARITY: Arity = Arity::AtLeast(2);

    async fn run(self, session: &Session) -> Outcome {
        let request = self.request()?;
        let keys = conversation::detach_keys(self.detach_keys.as_deref())?;
        if !self.detach {
            conversation::check_terminal(self.interactive, self.tty)?;
        }
        let create = path(&self.operands[0], "/exec");
        let created: ExecCreateResponse =
            session.client.post_json(&create, &Query::new(), &request).await?;
        let start = ExecStartRequest {
            detach: self.detach,
            tty: self.tty,
            console_size: request.console_size,
        };
        let start_path = format!("/exec/{}/start", created.id);
        let start = Request::new(Method::POST, start_path, &Query::new()).json(&start)?;
        if self.detach {
            session.client.send(start).await?;
            return Ok(0);
        }
        let duplex = session.client.hijack(start).await?;
        let talk = Conversation {
            tty: self.tty,
            stdin: self.interactive,
            output: true,
            detach_keys: keys,
        };
        let size = async {
            if self.tty && terminal::is_stdout() {
                conversation::follow_size(session, Resized::Exec(created.id.clone())).await;
            }
            std::future::pending::<()>().await
        };
        let ended = tokio::select! {
            ended = talk.hold(duplex) => ended?,
            () = size => Ended::Closed,
        };
        match ended {
            Ended::Detached => Ok(0),
            Ended::Closed => exit_code(session, &created.id).await,
        }
    }
}

impl Exec {
    fn request(&self) -> Outcome<ExecCreateRequest> {
        let env = environment(&self.env_file, &self.env)?;
        let size = if self.tty && !self.detach { terminal::size() } else { None };
        Ok(ExecCreateRequest {
            user: self.user.clone().unwrap_or_default(),
            privileged: self.privileged,
            tty: self.tty,
            console_size: size.map(|size| [size.rows.into(), size.columns.into()]),
            attach_stdin: self.interactive && !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach_keys: self.detach_keys.clone().unwrap_or_default(),
            env: (!env.is_empty()).then_some(env),
            working_dir: self.workdir.clone().unwrap_or_default(),
            cmd: Some(self.operands[1..].to_vec()),
        })
    }
}

async fn exit_code(session: &Session, id: &str) -> Outcome {
    let inspected: ExecInspectResponse =
        session.client.get(&format!("/exec/{id}/json"), &Query::new()).await?;
    Ok((inspected.exit_code.unwrap_or(0) & 0xff) as u8)
}
