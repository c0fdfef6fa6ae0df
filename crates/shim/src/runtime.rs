//! The OCI runtime that a task asks for: the library that is linked in, or another program.

use std::path::{Path, PathBuf};

use davit_monitor::protocol::Failure;
use davit_monitor::task::{Kind, Task};
use davit_runtime::state::State;
use davit_runtime::{CreateRequest, ExecRequest, Stdio};
use davit_types::oci::runtime::{LinuxSeccomp, Process, Spec};
use davit_types::{Context, Result};
use serde::Deserialize;

use crate::build::Built;
use crate::failure::{self, Stage};
use crate::stdio::Ours;

mod external;
mod features;

use external::External;

/// How to reach the container of a task.
pub(crate) struct Runtime {
    id: String,
    root: PathBuf,
    kind: Kind,
    systemd_cgroup: bool,
    external: Option<External>,
}

impl Runtime {
    /// The runtime of `task`.
    pub(crate) fn of(task: &Task) -> Self {
        let external = task.runtime.as_ref().map(|program| {
            External::new(program, &task.runtime_root, &task.id, task.systemd_cgroup)
        });
        Self {
            id: task.id.clone(),
            root: task.runtime_root.clone(),
            kind: task.kind,
            systemd_cgroup: task.systemd_cgroup,
            external,
        }
    }

    /// Builds the container of the bundle in `task_dir`.
    pub(crate) fn create(
        &self,
        task_dir: &Path,
        spec: Spec,
        stdio: Stdio,
        ours: Ours,
    ) -> Result<Built, Failure> {
        if let Some(external) = &self.external {
            return external.create(task_dir, &spec, stdio, ours);
        }
        let created = davit_runtime::create(&CreateRequest {
            id: &self.id,
            bundle: task_dir,
            root: &self.root,
            spec,
            stdio,
            seccomp_cache: Some(&self.root.join("seccomp")),
            launch: davit_runtime::Launch {
                systemd_cgroup: self.systemd_cgroup,
                ..davit_runtime::Launch::default()
            },
        });
        let created = created.map_err(|not_created| failure::from_runtime(*not_created.failure))?;
        Ok(Built { created, ours, waits: true })
    }

    /// Builds a further process in the container.
    pub(crate) fn exec(
        &self,
        task_dir: &Path,
        process: Process,
        stdio: Stdio,
        ours: Ours,
    ) -> Result<Built, Failure> {
        if let Some(external) = &self.external {
            return external.exec(task_dir, &process, stdio, ours);
        }
        let state = State::load(&self.root, &self.id).map_err(failure::from_runtime)?;
        let seccomp = seccomp_of(&state.bundle).stage("read config.json")?;
        let created = davit_runtime::exec(&ExecRequest {
            id: &self.id,
            root: &self.root,
            process,
            stdio,
            seccomp: seccomp.as_ref(),
            seccomp_cache: Some(&self.root.join("seccomp")),
            cgroups: &[],
            ignore_paused: false,
            launch: davit_runtime::Launch::default(),
        });
        let created = created.map_err(failure::from_runtime)?;
        Ok(Built { created, ours, waits: true })
    }

    /// Lets a process run that is not waiting at a start socket of ours.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        match (&self.external, self.kind) {
            (Some(external), Kind::Container) => external.start(),
            _ => Ok(()),
        }
    }

    /// After the start of a process that waited at a start socket of ours: its hooks for that. What
    /// they get wrong concerns nobody here; another program has done with its own.
    pub(crate) fn started(&self) {
        if self.kind == Kind::Container
            && let Ok(state) = State::load(&self.root, &self.id)
        {
            drop(davit_runtime::hooks::poststart(&state));
        }
    }

    /// The container's first process.
    pub(crate) fn init_pid(&self) -> Result<i32, Failure> {
        match &self.external {
            Some(external) => external.init_pid(),
            None => State::load(&self.root, &self.id)
                .map(|state| state.pid)
                .map_err(failure::from_runtime),
        }
    }

    /// Removes a container: its processes, its cgroup, the runtime's record of it. Nothing for an
    /// exec, which has none of its own. What can't be removed is found and removed by the daemon.
    pub(crate) fn remove(&self) {
        if self.kind == Kind::Exec {
            return;
        }
        match &self.external {
            Some(external) => external.remove(),
            None => drop(davit_runtime::delete(&self.root, &self.id)),
        }
    }
}

/// The system call filter of the bundle's container, which its further processes get, too.
fn seccomp_of(bundle: &Path) -> Result<Option<LinuxSeccomp>> {
    #[derive(Deserialize)]
    struct Config {
        linux: Option<Linux>,
    }
    #[derive(Deserialize)]
    struct Linux {
        seccomp: Option<LinuxSeccomp>,
    }
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).context(|| format!("read {}", path.display()))?;
    let config: Config =
        serde_json::from_slice(&text).context(|| format!("parse {}", path.display()))?;
    Ok(config.linux.and_then(|linux| linux.seccomp))
}
