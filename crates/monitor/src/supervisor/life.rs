//! From one phase of a task's life to the next.

use std::time::Duration;

use davit_sys::pidfd;

use super::{Backend, Ending, State, Supervisor, Token};
use crate::client::SOCKET;
use crate::handover::{self, Handover};
use crate::protocol::{Event, Failure};
use crate::task::{Exit, Phase, Status};
use crate::{clock, oom, restart, status};

/// How long clients may take to read the last output before the exit is told.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the monitor stays for them after that.
const LINGER: Duration = Duration::from_secs(10);
/// How often, and how far apart, the OOM counter is looked at after a notice.
const OOM_LOOKS: u8 = 20;
const OOM_PAUSE: Duration = Duration::from_millis(50);

impl<B: Backend> Supervisor<B> {
    /// Lets the process run.
    pub(super) fn start(&mut self) {
        self.oom_base = oom::kills(&self.oom_cgroups);
        if let Err(failure) = self.backend.start() {
            return self.fail(failure);
        }
        if self.runs_already
            && let Err(error) = self.watch_process()
        {
            return self.fail(Failure {
                stage: "start".to_owned(),
                errno: error.raw_os_error().unwrap_or(0),
                message: format!("watch the process: {error}"),
            });
        }
        self.started_at = clock::now();
        self.state = State::Running;
        self.watch_outputs();
        self.watch_oom();
        self.write_status();
        self.tell(&Event::Started {
            pid: self.process.pid,
            started_at: self.started_at,
            restart_count: self.history.count,
        });
    }

    /// The pidfd is readable.
    pub(super) fn process_ended(&mut self) {
        let Some(pidfd) = &self.process.pidfd else { return };
        let code = match pidfd::reap(pidfd) {
            Ok(Some(code)) => code,
            Ok(None) => return,
            // Not ours to wait for any more; its status is lost.
            Err(_) => 255,
        };
        self.process.pidfd = None;
        if self.state == State::Created {
            return self.fail(Failure {
                stage: "start".to_owned(),
                errno: 0,
                message: "the container's process ended before it was started".to_owned(),
            });
        }
        self.state = State::Draining { code, finished_at: clock::now() };
        self.drain_outputs();
        self.end_streams();
        if self.has_clients() {
            self.set_timer(DRAIN);
        } else {
            self.conclude();
        }
    }

    pub(super) fn time_is_up(&mut self) {
        if !self.timer.expired() {
            return;
        }
        match self.state {
            State::Draining { .. } => self.conclude(),
            State::Waiting => self.restart(),
            State::Ended => self.leave(),
            State::Running => self.look_for_oom(),
            State::Created => {}
        }
    }

    /// The process has ended and its output was copied: restart or end.
    pub(super) fn conclude(&mut self) {
        let State::Draining { code, finished_at } = self.state else { return };
        let oom_killed = oom::kills(&self.oom_cgroups) > self.oom_base;
        if oom_killed && !self.oom_told {
            self.tell(&Event::Oom);
        }
        self.oom_watch = None;
        let exit = Exit { code, oom_killed, finished_at };
        self.last_exit = Some(exit);
        self.backend.remove();

        let ran_for = u64::try_from(finished_at - self.started_at).unwrap_or(0);
        let ran_for = Duration::from_nanos(ran_for);
        match restart::next(self.policy, self.history, code, ran_for) {
            Some(history) if !self.stopped_by_user => {
                self.drop_clients();
                self.history = history;
                self.state = State::Waiting;
                self.write_status();
                let delay = u64::try_from(history.delay.as_millis()).unwrap_or(u64::MAX);
                self.tell(&Event::Exited { exit, restart_after_ms: Some(delay) });
                self.set_timer(history.delay);
            }
            _ => self.end(&Event::Exited { exit, restart_after_ms: None }),
        }
    }

    /// The user does not want the restart that is being waited for.
    pub(super) fn give_up_restart(&mut self) {
        if let (State::Waiting, Some(exit)) = (self.state, self.last_exit) {
            self.history.count -= 1;
            self.end(&Event::Exited { exit, restart_after_ms: None });
        }
    }

    /// Nothing keeps the monitor any more.
    pub(super) fn leave(&mut self) {
        self.ending = Some(Ending::Ended);
    }

    /// The process could not be started: as if it had never been.
    fn fail(&mut self, failure: Failure) {
        self.drain_outputs();
        self.end_streams();
        self.backend.remove();
        self.end(&Event::Failed(failure));
    }

    /// Cleans up, then tells of it: whoever hears it finds nothing left behind.
    fn end(&mut self, last: &Event) {
        self.state = State::Ended;
        self.backend.release_root();
        self.write_status();
        self.listener = None;
        // Gone already when the daemon has removed the directory.
        let _ = std::fs::remove_file(self.task_dir.join(SOCKET));
        self.tell(last);
        if self.has_clients() {
            self.set_timer(LINGER);
        } else {
            self.leave();
        }
    }

    fn end_streams(&mut self) {
        self.input.close();
        self.input = crate::input::Input::default();
        self.input_watched = false;
        self.console = None;
        self.finish_clients();
    }

    fn restart(&mut self) {
        match self.hand_over() {
            Ok(handover) => self.ending = Some(Ending::Restart(handover)),
            Err(error) => self.end(&Event::Failed(Failure {
                stage: "restart".to_owned(),
                errno: 0,
                message: format!("{error:#}"),
            })),
        }
    }

    fn hand_over(&self) -> davit_types::Result<Handover> {
        let connections: davit_types::Result<Vec<_>> =
            self.connections.iter().flatten().map(handover::leave).collect();
        let listener = self.listener.as_ref().map(handover::leave).transpose()?;
        Ok(Handover {
            listener: listener.unwrap_or(-1),
            connections: connections?,
            policy: self.policy,
            history: self.history,
            last_exit: self.last_exit,
            started_at: self.started_at,
            oom_score_adj: self.oom_score_adj,
            process: None,
        })
    }

    pub(super) fn status(&self) -> Status {
        let phase = match self.state {
            State::Created => Phase::Created,
            State::Running | State::Draining { .. } => Phase::Running,
            State::Waiting => Phase::Restarting,
            State::Ended => Phase::Exited,
        };
        Status {
            monitor_pid: std::process::id().cast_signed(),
            phase,
            pid: self.process.pid,
            started_at: self.started_at,
            last_exit: self.last_exit,
            restart_count: self.history.count,
        }
    }

    pub(super) fn write_status(&self) {
        // Without it a daemon that was away takes the exit for lost (255), as after a power cut; the
        // container must not suffer from a full or vanished directory.
        let _ = status::write(&self.task_dir, &self.status());
    }

    fn set_timer(&self, delay: Duration) {
        self.timer.set(delay).expect("delays are at most a minute");
    }

    fn watch_oom(&mut self) {
        self.oom_watch = oom::Watch::new(&self.oom_cgroups);
        if let Some(watch) = &self.oom_watch
            && self.epoll.add(&watch.fd, Token::Oom.number(), watch.interest).is_err()
        {
            self.oom_watch = None;
        }
    }

    pub(super) fn oom_event(&mut self) {
        let Some(watch) = &self.oom_watch else { return };
        watch.acknowledge();
        if self.oom_cgroups.iter().any(|path| path.is_dir()) {
            self.oom_looks = OOM_LOOKS;
            self.look_for_oom();
        } else {
            self.oom_watch = None;
        }
    }

    /// The notice comes before the kill: the counter may grow a little later.
    fn look_for_oom(&mut self) {
        if self.oom_told || self.oom_looks == 0 {
            return;
        }
        self.oom_looks -= 1;
        if oom::kills(&self.oom_cgroups) > self.oom_base {
            self.oom_told = true;
            self.tell(&Event::Oom);
        } else {
            self.set_timer(OOM_PAUSE);
        }
    }
}
