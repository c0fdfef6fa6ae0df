//! `davit login` and `davit logout`

use std::io::{BufRead as _, Write as _};

use clap::Args;
use davit_api::image::{AuthResponse, RegistryAuth};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::credentials;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::session::Session;
use crate::terminal;

/// Flags of `davit login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Password or token
    #[arg(long, short)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// User name
    #[arg(long, short)]
    username: Option<String>,
    operands: Vec<String>,
}

impl Verb for Login {
    const ABOUT: &'static str = "Sign in at a registry";
    const USAGE: &'static str = "[OPTIONS] [SERVER]";
    const ARITY: Arity = Arity::AtMost(1);

    async fn run(self, session: &Session) -> Outcome {
        let key = server(&self.operands);
        let mut auth = self.collect(&key)?;
        auth.server_address.clone_from(&key);
        let answer: AuthResponse = session.client.post_json("/auth", &Query::new(), &auth).await?;
        if !answer.identity_token.is_empty() {
            auth.password.clear();
            auth.identity_token = answer.identity_token;
        }
        if credentials::keep(&auth)? {
            notice("WARNING! Your credentials are stored unencrypted in the configuration file.")?;
        }
        output::line(&answer.status)
    }
}

impl Login {
    /// From flags, standard input, the terminal, or what is kept already.
    fn collect(&self, key: &str) -> Outcome<RegistryAuth> {
        if self.password.is_some() && self.password_stdin {
            return Err(Failure::new(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if self.password_stdin && self.username.is_none() {
            return Err(Failure::new("the --password-stdin option requires --username to be set"));
        }
        if self.username.is_none()
            && self.password.is_none()
            && let Some(kept) = credentials::find(key)?
        {
            notice("Authenticating with existing credentials...")?;
            return Ok(kept);
        }
        let username = match &self.username {
            Some(name) => name.clone(),
            None => ask("Username: ", false)?,
        };
        let password = match &self.password {
            Some(word) => {
                notice("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")?;
                word.clone()
            }
            None if self.password_stdin => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut std::io::stdin(), &mut text)?;
                text.strip_suffix('\n')
                    .map_or(text.as_str(), |text| text.trim_end_matches('\r'))
                    .to_owned()
            }
            None => ask("Password: ", true)?,
        };
        if username.trim().is_empty() || password.is_empty() {
            return Err(Failure::new("username and password are required"));
        }
        Ok(RegistryAuth {
            username: username.trim().to_owned(),
            password,
            ..RegistryAuth::default()
        })
    }
}

/// Flags of `davit logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    operands: Vec<String>,
}

impl Verb for Logout {
    const ABOUT: &'static str = "Forget the credentials of a registry";
    const USAGE: &'static str = "[SERVER]";
    const ARITY: Arity = Arity::AtMost(1);

    async fn run(self, _: &Session) -> Outcome {
        let key = server(&self.operands);
        if !credentials::forget(&key)? {
            return output::line(&format!("Not logged in to {key}"));
        }
        output::line(&format!("Removing login credentials for {key}"))
    }
}

/// Docker keeps registries by host, but Docker Hub by its old address.
fn server(operands: &[String]) -> String {
    let given = operands.first().map(String::as_str).unwrap_or_default();
    if given == credentials::HUB {
        return given.to_owned();
    }
    let bare = given.trim_start_matches("https://").trim_start_matches("http://");
    credentials::key(bare.split('/').next().unwrap_or_default()).to_owned()
}

fn notice(text: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}

/// Asks on the terminal; what is typed is not shown when `hidden`.
fn ask(prompt: &str, hidden: bool) -> Outcome<String> {
    if !terminal::is_stdin() {
        return Err(Failure::new("cannot perform an interactive login from a non-TTY device"));
    }
    let stdin = rustix::stdio::stdin();
    let before = tcgetattr(stdin).map_err(std::io::Error::from)?;
    if hidden {
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin, OptionalActions::Now, &quiet).map_err(std::io::Error::from)?;
    }
    let mut err = std::io::stderr();
    let mut text = String::new();
    let read = write!(err, "{prompt}")
        .and_then(|()| err.flush())
        .and_then(|()| std::io::stdin().lock().read_line(&mut text));
    if hidden {
        tcsetattr(stdin, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
        writeln!(err)?;
    }
    read?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
