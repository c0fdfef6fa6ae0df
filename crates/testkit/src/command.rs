//! Running a program to its end with a time limit, keeping all that it said.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wait;

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From spawn to exit.
    pub elapsed: Duration,
}

impl Finished {
    /// Demands exit code 0 and gives the trimmed standard output.
    pub fn ok(self) -> Result<String> {
        self.code(0).map(|finished| finished.stdout.trim().to_owned())
    }

    /// Demands the exit code `wanted`.
    pub fn code(self, wanted: i32) -> Result<Self> {
        if self.code != wanted {
            bail!(
                "`{}` ended with {} instead of {wanted}\nstdout: {}\nstderr: {}",
                self.command,
                self.code,
                self.stdout.trim(),
                self.stderr.trim()
            );
        }
        Ok(self)
    }
}

/// Runs `command` with `input` as standard input, for at most `limit` or a minute.
pub fn run(mut command: Command, input: &[u8], limit: Duration) -> Result<Finished> {
    let text = describe(&command);
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run `{text}`"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let input = input.to_vec();
    // A program may end without reading its input: a broken pipe is no error here.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = collect(child.stdout.take().context("stdout is piped")?);
    let stderr = collect(child.stderr.take().context("stderr is piped")?);
    let waited = wait_for(&mut child, limit);
    let timed_out = waited.is_err();
    if timed_out {
        // Already gone is fine.
        drop(child.kill());
        child.wait()?;
    }
    let elapsed = start.elapsed();
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    drop(writer);
    match waited {
        Ok(code) => Ok(Finished { command: text, code, stdout, stderr, elapsed }),
        Err(error) => Err(error.context(format!(
            "`{text}` did not end\nstdout: {}\nstderr: {}",
            stdout.trim(),
            stderr.trim()
        ))),
    }
}

/// Waits for `child`, at most for `limit` or a minute; exit code as in [`Finished::code`].
pub fn wait_for(child: &mut Child, limit: Duration) -> Result<i32> {
    let limit = limit.max(wait::LEAST);
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            use std::os::unix::process::ExitStatusExt;
            let signal = status.signal().map(|signal| 128 + signal);
            return status.code().or(signal).context("neither exit code nor signal");
        }
        if start.elapsed() > limit {
            bail!("no exit within {} s", limit.as_secs_f32());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Program and arguments on one line.
pub fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a read error is still worth showing.
        drop(stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
