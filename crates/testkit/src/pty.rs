//! A command under a terminal: `script` holds the pty, the test talks to it like a person.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{command, wait};

/// A running command with a terminal.
pub struct Pty {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<Mutex<String>>,
}

impl Pty {
    /// Runs `command` (program, arguments, environment) under a terminal of 80 columns, 24 rows.
    pub fn spawn(command: &Command) -> Result<Self> {
        let line = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| quote(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command"]);
        script.arg(format!("stty rows 24 cols 80; exec {line}")).arg("/dev/null");
        script.env("TERM", "xterm").env("SHELL", "/bin/sh");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let mut child =
            script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("run script(1)")?;
        let stdin = child.stdin.take();
        let mut stdout = child.stdout.take().context("stdout is piped")?;
        let seen = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&seen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                sink.lock().expect("no holder panics").push_str(&text);
            }
        });
        Ok(Self { child, stdin, seen })
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("input is closed")?;
        stdin.write_all(text.as_bytes())?;
        Ok(stdin.flush()?)
    }

    /// Waits until `text` has appeared on the terminal.
    pub fn expect(&self, text: &str) -> Result<()> {
        let what = format!("{text:?} on the terminal");
        wait::until_true(Duration::from_secs(20), &what, || Ok(self.seen().contains(text)))
            .with_context(|| format!("the terminal shows {:?}", self.seen()))
    }

    /// All that appeared so far.
    pub fn seen(&self) -> String {
        self.seen.lock().expect("no holder panics").clone()
    }

    /// Waits for the command's exit code.
    pub fn finish(&mut self) -> Result<i32> {
        match command::wait_for(&mut self.child, Duration::from_secs(20)) {
            Ok(code) => Ok(code),
            Err(error) => bail!("{error}; the terminal shows {:?}", self.seen()),
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
