//! `POST /containers/{id}/exec`.

use std::sync::Arc;

use davit_api::exec::{ExecCreateRequest, ExecCreateResponse};
use davit_types::{Error, Result};

use super::Exec;
use crate::container::detach_keys;
use crate::{Engine, random};

impl Engine {
    /// Notes a process to be started in a running container.
    ///
    /// # Errors
    /// No command (400), the container does not run or is paused (409).
    pub async fn exec_create(
        &self,
        container: &str,
        body: ExecCreateRequest,
    ) -> Result<ExecCreateResponse> {
        let inner = self.inner();
        let found = inner.containers.find(container)?;
        if body.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("No exec command specified"));
        }
        let snapshot = found.snapshot();
        snapshot.record.state.check_exec(container, found.id.as_str())?;
        let keys = detach_keys(Some(&body.detach_keys))?;
        let exec = Exec::new(random::id()?.to_string(), found.id.to_string(), body, keys);
        let action = format!("exec_create: {}", exec.command());
        inner.publish(&snapshot, &action, &[("execID", exec.id.clone())]);
        let id = exec.id.clone();
        inner.execs.insert(Arc::new(exec));
        Ok(ExecCreateResponse { id })
    }
}
