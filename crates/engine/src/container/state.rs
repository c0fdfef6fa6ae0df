//! The life of a container as a pure state machine: an event and the present state give the next
//! state and what has to be done.
//!
//! Whoever holds the container's transition lock (or its monitor's event stream) feeds the events.
//! `running` stays true while paused and while the restart policy waits, as Docker has it.

use davit_types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::error;

/// `State` of `config.v2.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct State {
    /// A process exists, or the restart policy will make one.
    pub(crate) running: bool,
    /// Its processes are frozen.
    pub(crate) paused: bool,
    /// The restart policy waits.
    pub(crate) restarting: bool,
    /// The kernel's OOM killer hit the last run.
    #[serde(rename = "OOMKilled")]
    pub(crate) oom_killed: bool,
    /// A removal failed half-way.
    pub(crate) dead: bool,
    /// It is being removed. Not stored: a daemon that died removing starts again from the files.
    #[serde(skip)]
    pub(crate) removing: bool,
    /// The first process on the host, 0 when there is none.
    pub(crate) pid: i32,
    /// Exit status of the last run, or of the failed start.
    pub(crate) exit_code: i32,
    /// Why the last start failed.
    pub(crate) error: String,
    /// Last start, nanoseconds since the epoch; absent: never.
    #[serde(with = "crate::time::optional")]
    pub(crate) started_at: Option<i64>,
    /// Last end, nanoseconds since the epoch; absent: never.
    #[serde(with = "crate::time::optional")]
    pub(crate) finished_at: Option<i64>,
    /// Result of the health checks, absent without one.
    pub(crate) health: Option<serde_json::Value>,
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its program runs.
    Started {
        /// First process.
        pid: i32,
        /// Nanoseconds since the epoch.
        at: i64,
    },
    /// A start failed.
    StartFailed {
        /// What `ExitCode` becomes.
        exit_code: i32,
        /// What `Error` becomes.
        error: String,
    },
    /// The process ended.
    Exited {
        /// Exit status.
        exit_code: i32,
        /// The OOM killer hit.
        oom_killed: bool,
        /// Nanoseconds since the epoch.
        at: i64,
        /// The restart policy will start it again.
        restarts: bool,
    },
    /// The freezer took it.
    Paused,
    /// The freezer let it go.
    Unpaused,
    /// Somebody removes it.
    RemovalStarted,
    /// The removal went wrong.
    RemovalFailed,
}

/// What has to be done about an event, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Give back network and volumes.
    Release,
    /// Tell whoever follows the events.
    Publish {
        /// `start`, `die`, ...
        action: &'static str,
        /// Attributes beyond the container's own.
        attributes: Vec<(&'static str, String)>,
    },
    /// Remove it if it was made with `--rm`.
    AutoRemove,
}

impl State {
    /// The state after `event`, and its effects.
    pub(crate) fn apply(&self, event: &Event) -> (Self, Vec<Effect>) {
        let mut next = self.clone();
        let effects = match event {
            Event::Started { pid, at } => next.start(*pid, *at),
            Event::StartFailed { exit_code, error } => {
                (next.exit_code, next.error) = (*exit_code, error.clone());
                (next.running, next.restarting, next.pid) = (false, false, 0);
                vec![Effect::AutoRemove]
            }
            Event::Exited { exit_code, oom_killed, at, restarts } => {
                next.exit(*exit_code, *oom_killed, *at, *restarts)
            }
            Event::Paused => {
                next.paused = true;
                vec![publish("pause")]
            }
            Event::Unpaused => {
                next.paused = false;
                vec![publish("unpause")]
            }
            Event::RemovalStarted => {
                next.removing = true;
                Vec::new()
            }
            Event::RemovalFailed => {
                (next.removing, next.dead) = (false, true);
                Vec::new()
            }
        };
        (next, effects)
    }

    fn start(&mut self, pid: i32, at: i64) -> Vec<Effect> {
        *self = Self {
            running: true,
            pid,
            started_at: Some(at),
            finished_at: self.finished_at,
            removing: self.removing,
            ..Self::default()
        };
        vec![publish("start")]
    }

    fn exit(&mut self, exit_code: i32, oom_killed: bool, at: i64, restarts: bool) -> Vec<Effect> {
        let seconds = self.started_at.map_or(0, |started| (at - started).max(0) / 1_000_000_000);
        *self = Self {
            running: restarts,
            restarting: restarts,
            oom_killed,
            exit_code,
            finished_at: Some(at),
            started_at: self.started_at,
            removing: self.removing,
            ..Self::default()
        };
        let die = Effect::Publish {
            action: "die",
            attributes: vec![
                ("execDuration", seconds.to_string()),
                ("exitCode", exit_code.to_string()),
            ],
        };
        if restarts { vec![die] } else { vec![Effect::Release, die, Effect::AutoRemove] }
    }

    /// The one word of `State.Status`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self { removing: true, .. } => "removing",
            Self { dead: true, .. } => "dead",
            Self { paused: true, .. } => "paused",
            Self { restarting: true, .. } => "restarting",
            Self { running: true, .. } => "running",
            Self { started_at: None, .. } => "created",
            _ => "exited",
        }
    }

    /// The `Status` column of `ps` at the time `now`.
    pub(crate) fn text(&self, now: i64) -> String {
        let since =
            |time: Option<i64>| super::human::duration((now - time.unwrap_or(now)) / 1_000_000_000);
        match self.word() {
            "removing" => "Removal In Progress".to_owned(),
            "dead" => "Dead".to_owned(),
            "paused" => format!("Up {} (Paused)", since(self.started_at)),
            "restarting" => {
                format!("Restarting ({}) {} ago", self.exit_code, since(self.finished_at))
            }
            "running" => format!("Up {}", since(self.started_at)),
            "created" => "Created".to_owned(),
            _ => format!("Exited ({}) {} ago", self.exit_code, since(self.finished_at)),
        }
    }

    /// A process runs or will run again.
    pub(crate) fn has_process(&self) -> bool {
        self.running && !self.restarting
    }

    /// May it be started?
    pub(crate) fn check_start(&self) -> Result<()> {
        match self.word() {
            "paused" => {
                Err(Error::conflict("cannot start a paused container, try unpause instead"))
            }
            "running" | "restarting" => Err(error::not_modified("container is already running")),
            "removing" | "dead" => {
                Err(Error::conflict("container is marked for removal and cannot be started"))
            }
            _ => Ok(()),
        }
    }

    /// May it be removed?
    pub(crate) fn check_remove(&self, name: &str, id: &str, force: bool) -> Result<()> {
        let refuse = |reason: String| {
            Err(Error::conflict(format!("cannot remove container {name:?}: {reason}")))
        };
        match self.word() {
            "removing" => Err(error::removal_in_progress(id)),
            "paused" if !force => {
                refuse("container is paused and must be unpaused first".to_owned())
            }
            word @ ("running" | "restarting") if !force => refuse(format!(
                "container is {word}: stop the container before removing or force remove"
            )),
            _ => Ok(()),
        }
    }

    /// May its processes be frozen?
    pub(crate) fn check_pause(&self, id: &str) -> Result<()> {
        match self.word() {
            "running" => Ok(()),
            "paused" => Err(Error::conflict(format!("container {id} is already paused"))),
            "restarting" => Err(error::restarting(id)),
            _ => Err(error::not_running(id)),
        }
    }

    /// May a further process be started in it?
    pub(crate) fn check_exec(&self, name: &str, id: &str) -> Result<()> {
        match self.word() {
            "running" => Ok(()),
            "paused" => Err(Error::conflict(format!(
                "Container {name} is paused, unpause the container before exec"
            ))),
            "restarting" => Err(error::restarting(id)),
            _ => Err(error::not_running(id)),
        }
    }

    /// May a client attach to it? One that was not started yet may be attached to.
    pub(crate) fn check_attach(&self, id: &str) -> Result<()> {
        match self.word() {
            "paused" => Err(Error::conflict(format!(
                "container {id} is paused, unpause the container before attach"
            ))),
            "restarting" => Err(Error::conflict(format!(
                "container {id} is restarting, wait until the container is running before attach"
            ))),
            _ => Ok(()),
        }
    }
}

fn publish(action: &'static str) -> Effect {
    Effect::Publish { action, attributes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use davit_types::Kind;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn after(events: &[Event]) -> (State, Vec<Effect>) {
        events.iter().fold((State::default(), Vec::new()), |(state, _), event| state.apply(event))
    }

    fn started() -> Event {
        Event::Started { pid: 7, at: 10 * SECOND }
    }

    fn exited(restarts: bool) -> Event {
        Event::Exited { exit_code: 3, oom_killed: false, at: 15 * SECOND, restarts }
    }

    #[test]
    fn words_and_texts_follow_the_events() {
        let now = 18 * SECOND;
        for (events, word, text) in [
            (vec![], "created", "Created"),
            (vec![started()], "running", "Up 8 seconds"),
            (vec![started(), Event::Paused], "paused", "Up 8 seconds (Paused)"),
            (vec![started(), exited(true)], "restarting", "Restarting (3) 3 seconds ago"),
            (vec![started(), exited(false)], "exited", "Exited (3) 3 seconds ago"),
            (vec![started(), exited(false), started()], "running", "Up 8 seconds"),
            (vec![Event::RemovalStarted], "removing", "Removal In Progress"),
            (vec![Event::RemovalStarted, Event::RemovalFailed], "dead", "Dead"),
        ] {
            let (state, _) = after(&events);
            assert_eq!((state.word(), state.text(now).as_str()), (word, text), "{events:?}");
        }
    }

    #[test]
    fn an_exit_releases_before_it_is_told_and_a_restart_keeps_everything() {
        let (state, effects) = after(&[started(), exited(false)]);
        assert!(!state.running && state.pid == 0 && state.exit_code == 3);
        assert_eq!(effects.first(), Some(&Effect::Release));
        assert_eq!(effects.last(), Some(&Effect::AutoRemove));
        let die = &effects[1];
        let attributes = vec![("execDuration", "5".to_owned()), ("exitCode", "3".to_owned())];
        assert_eq!(die, &Effect::Publish { action: "die", attributes });

        let (state, effects) = after(&[started(), exited(true)]);
        assert!(state.running && state.restarting);
        assert_eq!(effects.len(), 1);
    }

    #[test]
    fn a_failed_start_leaves_created_and_says_why() {
        let failed = Event::StartFailed { exit_code: 127, error: "no".to_owned() };
        let (state, effects) = after(&[failed]);
        assert_eq!((state.word(), state.exit_code, state.error.as_str()), ("created", 127, "no"));
        assert_eq!(effects, [Effect::AutoRemove]);
        let (state, _) = state.apply(&started());
        assert_eq!((state.exit_code, state.error.as_str()), (0, ""));
    }

    #[test]
    fn checks_answer_in_dockers_words() {
        let running = after(&[started()]).0;
        let paused = running.apply(&Event::Paused).0;
        assert_eq!(running.check_start().expect_err("runs").kind(), Kind::NotModified);
        assert_eq!(
            paused.check_exec("web", "id").expect_err("paused").to_string(),
            "Container web is paused, unpause the container before exec"
        );
        assert_eq!(
            running.check_remove("web", "id", false).expect_err("runs").to_string(),
            "cannot remove container \"web\": container is running: \
             stop the container before removing or force remove"
        );
        assert!(running.check_remove("web", "id", true).is_ok());
        assert_eq!(
            paused.check_pause("id").expect_err("paused").to_string(),
            "container id is already paused"
        );
    }
}
