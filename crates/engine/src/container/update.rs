//! `update`: limits and restart policy of a container, running or not.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use davit_api::container::{HostConfig, Resources, UpdateRequest, UpdateResponse};
use davit_monitor::protocol::Request;
use davit_sys::cgroup::Limits;
use davit_types::{ContainerId, Context, Error, Result};

use super::{Snapshot, blocking, detached, restart_policy, validate};
use crate::Engine;
use crate::engine::Inner;
use crate::store::Durability;

impl Engine {
    /// Changes what is given; zero and empty leave a setting as it is.
    ///
    /// # Errors
    /// A value out of range (400), one that contradicts a stored one (409).
    pub async fn update(&self, name: &str, body: UpdateRequest) -> Result<UpdateResponse> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        if !body.restart_policy.name.is_empty() {
            validate::check_restart_policy(&body.restart_policy)?;
        }
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        validate::check_resources(
            &unlimited_swap(&body.resources),
            i64::try_from(cpus).unwrap_or(1),
        )?;
        detached(async move {
            let _guard = container.transition.lock().await;
            container.check_present()?;
            let failed = || format!("Cannot update container {}", container.id);
            let before = container.snapshot();
            let mut next = before.host_config.clone();
            merge(&mut next, &body).context(failed)?;
            if before.record.state.has_process() {
                set_limits(&inner, &before, &next.resources).await.context(failed)?;
            }
            if next.restart_policy != before.host_config.restart_policy
                && let Ok(monitor) = container.monitor()
            {
                let policy = restart_policy::task_policy(&next.restart_policy);
                monitor.request(Request::SetRestartPolicy(policy), None).await.context(failed)?;
            }
            container.change(|snapshot| snapshot.host_config = next);
            let saved = Arc::clone(&container);
            blocking(move || saved.save_host_config(Durability::Durable)).await?;
            inner.publish(&container.snapshot(), "update", &[]);
            Ok(UpdateResponse { warnings: None })
        })
        .await
    }
}

/// In the kernel; where systemd made the cgroup, it has to know, or it would undo them.
async fn set_limits(inner: &Arc<Inner>, container: &Snapshot, resources: &Resources) -> Result<()> {
    let built_in = !inner.config.runtimes.contains_key(&container.host_config.runtime);
    if inner.config.systemd_cgroups && built_in {
        let resources = crate::spec::limits(resources)?.to_string();
        let (inner, id) = (Arc::clone(inner), container.record.id.clone());
        return blocking(move || update_by_runtime(&inner, &id, &resources)).await;
    }
    let cgroup = inner.cgroup(container)?;
    let limits = limits(resources);
    blocking(move || cgroup.apply(&limits).context(|| "set limits")).await
}

/// The shim under the runtime's name tells both.
fn update_by_runtime(inner: &Inner, id: &ContainerId, resources: &str) -> Result<()> {
    let mut command = Command::new(&inner.config.shim);
    command.arg0("davit-runc").arg("--root").arg(inner.config.exec_root.join("runtime"));
    command.args(["update", "--resources", "-", &id.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = || -> std::io::Result<std::process::Output> {
        let mut child = command.spawn()?;
        // Gone when the block ends: that is the end of its input.
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(resources.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().context(|| "run the runtime's update")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::internal(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// A swap limit without a memory limit is fine here: the stored one counts.
fn unlimited_swap(resources: &Resources) -> Resources {
    let mut resources = resources.clone();
    if resources.memory == 0 {
        resources.memory_swap = 0;
    }
    resources
}

/// Puts what is given over what is stored.
fn merge(host_config: &mut HostConfig, body: &UpdateRequest) -> Result<()> {
    let given = &body.resources;
    let stored = &mut host_config.resources;
    let conflict = |message: &str| Err(Error::conflict(message));
    if given.nano_cpus > 0 && (stored.cpu_period > 0 || stored.cpu_quota > 0) {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period or Quota has already \
             been set",
        );
    }
    if (given.cpu_period > 0 || given.cpu_quota > 0) && stored.nano_cpus > 0 {
        return conflict(
            "Conflicting options: CPU Period and Quota cannot be updated as NanoCPUs has already \
             been set",
        );
    }
    if given.memory != 0
        && given.memory > stored.memory_swap
        && stored.memory_swap > 0
        && given.memory_swap == 0
    {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the \
             memoryswap at the same time",
        );
    }
    for (to, from) in [
        (&mut stored.memory, given.memory),
        (&mut stored.memory_swap, given.memory_swap),
        (&mut stored.memory_reservation, given.memory_reservation),
        (&mut stored.nano_cpus, given.nano_cpus),
        (&mut stored.cpu_shares, given.cpu_shares),
        (&mut stored.cpu_period, given.cpu_period),
        (&mut stored.cpu_quota, given.cpu_quota),
        (&mut stored.cpu_realtime_period, given.cpu_realtime_period),
        (&mut stored.cpu_realtime_runtime, given.cpu_realtime_runtime),
    ] {
        if from != 0 {
            *to = from;
        }
    }
    if given.blkio_weight != 0 {
        stored.blkio_weight = given.blkio_weight;
    }
    for (to, from) in [
        (&mut stored.cpuset_cpus, &given.cpuset_cpus),
        (&mut stored.cpuset_mems, &given.cpuset_mems),
    ] {
        if !from.is_empty() {
            to.clone_from(from);
        }
    }
    if given.pids_limit.is_some() {
        stored.pids_limit = given.pids_limit;
    }
    if !body.restart_policy.name.is_empty() {
        if host_config.auto_remove && body.restart_policy.name != "no" {
            return conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            );
        }
        host_config.restart_policy = body.restart_policy.clone();
    }
    Ok(())
}

/// The limits in the cgroup's words.
fn limits(resources: &Resources) -> Limits {
    let set = |value: i64| (value != 0).then_some(value);
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value != 0);
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    let (quota, period) = match resources.nano_cpus {
        0 => (set(resources.cpu_quota), unsigned(resources.cpu_period)),
        nano => (Some(nano / 10_000), Some(100_000)),
    };
    Limits {
        memory: set(resources.memory),
        memory_reservation: set(resources.memory_reservation),
        memory_swap: set(resources.memory_swap),
        swappiness: resources.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        cpu_shares: unsigned(resources.cpu_shares),
        cpu_quota: quota,
        cpu_period: period,
        cpuset_cpus: text(&resources.cpuset_cpus),
        cpuset_mems: text(&resources.cpuset_mems),
        pids: resources.pids_limit.map(|limit| if limit <= 0 { -1 } else { limit }),
        blkio_weight: (resources.blkio_weight != 0).then_some(resources.blkio_weight),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use davit_api::container::RestartPolicy;
    use davit_types::Kind;

    use super::*;

    #[test]
    fn stored_values_restrict_what_can_be_given() {
        let mut host_config = HostConfig::default();
        (host_config.resources.memory, host_config.resources.memory_swap) = (8 << 20, 16 << 20);
        let mut body = UpdateRequest::default();
        body.resources.memory = 32 << 20;
        let error = merge(&mut host_config, &body).expect_err("above the swap limit");
        assert_eq!(error.kind(), Kind::Conflict);
        body.resources.memory_swap = 64 << 20;
        merge(&mut host_config, &body).expect("both at once");
        assert_eq!(host_config.resources.memory, 32 << 20);

        host_config.auto_remove = true;
        body.restart_policy = RestartPolicy { name: "always".into(), maximum_retry_count: 0 };
        assert_eq!(
            merge(&mut host_config, &body).expect_err("auto-remove").to_string(),
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        );
    }
}
