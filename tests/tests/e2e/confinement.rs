//! What a container may not do: capabilities, system calls, kernel files, devices.

use std::fs;

use anyhow::{Context, Result, ensure};
use davit_testkit::Engine;
use davit_testkit::images::BUSYBOX;

use crate::setup::{Setup, plan};

#[test]
fn capabilities_and_seccomp_are_dockers() -> Result<()> {
    plan("capabilities_and_seccomp_are_dockers", &[BUSYBOX]).run(|setup| {
        let status = |flags: &str, field: &str| {
            setup.shell(flags, &format!("sed -n 's/^{field}:[[:space:]]*//p' /proc/self/status"))
        };
        ensure!(status("", "CapEff")? == "00000000a80425fb");
        ensure!(status("", "CapBnd")? == "00000000a80425fb");
        ensure!(status("", "CapInh")? == "0000000000000000");
        ensure!(status("", "CapAmb")? == "0000000000000000");
        ensure!(status("--cap-drop ALL", "CapEff")? == "0000000000000000");
        ensure!(status("--cap-drop ALL --cap-add NET_ADMIN", "CapEff")? == "0000000000001000");
        ensure!(status("-u 1000", "CapEff")? == "0000000000000000");
        ensure!(status("-u 1000", "CapBnd")? == "00000000a80425fb");

        ensure!(status("", "Seccomp")? == "2");
        ensure!(status("--security-opt seccomp=unconfined", "Seccomp")? == "0");
        ensure!(status("", "NoNewPrivs")? == "0");
        ensure!(status("--security-opt no-new-privileges", "NoNewPrivs")? == "1");
        // Without CAP_SYS_ADMIN the filter refuses a new user namespace, which the kernel would allow.
        let words = ["run", "--rm", "busybox", "unshare", "-U", "true"];
        let refused = setup.daemon.davit(&words)?;
        ensure!(
            refused.code != 0 && refused.stderr.contains("Operation not permitted"),
            "{refused:?}"
        );
        if can_be_privileged(setup)? {
            ensure!(status("--privileged", "Seccomp")? == "0");
            ensure!(status("--privileged", "CapEff")? == own_bounding_set()?, "all there are");
        }
        Ok(())
    })
}

#[test]
fn kernel_files_are_masked_or_read_only() -> Result<()> {
    plan("kernel_files_are_masked_or_read_only", &[BUSYBOX]).run(|setup| {
        let script = "
            for f in /proc/kcore /proc/keys /proc/timer_list; do
                [ ! -e $f ] || [ \"$(head -c1 $f | wc -c)\" = 0 ] || echo $f is readable
            done
            for d in /proc/scsi /proc/acpi /sys/firmware; do
                [ ! -e $d ] || [ -z \"$(ls -A $d)\" ] || echo $d is not empty
            done
            for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/x; do
                ( echo x > $f ) 2>/dev/null && echo $f is writable
            done
            mount -t tmpfs none /home 2>/dev/null && echo mount works
            true";
        let found = setup.shell("", script)?;
        ensure!(found.is_empty(), "{found}");
        let proc_sys = "grep -c ' /proc/sys .*ro' /proc/self/mounts";
        ensure!(setup.shell("", proc_sys)? == "1");
        if can_be_privileged(setup)? {
            let mount = "mount -t tmpfs none /home && echo mounted";
            ensure!(setup.shell("--privileged", mount)? == "mounted");
        }
        Ok(())
    })
}

#[test]
fn devices_and_namespaces_are_its_own() -> Result<()> {
    plan("devices_and_namespaces_are_its_own", &[BUSYBOX]).run(|setup| {
        let devices = setup.shell("", "ls /dev")?;
        // /dev/core leads to /proc/kcore, which not every kernel has.
        let devices = devices.split_whitespace().filter(|name| *name != "core");
        let devices: Vec<&str> = devices.collect();
        let wanted = [
            "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
            "stdout", "tty", "urandom", "zero",
        ];
        ensure!(devices == wanted, "{devices:?}");
        let block = "mknod /tmp/sda b 8 0 && (dd if=/tmp/sda of=/dev/null count=1 2>&1 || true)";
        let denied = setup.shell("", block)?;
        ensure!(denied.contains("Operation not permitted"), "device cgroup: {denied}");
        ensure!(
            setup.shell("--device /dev/zero:/dev/nought", "head -c3 /dev/nought | wc -c")? == "3"
        );

        ensure!(
            setup.shell("", "echo $$; ps > /tmp/ps; wc -l < /tmp/ps")? == "1\n3",
            "itself, ps and the headline"
        );
        setup.ok("run -d --name box busybox sleep 1000")?;
        let pid = setup.ok("inspect -f {{.State.Pid}} box")?;
        let proc_dir = setup.daemon.sandbox().proc_dir();
        for namespace in ["pid", "net", "mnt", "uts", "ipc"] {
            let of = |pid: &str| fs::read_link(proc_dir.join(pid).join("ns").join(namespace));
            ensure!(of(&pid)? != of("1")?, "{namespace} is the host's");
        }
        Ok(())
    })
}

#[test]
fn mount_and_kernel_options_are_applied() -> Result<()> {
    plan("mount_and_kernel_options_are_applied", &[BUSYBOX]).run(|setup| {
        let script = "touch /x 2>&1; touch /tmp/t && echo tmp works";
        let output = setup.shell("--read-only --tmpfs /tmp", script)?;
        ensure!(
            output.contains("Read-only file system") && output.contains("tmp works"),
            "{output}"
        );
        let tmpfs = setup.shell("--tmpfs /t:size=1m,mode=700", "grep ' /t ' /proc/mounts")?;
        for word in ["size=1024k", "mode=700", "noexec", "nosuid", "nodev"] {
            ensure!(tmpfs.contains(word), "{word}: {tmpfs}");
        }
        let shm = setup.shell("--shm-size 8m", "df -k /dev/shm | tail -1")?;
        ensure!(shm.contains("8192"), "{shm}");
        ensure!(setup.shell("--ulimit nofile=123:456", "ulimit -n; ulimit -Hn")? == "123\n456");
        let sysctl = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
        ensure!(setup.shell("", sysctl)? == "0");
        let flags = "--sysctl net.ipv4.ip_unprivileged_port_start=500";
        ensure!(setup.shell(flags, sysctl)? == "500");
        ensure!(setup.shell("--pid host", "ps | grep -c docker-registry")? != "0");
        ensure!(setup.shell("--oom-score-adj 100", "cat /proc/self/oom_score_adj")? == "100");
        Ok(())
    })
}

/// Docker 20's runtime refuses a privileged container where capabilities are missing from its own
/// bounding set; the others give it what there is.
fn can_be_privileged(setup: &Setup) -> Result<bool> {
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap")?.trim().parse()?;
    let all = format!("{:016x}", (1u64 << (last + 1)) - 1);
    Ok(setup.daemon.engine() == Engine::Davit || own_bounding_set()? == all)
}

fn own_bounding_set() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    Ok(line.context("no CapBnd")?.trim().to_owned())
}
