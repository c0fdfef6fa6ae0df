//! `POST /exec/{id}/start`: the same conversation as a container's start, with a shim of its own.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_api::exec::ExecStartRequest;
use davit_monitor::protocol::{Attach, Event as Said, Failure, Request};
use davit_monitor::task::{Kind as TaskKind, RestartPolicy, Stdin, Task};
use davit_types::{Context, Error, Kind, Result};

use super::Exec;
use crate::container::{Container, Snapshot, blocking, detached, exit_code};
use crate::engine::Inner;
use crate::monitor::{Events, Monitor, Role};
use crate::options::ClientStream;
use crate::spec::{self, ExecInput};
use crate::store::{self, Durability};
use crate::{Engine, error};

/// The exec as it was asked for, beside its task's files: what the next daemon knows it by.
pub(super) const REQUEST: &str = "exec.json";

impl Engine {
    /// To be asked before the connection is upgraded: says whether it has a terminal.
    ///
    /// # Errors
    /// There is no such exec (404), it was started before, or its container does not run (409).
    pub fn exec_start_check(&self, id: &str) -> Result<bool> {
        let exec = self.inner().execs.find(id)?;
        check(self.inner(), &exec)?;
        Ok(exec.request.tty)
    }

    /// Starts an exec with the client's connection, or detached without one. Returns when it runs. On
    /// an error the connection is closed by then: keep a copy to write the message to.
    ///
    /// # Errors
    /// Those of [`Engine::exec_start_check`]; its program can't be run.
    pub async fn exec_start(
        &self,
        id: &str,
        body: ExecStartRequest,
        client: Option<ClientStream>,
    ) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let exec = inner.execs.find(id)?;
        let container = check(&inner, &exec)?;
        if std::mem::replace(&mut exec.status().claimed, true) {
            return Err(already(&exec));
        }
        detached(async move {
            let result = run(&inner, &container, &exec, &body, client).await;
            if let Err(failure) = &result {
                exec.set_ended(exit_code(&error::chain(failure)));
                clean(&container, &exec);
            }
            result
        })
        .await
    }
}

fn check(inner: &Inner, exec: &Exec) -> Result<Arc<Container>> {
    if exec.status().claimed {
        return Err(already(exec));
    }
    let container = inner
        .containers
        .by_id(&exec.container)
        .ok_or_else(|| error::no_such_container(&exec.container))?;
    let name = container.snapshot().name().to_owned();
    container.snapshot().record.state.check_exec(&name, container.id.as_str())?;
    Ok(container)
}

fn already(exec: &Exec) -> Error {
    let verb =
        if exec.status().exit_code.is_some() { "has already run" } else { "is already running" };
    Error::conflict(format!("Error: Exec command {} {verb}", exec.id))
}

async fn run(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    exec: &Arc<Exec>,
    body: &ExecStartRequest,
    client: Option<ClientStream>,
) -> Result<()> {
    let snapshot = container.snapshot();
    let action = format!("exec_start: {}", exec.command());
    inner.publish(&snapshot, &action, &[("execID", exec.id.clone())]);
    let size = body.console_size.or(exec.request.console_size);
    let (shared, known, wanted) = (Arc::clone(inner), Arc::clone(container), Arc::clone(exec));
    let has_client = client.is_some();
    let (monitor, mut events) =
        blocking(move || launch(&shared, &known, &wanted, size, has_client)).await?;
    expect_created(&mut events).await?;
    if let Some(client) = client {
        let request = attach_request(exec, &client);
        monitor.request(Request::Attach(request), Some(client.fd)).await?;
    }
    monitor.start().await?;
    let pid = expect_started(&mut events).await?;
    exec.set_running(pid, monitor);
    container.add_exec(&exec.id);
    tokio::spawn(follow(Arc::clone(inner), Arc::clone(container), Arc::clone(exec), events));
    Ok(())
}

fn attach_request(exec: &Exec, client: &ClientStream) -> Attach {
    Attach {
        stdin: exec.request.attach_stdin,
        stdout: exec.request.attach_stdout,
        stderr: exec.request.attach_stderr,
        multiplexed: !exec.request.tty,
        detach_keys: exec.detach_keys.clone(),
        early_input: crate::container::encode(&client.early_input),
    }
}

fn launch(
    inner: &Arc<Inner>,
    container: &Container,
    exec: &Exec,
    console_size: Option<[u32; 2]>,
    has_client: bool,
) -> Result<(Monitor, Events)> {
    let directory = directory(container, exec);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .context(|| format!("create {}", directory.display()))?;
    let snapshot = container.snapshot();
    let link_env = crate::network::links::environment(inner, &snapshot);
    let process = spec::exec_process(&ExecInput {
        config: &snapshot.record.config,
        host_config: &snapshot.host_config,
        args: exec.request.cmd.as_deref().unwrap_or_default(),
        env: exec.request.env.as_deref().unwrap_or_default(),
        link_env: &link_env,
        hostname: &snapshot.record.config.hostname,
        working_dir: &exec.request.working_dir,
        tty: exec.request.tty,
        console_size: console_size.filter(|size| *size != [0, 0]),
        privileged: exec.request.privileged,
        available: &inner.host.capabilities,
    })?;
    let task = task(inner, &snapshot, exec, has_client);
    store::write_json(&directory.join("process.json"), &process, Durability::Relaxed)?;
    store::write_json(&directory.join("task.json"), &task, Durability::Relaxed)?;
    store::write_json(&directory.join(REQUEST), &exec.request, Durability::Relaxed)?;
    inner.shim.launch(Role::Exec, &directory)
}

fn task(inner: &Inner, snapshot: &Snapshot, exec: &Exec, has_client: bool) -> Task {
    let user = match exec.request.user.as_str() {
        "" => snapshot.record.config.user.clone(),
        user => user.to_owned(),
    };
    Task {
        id: snapshot.record.id.to_string(),
        kind: TaskKind::Exec,
        runtime_root: inner.config.exec_root.join("runtime"),
        runtime: inner.config.runtimes.get(&snapshot.host_config.runtime).cloned(),
        systemd_cgroup: inner.config.systemd_cgroups,
        rootfs: None,
        user,
        groups: snapshot.host_config.group_add.clone().unwrap_or_default(),
        terminal: exec.request.tty,
        stdin: if exec.request.attach_stdin && has_client { Stdin::Once } else { Stdin::Closed },
        log: None,
        restart: RestartPolicy::default(),
        oom_cgroups: Vec::new(),
    }
}

fn directory(container: &Container, exec: &Exec) -> PathBuf {
    container.bundle.join("exec").join(&exec.id)
}

async fn expect_created(events: &mut Events) -> Result<()> {
    match events.recv().await {
        Some(Said::Created { .. }) => Ok(()),
        Some(Said::Failed(failure)) => Err(start_error(&failure)),
        other => Err(unexpected(other.as_ref())),
    }
}

async fn expect_started(events: &mut Events) -> Result<i32> {
    loop {
        match events.recv().await {
            Some(Said::Started { pid, .. }) => return Ok(pid),
            Some(Said::Failed(failure)) => return Err(start_error(&failure)),
            Some(Said::Detached) => {}
            other => return Err(unexpected(other.as_ref())),
        }
    }
}

fn unexpected(said: Option<&Said>) -> Error {
    Error::internal(format!("the exec's monitor said {said:?} instead of starting it"))
}

fn start_error(failure: &Failure) -> Error {
    let mut message = failure.message.clone();
    if message.contains("is a directory") && !message.contains("permission denied") {
        message.push_str(": permission denied");
    }
    let kind = if exit_code(&message) == 128 { Kind::Internal } else { Kind::InvalidParameter };
    Error::new(kind, format!("OCI runtime exec failed: exec failed: {message}"))
}

pub(super) async fn follow(
    inner: Arc<Inner>,
    container: Arc<Container>,
    exec: Arc<Exec>,
    mut events: Events,
) {
    let mut code = 255;
    while let Some(said) = events.recv().await {
        match said {
            Said::Exited { exit, .. } => {
                code = exit.code;
                break;
            }
            Said::Detached => {
                let attributes = [("execID", exec.id.clone())];
                inner.publish(&container.snapshot(), "exec_detach", &attributes);
            }
            _ => {}
        }
    }
    exec.set_ended(code);
    container.remove_exec(&exec.id);
    let attributes = [("execID", exec.id.clone()), ("exitCode", code.to_string())];
    inner.publish(&container.snapshot(), "exec_die", &attributes);
    clean(&container, &exec);
}

/// Removes the exec's files; they are gone with the container's when that has ended.
pub(super) fn clean(container: &Container, exec: &Exec) {
    let directory: &Path = &directory(container, exec);
    if let Err(cause) = std::fs::remove_dir_all(directory)
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(error = %cause, path = %directory.display(), "delete");
    }
}
