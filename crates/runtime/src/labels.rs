//! AppArmor profile and SELinux labels, on kernels that have them.

use std::fs;
use std::io;

use crate::Failure;
use crate::failure::{Step, text};
use crate::plan::ProcessPlan;
use crate::procfs::Procfs;

const SHARED: &str = "thread-self/attr/exec";

/// Refuses what the kernel can't do, before there is a process.
pub(crate) fn check(process: &ProcessPlan, mount_label: Option<&str>) -> Result<(), Failure> {
    if process.apparmor_profile.is_some() && !has_apparmor() {
        let message = "apparmor: config provided but apparmor not supported";
        return Err(text("config", "process.apparmorProfile", message));
    }
    let object = match (&process.selinux_label, mount_label) {
        (Some(_), _) => "process.selinuxLabel",
        (None, Some(_)) => "linux.mountLabel",
        (None, None) => return Ok(()),
    };
    if has_selinux() {
        return Ok(());
    }
    let message = "selinux label is specified in config, but selinux is disabled or not supported";
    Err(text("config", object, format!("{object}: {message}")))
}

/// Makes the labels those of the next program that this process executes. Before the container's root
/// is entered: `/proc` must be the host's.
pub(crate) fn apply(process: &ProcessPlan) -> Result<(), Failure> {
    if let Some(profile) = &process.apparmor_profile {
        const OWN: &str = "thread-self/attr/apparmor/exec";
        let label = format!("exec {profile}");
        let procfs = Procfs::open()?;
        let written = match procfs.write(OWN, label.as_bytes()) {
            // Before Linux 5.8 there was one directory for all kinds of labels.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                procfs.write(SHARED, label.as_bytes())
            }
            other => other,
        };
        written.step("apply apparmor profile", profile)?;
    }
    if let Some(label) = &process.selinux_label {
        let written = Procfs::open()?.write(SHARED, label.as_bytes());
        written.step("apply selinux label", label)?;
    }
    Ok(())
}

fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with('Y'))
}

fn has_selinux() -> bool {
    const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
    rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|stat| stat.f_type == SELINUX_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_types::oci::runtime::Process;
    use serde_json::json;

    #[test]
    fn labels_are_refused_where_the_kernel_has_none() {
        let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/",
            "apparmorProfile": "docker-default", "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0"});
        let process: Process = serde_json::from_value(process).expect("a process");
        let mut plan = ProcessPlan::new(&process).expect("a plan");
        if !has_apparmor() {
            let failure = check(&plan, None).expect_err("no apparmor");
            assert!(failure.message.contains("apparmor not supported"));
        }
        plan.apparmor_profile = None;
        if !has_selinux() {
            let failure = check(&plan, None).expect_err("no selinux");
            assert!(
                failure.message.starts_with("process.selinuxLabel: selinux label is specified")
            );
            plan.selinux_label = None;
            let failure = check(&plan, Some("x")).expect_err("no selinux");
            assert!(failure.message.starts_with("linux.mountLabel: "));
        }
        plan.selinux_label = None;
        check(&plan, None).expect("nothing asked for");
    }
}
