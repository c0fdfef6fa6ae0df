//! The monitor's event loop: one thread, one epoll, everything non-blocking.
//!
//! What a task goes through: it is *created* and waits for the daemon's word; it *runs*; its process
//! has ended and the clients get the rest of its output (*draining*); then the restart policy *waits*,
//! or it has *ended*. The parts: `output` copies, `clients` serves attached streams, `requests` answers
//! the daemon, `life` moves from phase to phase.

mod clients;
mod life;
mod output;
mod requests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use davit_sys::epoll::{Epoll, Interest, Ready};
use davit_sys::fdpass;
use davit_sys::timerfd::Timer;
use davit_types::{Context, Error, Result};

use crate::attached::Attached;
use crate::connection::Connection;
use crate::frame::Stream;
use crate::handover::{self, Handover};
use crate::input::Input;
use crate::json_log::JsonLog;
use crate::oom;
use crate::protocol::{Event, Failure};
use crate::restart::History;
use crate::task::{Exit, Kind, RestartPolicy, Stdin, Task};
use output::Output;

/// After this long without an event, buffers are given back.
const IDLE: Duration = Duration::from_secs(1);

/// What the program around the monitor knows to do.
pub trait Backend {
    /// Lets the process execute its program and waits until it does.
    ///
    /// # Errors
    /// The step that failed.
    fn start(&mut self) -> Result<(), Failure>;

    /// Removes what the runtime keeps of the process' container, its cgroup included, and kills what
    /// is left in it. Called when the process has ended or could not be started.
    fn remove(&mut self);

    /// Unmounts the container's root. Called once, at the end.
    fn release_root(&mut self);
}

/// How the loop ended. The supervisor must live until the next exec: it owns the descriptors.
#[derive(Debug)]
pub enum Ending {
    /// The task has ended for good and everything is cleaned up.
    Ended,
    /// The create role has to start the process again.
    Restart(Handover),
}

/// Who a descriptor that is ready belongs to; packed into epoll's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener,
    Timer,
    Process,
    Oom,
    Input,
    Output(Stream),
    Connection(usize),
    Client(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Running,
    Draining { code: i32, finished_at: i64 },
    Waiting,
    Ended,
}

/// The process and what belongs to this run of it.
#[derive(Debug)]
struct Process {
    pid: i32,
    pidfd: Option<OwnedFd>,
}

/// The monitor of one task.
#[derive(Debug)]
pub struct Supervisor<B> {
    backend: B,
    epoll: Epoll,
    timer: Timer,
    listener: Option<OwnedFd>,
    connections: Vec<Option<Connection>>,
    clients: Vec<Option<Attached>>,
    outputs: [Option<Output>; 2],
    input: Input,
    input_watched: bool,
    console: Option<OwnedFd>,
    log: Option<JsonLog>,
    buffer: Vec<u8>,

    task_dir: PathBuf,
    stdin: Stdin,
    oom_cgroups: Vec<PathBuf>,
    oom_watch: Option<oom::Watch>,
    oom_base: u64,
    oom_told: bool,
    oom_looks: u8,
    oom_score_adj: Option<i32>,

    process: Process,
    runs_already: bool,
    state: State,
    policy: RestartPolicy,
    history: History,
    started_at: i64,
    last_exit: Option<Exit>,
    stopped_by_user: bool,
    ending: Option<Ending>,
}

impl<B: Backend> Supervisor<B> {
    /// Takes over the process and the descriptors of `handover`.
    ///
    /// # Errors
    /// A descriptor is missing. A log that can't be opened is no error: the container goes first.
    pub fn new(task_dir: PathBuf, task: Task, handover: Handover, backend: B) -> Result<Self> {
        let process =
            handover.process.ok_or_else(|| Error::internal("the handover has no process"))?;
        let take = |fd: Option<i32>| fd.map(handover::take).transpose();
        let console = take(process.console)?;
        let (input, outputs) = match &console {
            Some(console) => {
                let output = console.try_clone().context(|| "duplicate the terminal")?;
                // Without an input of its own the program still has the terminal to read from, but
                // what clients type is not passed on.
                let input = (task.stdin != Stdin::Closed).then(|| console.try_clone()).transpose();
                (input.context(|| "duplicate the terminal")?, [Some(output), None])
            }
            None => (take(process.stdin)?, [take(process.stdout)?, take(process.stderr)?]),
        };
        let connections: Result<Vec<_>> =
            handover.connections.iter().map(|&fd| handover::take(fd)).collect();
        let mut supervisor = Self {
            backend,
            epoll: Epoll::new().context(|| "create epoll")?,
            timer: Timer::new().context(|| "create timer")?,
            listener: Some(handover::take(handover.listener)?),
            connections: Vec::new(),
            clients: Vec::new(),
            outputs: outputs.map(|fd| fd.map(Output::new)),
            input: Input::new(input),
            input_watched: false,
            console,
            log: task.log.and_then(|log| JsonLog::open(log).ok()),
            buffer: Vec::new(),
            task_dir,
            stdin: task.stdin,
            oom_cgroups: task.oom_cgroups,
            oom_watch: None,
            oom_base: 0,
            oom_told: false,
            oom_looks: 0,
            oom_score_adj: handover.oom_score_adj,
            // Other runtimes' execs don't wait, so they may end before the word to start comes.
            runs_already: task.kind == Kind::Exec && process.start.is_none(),
            process: Process { pid: process.pid, pidfd: take(Some(process.pidfd))? },
            state: State::Created,
            policy: handover.policy,
            history: handover.history,
            started_at: handover.started_at,
            last_exit: handover.last_exit,
            stopped_by_user: false,
            ending: None,
        };
        supervisor.register().context(|| "register with epoll")?;
        for socket in connections? {
            supervisor.add_connection(socket);
        }
        Ok(supervisor)
    }

    /// Runs the loop to its end.
    ///
    /// # Errors
    /// epoll does not work.
    pub fn run(&mut self) -> Result<Ending> {
        self.write_status();
        if self.last_exit.is_some() {
            self.start();
        }
        let mut ready = Vec::new();
        let mut trimmed = false;
        loop {
            if let Some(ending) = self.ending.take() {
                return Ok(ending);
            }
            let timeout = (!trimmed).then_some(IDLE);
            let count = self.epoll.wait(timeout, |event| ready.push(event));
            let count = count.context(|| "wait for events")?;
            if count == 0 && !trimmed {
                self.trim();
                ready = Vec::new();
            }
            trimmed = count == 0;
            for event in ready.drain(..) {
                self.dispatch(event);
            }
        }
    }

    fn register(&mut self) -> io::Result<()> {
        let readable = Interest::READ;
        if let Some(listener) = &self.listener {
            self.epoll.add(listener, Token::Listener.number(), readable)?;
        }
        if !self.runs_already {
            self.watch_process()?;
        }
        if let Some(fd) = self.input.fd() {
            fdpass::set_nonblocking(fd, true)?;
        }
        for stream in Stream::ALL {
            if let Some(output) = &self.outputs[stream.index()] {
                fdpass::set_nonblocking(output, true)?;
            }
        }
        self.watch_outputs();
        self.epoll.add(&self.timer, Token::Timer.number(), readable)
    }

    fn watch_process(&self) -> io::Result<()> {
        self.process
            .pidfd
            .as_ref()
            .map_or(Ok(()), |pidfd| self.epoll.add(pidfd, Token::Process.number(), Interest::READ))
    }

    fn dispatch(&mut self, event: Ready) {
        match Token::from_number(event.token) {
            Token::Listener => self.accept(),
            Token::Timer => self.time_is_up(),
            Token::Process => self.process_ended(),
            Token::Oom => self.oom_event(),
            Token::Input => self.input_ready(),
            Token::Output(stream) => self.output_ready(stream),
            Token::Connection(index) => self.connection_ready(index),
            Token::Client(index) => self.client_ready(index, event),
        }
    }

    fn trim(&mut self) {
        self.buffer = Vec::new();
        if let Some(log) = &mut self.log {
            log.trim();
        }
        self.connections.shrink_to_fit();
        self.clients.shrink_to_fit();
    }

    /// Sends an event to every connection and gives up those that are dead.
    fn tell(&mut self, event: &Event) {
        for slot in &mut self.connections {
            if slot.as_ref().is_some_and(|connection| !connection.send(event)) {
                *slot = None;
            }
        }
    }
}

impl Token {
    fn number(self) -> u64 {
        let (kind, index) = match self {
            Self::Listener => (0, 0),
            Self::Timer => (1, 0),
            Self::Process => (2, 0),
            Self::Oom => (3, 0),
            Self::Input => (4, 0),
            Self::Output(stream) => (5, stream.index()),
            Self::Connection(index) => (6, index),
            Self::Client(index) => (7, index),
        };
        (index as u64) << 3 | kind
    }

    fn from_number(number: u64) -> Self {
        let index = usize::try_from(number >> 3).expect("made from a usize");
        match number & 7 {
            0 => Self::Listener,
            1 => Self::Timer,
            2 => Self::Process,
            3 => Self::Oom,
            4 => Self::Input,
            5 => Self::Output(Stream::ALL[index]),
            6 => Self::Connection(index),
            _ => Self::Client(index),
        }
    }
}

/// Puts `value` into the first free slot and returns its index.
fn insert<T>(slots: &mut Vec<Option<T>>, value: T) -> usize {
    if let Some(index) = slots.iter().position(Option::is_none) {
        slots[index] = Some(value);
        return index;
    }
    slots.push(Some(value));
    slots.len() - 1
}
