//! `GET /exec/{id}/json` and `POST /exec/{id}/resize`.

use std::time::Duration;

use base64::Engine as _;
use davit_api::exec::{ExecInspectResponse, ExecProcessConfig};
use davit_monitor::protocol::Request;
use davit_types::{Error, Result};

use super::Exec;
use crate::Engine;

/// How long a resize waits for the exec to start, and inspect to be told of an end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// All about an exec.
    ///
    /// # Errors
    /// There is no such exec.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        let exec = self.inner().execs.find(id)?;
        settle(&exec).await;
        let status = exec.status().clone();
        let request = &exec.request;
        let mut words = request.cmd.clone().unwrap_or_default().into_iter();
        let keys = base64::engine::general_purpose::STANDARD.encode(&exec.detach_keys);
        Ok(ExecInspectResponse {
            id: exec.id.clone(),
            running: status.monitor.is_some(),
            exit_code: status.exit_code.map(i64::from),
            process_config: ExecProcessConfig {
                tty: request.tty,
                entrypoint: words.next().unwrap_or_default(),
                arguments: words.collect(),
                privileged: Some(request.privileged),
                user: request.user.clone(),
            },
            open_stdin: request.attach_stdin,
            open_stderr: request.attach_stderr,
            open_stdout: request.attach_stdout,
            can_remove: false,
            container_id: exec.container.clone(),
            detach_keys: if request.detach_keys.is_empty() { String::new() } else { keys },
            pid: i64::from(status.pid),
        })
    }

    /// Sets the size of an exec's terminal, once it runs.
    ///
    /// # Errors
    /// There is no such exec, or it does not start in time.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let exec = self.inner().execs.find(id)?;
        if exec.status().exit_code.is_some() {
            return Err(Error::conflict(format!("exec process {id} is not running")));
        }
        let mut running = exec.running.subscribe();
        let starts = running.wait_for(|running| *running);
        // Nothing of the guard may outlive this line: it can't go to another thread.
        let is_late = tokio::time::timeout(PATIENCE, starts).await.is_err();
        if is_late {
            return Err(Error::internal("timeout waiting for exec session ready"));
        }
        let monitor = exec.status().monitor.clone();
        match monitor {
            Some(monitor) => monitor.request(Request::Resize { height, width }, None).await,
            None => Ok(()),
        }
    }
}

/// A client that has seen the end of its stream asks for the exit code at once, and its question may
/// overtake the monitor's message: when the process is gone, that message is waited for.
async fn settle(exec: &Exec) {
    let (pid, is_running) = {
        let status = exec.status();
        (status.pid, status.monitor.is_some())
    };
    if !is_running || is_alive(pid) {
        return;
    }
    let mut running = exec.running.subscribe();
    let ended = running.wait_for(|running| !*running);
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        tracing::warn!(exec = exec.id, "the exec's process is gone, but its monitor is silent");
    }
}

/// Whether there is a process `pid` that is not a zombie.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the program's name, which may hold anything, in parentheses.
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
