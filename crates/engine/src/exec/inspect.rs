//! `GET /exec/{id}/json` and `POST /exec/{id}/resize`.

use std::time::Duration;

use base64::Engine as _;
use davit_api::exec::{ExecInspectResponse, ExecProcessConfig};
use davit_monitor::protocol::Request;
use davit_types::{Error, Result};

use crate::Engine;

/// How long a resize waits for the exec to start.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// All about an exec.
    ///
    /// # Errors
    /// There is no such exec.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        let exec = self.inner().execs.find(id)?;
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
