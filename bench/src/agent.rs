//! The part of the benchmark that runs inside an engine's sandbox: starts command lines, takes the
//! time from spawn to exit, and loads published ports. One JSON document per line in both directions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use davit_testkit::Sandbox;
use serde::{Deserialize, Serialize};

/// What the agent is asked.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Run these command lines, that many at a time.
    Run { commands: Vec<Vec<String>>, at_once: usize },
    /// Fetch `/` that often, each time over a new connection; the answer is requests per second.
    Load { address: SocketAddr, requests: usize, threads: usize },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Seconds for all commands, or requests per second.
    value: f64,
    /// Standard output of the last command, up to some size.
    output: String,
    /// What went wrong.
    error: Option<String>,
}

/// The benchmark's end of a running agent.
pub(crate) struct Agent {
    process: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Agent {
    /// Starts one in `sandbox`; its commands get `environment`.
    pub(crate) fn start(sandbox: &Sandbox, environment: &[(&str, String)]) -> Result<Self> {
        let mut command = sandbox.command(std::env::current_exe()?);
        command.arg("agent").envs(environment.iter().map(|(name, value)| (*name, value)));
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start agent")?;
        let stdin = process.stdin.take().context("stdin is piped")?;
        let stdout = BufReader::new(process.stdout.take().context("stdout is piped")?);
        Ok(Self { process, pipes: Mutex::new((stdin, stdout)) })
    }

    /// Runs one command line; seconds and output.
    pub(crate) fn run(&self, command: Vec<String>) -> Result<(f64, String)> {
        let answer = self.ask(&Request::Run { commands: vec![command], at_once: 1 })?;
        Ok((answer.value, answer.output))
    }

    /// Runs many, `at_once` at a time; seconds for all.
    pub(crate) fn run_all(&self, commands: Vec<Vec<String>>, at_once: usize) -> Result<f64> {
        Ok(self.ask(&Request::Run { commands, at_once })?.value)
    }

    /// Requests per second that `address` answers.
    pub(crate) fn load(&self, address: SocketAddr) -> Result<f64> {
        // Few enough for the ports of one address, of which each connection uses up one for a while.
        let request = Request::Load { address, requests: 3000, threads: 4 };
        Ok(self.ask(&request)?.value)
    }

    fn ask(&self, request: &Request) -> Result<Answer> {
        let mut pipes = self.pipes.lock().expect("no holder panics");
        let (stdin, stdout) = &mut *pipes;
        writeln!(stdin, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let answer: Answer = serde_json::from_str(&line).context("the agent's answer")?;
        match answer.error {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // `nsenter`; the agent itself ends when its input does.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The agent's own loop.
#[allow(clippy::print_stdout, reason = "its answers")]
pub(crate) fn serve() -> Result<()> {
    for line in std::io::stdin().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let answer = match request {
            Request::Run { commands, at_once } => run_all(&commands, at_once),
            Request::Load { address, requests, threads } => load(address, requests, threads),
        };
        let answer = answer.unwrap_or_else(|error| Answer {
            value: 0.0,
            output: String::new(),
            error: Some(format!("{error:#}")),
        });
        println!("{}", serde_json::to_string(&answer)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn run_all(commands: &[Vec<String>], at_once: usize) -> Result<Answer> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let worker = || -> Result<String> {
        let mut last = String::new();
        while let Some(command) = commands.get(next.fetch_add(1, Ordering::Relaxed)) {
            last = run_one(command)?;
        }
        Ok(last)
    };
    let output = if at_once == 1 {
        worker()?
    } else {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
            let mut outputs = workers.into_iter().map(|w| w.join().expect("no panic"));
            outputs.try_fold(String::new(), |_, output| output)
        })?
    };
    Ok(Answer { value: start.elapsed().as_secs_f64(), output, error: None })
}

/// Runs one command, reading all its output but keeping only the beginning.
fn run_one(words: &[String]) -> Result<String> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let mut stdout = child.stdout.take().context("stdout is piped")?;
    let mut kept = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    while let count @ 1.. = stdout.read(&mut buffer)? {
        let room = 64 * 1024 - kept.len().min(64 * 1024);
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    let status = child.wait()?;
    if !status.success() {
        let mut error = String::new();
        child.stderr.take().context("stderr is piped")?.read_to_string(&mut error)?;
        bail!("`{}`: {status}: {}", words.join(" "), error.trim());
    }
    Ok(String::from_utf8_lossy(&kept).trim().to_owned())
}

fn load(address: SocketAddr, requests: usize, threads: usize) -> Result<Answer> {
    let start = Instant::now();
    let worker = || (0..requests / threads).try_for_each(|_| fetch(address));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|w| w.join().expect("no panic"))
    })?;
    let value = requests as f64 / start.elapsed().as_secs_f64();
    Ok(Answer { value, output: String::new(), error: None })
}

fn fetch(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("not answered");
    }
    Ok(())
}
