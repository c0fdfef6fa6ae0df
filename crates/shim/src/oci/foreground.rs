//! Staying beside a process until it ends: its terminal, and signals that are meant for it.

use std::os::fd::{AsFd, OwnedFd};

use davit_runtime::Created;
use davit_sys::signal::{self, SignalFd};
use davit_sys::{fdpass, pidfd};
use davit_types::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use rustix::termios::{OptionalActions, Termios};

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
/// Those that tell of this very process (faults, its own terminal), or can't be taken. 23 is sent by
/// runtimes with threads of their own to themselves, but somebody may mean it.
const OWN: [i32; 9] = [4, 5, 7, 8, 11, 9, 19, 21, 22];

/// Signals that wait to be passed on.
pub(crate) struct Foreground {
    signals: SignalFd,
}

impl Foreground {
    /// From here on signals wait.
    pub(crate) fn new() -> Result<Self> {
        // The two that the C library keeps for itself can't be blocked.
        let all = (1..=64).filter(|signal| !OWN.contains(signal) && !(32..=34).contains(signal));
        let signals = signal::descriptor(&all.collect::<Vec<_>>()).context(|| "take signals")?;
        Ok(Self { signals })
    }

    /// Waits for the end of `process`, a child: its exit status, 128 + n for signal n.
    pub(crate) fn attend(self, process: Created) -> Result<u8> {
        let mut terminal = process.console_master.map(Terminal::new).transpose()?;
        let status = loop {
            self.wait(&process.pidfd, terminal.as_ref())?;
            while let Some(number) = self.signals.next() {
                match (number, &terminal) {
                    (SIGCHLD, _) => {}
                    (SIGWINCH, Some(terminal)) => terminal.resize(),
                    // It may just have ended.
                    _ => drop(pidfd::send_signal(&process.pidfd, number)),
                }
            }
            if let Some(terminal) = &mut terminal {
                terminal.copy()?;
            }
            if let Some(status) = pidfd::reap(&process.pidfd).context(|| "wait for the process")? {
                break status;
            }
            reap_orphans(process.pid);
        };
        if let Some(terminal) = &mut terminal {
            terminal.drain()?;
        }
        Ok(u8::try_from(status).unwrap_or(u8::MAX))
    }

    fn wait(&self, pidfd: &OwnedFd, terminal: Option<&Terminal>) -> Result<()> {
        let mut set =
            vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
        let stdin = rustix::stdio::stdin();
        if let Some(terminal) = terminal {
            set.push(PollFd::new(&terminal.master, terminal.interest()));
            if terminal.takes_input() {
                set.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
        }
        match rustix::event::poll(&mut set, None) {
            Err(Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error).context(|| "wait for the process"),
        }
    }
}

/// Everybody's children are this process' when it is a subreaper.
fn reap_orphans(own: i32) {
    use rustix::process::{WaitId, WaitIdOptions};
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Ok(Some(_)) = rustix::process::waitid(WaitId::All, options) else { return };
        // Which one it is only waiting tells; the process itself has its pidfd for that.
        match ended_child() {
            Some(pid) if pid.as_raw_nonzero().get() != own => {
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
            }
            _ => return,
        }
    }
}

/// A child that is a zombie, as `/proc` shows it.
fn ended_child() -> Option<Pid> {
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
    children.split_whitespace().find_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        (state == 'Z').then(|| Pid::from_raw(pid.parse().ok()?)).flatten()
    })
}

/// The process' terminal, shown on ours.
struct Terminal {
    master: OwnedFd,
    /// Typed, and not taken by the process yet.
    input: Vec<u8>,
    stdin_ended: bool,
    /// What to put back in the end; absent when standard input is no terminal.
    before: Option<Termios>,
}

impl Terminal {
    fn new(master: OwnedFd) -> Result<Self> {
        fdpass::set_nonblocking(&master, true).context(|| "use the terminal")?;
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
                .context(|| "make the terminal raw")?;
        }
        let terminal = Self { master, input: Vec::new(), stdin_ended: false, before };
        terminal.resize();
        Ok(terminal)
    }

    /// Takes over the size of our own.
    fn resize(&self) {
        // Standard input that is no terminal has no size.
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    fn interest(&self) -> PollFlags {
        if self.input.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    fn takes_input(&self) -> bool {
        self.input.is_empty() && !self.stdin_ended
    }

    /// Whatever can be copied without waiting.
    fn copy(&mut self) -> Result<()> {
        if self.takes_input() {
            self.read_input();
        }
        if !self.input.is_empty()
            && let Ok(written) = rustix::io::write(&self.master, &self.input)
        {
            self.input.drain(..written);
        }
        self.copy_output().map(drop)
    }

    fn read_input(&mut self) {
        let stdin = rustix::stdio::stdin();
        let mut set = [PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut set, Some(&now)).unwrap_or(0) == 0 {
            return;
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(stdin, &mut buffer) {
            Ok(0) | Err(Errno::IO | Errno::BADF) => self.end_input(),
            Ok(count) => self.input.extend(&buffer[..count]),
            Err(_) => {}
        }
    }

    /// The end of a pipe is the end of what is typed.
    fn end_input(&mut self) {
        const END_OF_TRANSMISSION: u8 = 4;
        self.stdin_ended = true;
        self.input.push(END_OF_TRANSMISSION);
    }

    /// Whether there was anything.
    fn copy_output(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(count) if count > 0 => {
                write_all(&buffer[..count])?;
                Ok(true)
            }
            // EIO: nobody has the other end.
            _ => Ok(false),
        }
    }

    /// The process is gone: what it wrote last.
    fn drain(&mut self) -> Result<()> {
        while self.copy_output()? {}
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no settings.
            let stdin = rustix::stdio::stdin();
            let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Now, before);
        }
    }
}

fn write_all(mut bytes: &[u8]) -> Result<()> {
    let stdout = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(stdout, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Shared with somebody who made it non-blocking.
            Err(Errno::AGAIN) => {
                let mut set = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT)];
                let _ = rustix::event::poll(&mut set, None);
            }
            Err(error) => return Err(error).context(|| "write the terminal's output"),
        }
    }
    Ok(())
}
