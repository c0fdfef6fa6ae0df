//! The execs that a former daemon started.

use std::path::Path;
use std::sync::Arc;

use davit_api::exec::ExecCreateRequest;
use davit_monitor::task::Phase;
use davit_types::Result;

use super::Exec;
use super::start::{REQUEST, clean, follow};
use crate::container::{Container, detach_keys};
use crate::engine::Inner;
use crate::recover::greet;
use crate::{error, store};

/// Finds the execs of a running container again: those that run are followed, those that ended
/// meanwhile can be asked for their exit code. One that can't be understood is reported and left.
pub(crate) async fn adopt(inner: &Arc<Inner>, container: &Arc<Container>) {
    // Without the directory there were no execs.
    let Ok(entries) = std::fs::read_dir(container.bundle.join("exec")) else { return };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if let Err(failure) = adopt_one(inner, container, &id, &entry.path()).await {
            let cause = error::chain(&failure);
            tracing::warn!(exec = id, container = %container.id, error = cause, "lost an exec");
        }
    }
}

async fn adopt_one(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    id: &str,
    directory: &Path,
) -> Result<()> {
    let request: ExecCreateRequest = store::read_json(&directory.join(REQUEST))?;
    let keys = detach_keys(Some(&request.detach_keys))?;
    let exec = Arc::new(Exec::new(id.to_owned(), container.id.to_string(), request, keys));
    exec.status().claimed = true;
    inner.execs.insert(Arc::clone(&exec));
    match greet(directory).await {
        Ok((monitor, events, status)) if status.phase == Phase::Running => {
            exec.set_running(status.pid, monitor);
            container.add_exec(id);
            tokio::spawn(follow(Arc::clone(inner), Arc::clone(container), exec, events));
        }
        // Its monitor has ended, or is about to: the last word is in its file.
        _ => {
            let last = davit_monitor::status::read(directory);
            let code = last.ok().and_then(|status| status.last_exit).map_or(255, |exit| exit.code);
            exec.set_ended(code);
            clean(container, &exec);
        }
    }
    Ok(())
}
