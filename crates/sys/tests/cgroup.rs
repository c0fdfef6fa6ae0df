//! Limits as the kernel takes them and keeps to them, on whichever version of cgroups is here.
//!
//! Each test has a cgroup of its own, which is gone with it.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use davit_sys::cgroup::{
    Access, Cgroup, DeviceKind, DeviceRule, FileError, Layout, Limits, OomWatch, Throttle,
};
use davit_testkit::requirements::{self, Need};
use davit_testkit::wait::until_true;

const MIB: i64 = 1 << 20;
const LONG: Duration = Duration::from_secs(60);

/// Controller, file, content.
type Wanted<'a> = (&'a str, &'a str, &'a str);

/// A cgroup for a test below one that only belongs to it.
struct Own {
    parent: Cgroup,
    cgroup: Cgroup,
}

impl Own {
    /// `None`: it can't be made here, and that has been said.
    fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !requirements::met(test, &[Need::Root, Need::Cgroups, Need::Program("busybox")]) {
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("/davit-test-sys-{}-{number}", std::process::id());
        let layout = Layout::detect().expect("cgroups");
        let open = |path: &str| Cgroup::open(&layout, path).expect("a path");
        let own = Self { parent: open(&name), cgroup: open(&format!("{name}/c")) };
        own.cgroup.create().expect("created");
        Some(own)
    }

    /// A shell that runs `script` as soon as it is in the cgroup.
    fn run(&self, script: &str) -> Child {
        let mut child = Command::new("busybox")
            .args(["sh", "-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("busybox");
        self.cgroup.add(i32::try_from(child.id()).expect("a pid")).expect("moved");
        child.stdin.take().expect("a pipe").write_all(b"go\n").expect("written");
        child
    }

    /// Sets `limits` and reads files, those of version 1 or those of version 2.
    fn check(&self, limits: &Limits, v1: &[Wanted<'_>], v2: &[Wanted<'_>]) {
        self.cgroup.apply(limits).unwrap_or_else(|error| panic!("{limits:?}: {error}"));
        for (controller, file, wanted) in if self.cgroup.is_v2() { v2 } else { v1 } {
            let Some(dir) = self.cgroup.directory(controller) else { continue };
            let path = dir.join(file);
            let text = fs::read_to_string(&path);
            let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(text.trim(), *wanted, "{file}");
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let removed = self.parent.kill_all().and_then(|()| self.parent.remove());
        if !std::thread::panicking() {
            removed.expect("removed");
            assert!(!self.parent.exists(), "a cgroup is left");
        }
    }
}

#[test]
fn memory_limits_are_raised_and_lowered() {
    let Some(own) = Own::new("memory_limits_are_raised_and_lowered") else { return };
    for (memory, both) in [(64 * MIB, 128 * MIB), (256 * MIB, 512 * MIB), (32 * MIB, 48 * MIB)] {
        let limits = Limits { memory: Some(memory), memory_swap: Some(both), ..Limits::default() };
        let (text, sum, swap) = (memory.to_string(), both.to_string(), (both - memory).to_string());
        own.check(
            &limits,
            &[
                ("memory", "memory.limit_in_bytes", &text),
                ("memory", "memory.memsw.limit_in_bytes", &sum),
            ],
            &[("memory", "memory.max", &text), ("memory", "memory.swap.max", &swap)],
        );
    }
    let unlimited = Limits { memory: Some(-1), memory_swap: Some(-1), ..Limits::default() };
    own.cgroup.apply(&unlimited).expect("lifted");
    assert_eq!(own.cgroup.stats().expect("counters").memory.limit, u64::MAX);
}

#[test]
fn quota_and_period_stay_within_those_of_the_cgroup_above() {
    let test = "quota_and_period_stay_within_those_of_the_cgroup_above";
    let Some(own) = Own::new(test) else { return };
    let limits = |quota, period| Limits {
        cpu_quota: Some(quota),
        cpu_period: Some(period),
        ..Limits::default()
    };
    own.parent.apply(&limits(50_000, 100_000)).expect("half a processor");
    let steps = [(50_000, 100_000), (10_000, 20_000), (25_000, 50_000), (40_000, 100_000)];
    for (quota, period) in steps {
        let wanted = limits(quota, period);
        let (quota, period) = (quota.to_string(), period.to_string());
        own.check(
            &wanted,
            &[("cpu", "cpu.cfs_quota_us", &quota), ("cpu", "cpu.cfs_period_us", &period)],
            &[("cpu", "cpu.max", &format!("{quota} {period}"))],
        );
    }
    let shares = Limits { cpu_shares: Some(512), ..Limits::default() };
    own.check(&shares, &[("cpu", "cpu.shares", "512")], &[("cpu", "cpu.weight", "59")]);
}

#[test]
fn processors_tasks_and_reservation_are_set() {
    let Some(own) = Own::new("processors_tasks_and_reservation_are_set") else { return };
    let limits = Limits {
        cpuset_cpus: Some("0".to_owned()),
        cpuset_mems: Some("0".to_owned()),
        pids: Some(77),
        memory_reservation: Some(8 * MIB),
        ..Limits::default()
    };
    let reservation = (8 * MIB).to_string();
    let both = [
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "77"),
    ];
    own.check(&limits, &both, &both);
    own.check(
        &limits,
        &[("memory", "memory.soft_limit_in_bytes", &reservation)],
        &[("memory", "memory.low", &reservation)],
    );
    let unlimited = Limits { pids: Some(-1), ..Limits::default() };
    own.check(&unlimited, &[("pids", "pids.max", "max")], &[("pids", "pids.max", "max")]);
}

#[test]
fn a_burst_follows_the_quota_up_and_down() {
    let Some(own) = Own::new("a_burst_follows_the_quota_up_and_down") else { return };
    let file = if own.cgroup.is_v2() { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
    if !own.cgroup.directory("cpu").is_some_and(|dir| dir.join(file).exists()) {
        return; // Linux 5.14 has it.
    }
    for (quota, burst) in [(50_000, 40_000), (20_000, 10_000), (90_000, 80_000)] {
        let limits = Limits {
            cpu_quota: Some(quota),
            cpu_period: Some(100_000),
            cpu_burst: Some(burst),
            ..Limits::default()
        };
        let wanted = [("cpu", file, &*burst.to_string())];
        own.check(&limits, &wanted, &wanted);
    }
}

#[test]
fn a_disk_is_throttled() {
    let Some(own) = Own::new("a_disk_is_throttled") else { return };
    let disks = fs::read_dir("/sys/block").expect("block devices").flatten();
    let mut numbers = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
    let Some(number) = numbers.next() else { return };
    let number = number.trim();
    let (major, minor) = number.split_once(':').expect("a device number");
    let (major, minor) = (major.parse().expect("major"), minor.parse().expect("minor"));
    let throttle = |rate| vec![Throttle { major, minor, rate }];
    let limits =
        Limits { read_bps: throttle(1 << 20), write_iops: throttle(100), ..Limits::default() };
    own.check(
        &limits,
        &[
            ("blkio", "blkio.throttle.read_bps_device", &format!("{number} 1048576")),
            ("blkio", "blkio.throttle.write_iops_device", &format!("{number} 100")),
        ],
        &[("io", "io.max", &format!("{number} rbps=1048576 wbps=max riops=max wiops=100"))],
    );
}

#[test]
fn a_refused_limit_names_file_value_and_error() {
    let Some(own) = Own::new("a_refused_limit_names_file_value_and_error") else { return };
    let limits = Limits { cpuset_cpus: Some("70000".to_owned()), ..Limits::default() };
    let error = own.cgroup.apply(&limits).expect_err("no such processor");
    let file = FileError::of(&error).expect("about a file");
    assert!(file.path.ends_with("c/cpuset.cpus"), "{error}");
    assert!(file.operation.contains("70000") && file.errno != 0, "{error}");
    if own.cgroup.is_v2() {
        let unified = vec![("memory.nonsense".to_owned(), "1".to_owned())];
        let error = own.cgroup.apply(&Limits { unified, ..Limits::default() });
        let error = error.expect_err("no such file").to_string();
        assert!(error.contains("memory.nonsense: No such file or directory"), "{error}");
    }
}

#[test]
fn the_number_of_tasks_is_limited() {
    let Some(own) = Own::new("the_number_of_tasks_is_limited") else { return };
    own.cgroup.apply(&Limits { pids: Some(2), ..Limits::default() }).expect("set");
    let child = own.run("busybox sleep 1000 & busybox sleep 1000 & wait");
    until_true(LONG, "the second fork to fail", || Ok(own.cgroup.stats()?.pids.current == 2))
        .expect("two tasks");
    assert_eq!(own.cgroup.stats().expect("counters").pids.limit, Some(2));
    own.cgroup.kill_all().expect("killed");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("can't fork"), "{stderr}");
}

#[test]
fn a_quota_throttles() {
    let Some(own) = Own::new("a_quota_throttles") else { return };
    let quota = Limits { cpu_quota: Some(2_000), cpu_period: Some(10_000), ..Limits::default() };
    own.cgroup.apply(&quota).expect("set");
    let mut child = own.run("while :; do :; done");
    until_true(LONG, "a throttled period", || {
        let cpu = own.cgroup.stats()?.cpu;
        Ok(cpu.throttled_periods > 0 && cpu.throttled_time > 0 && cpu.usage > 0)
    })
    .expect("throttled");
    own.cgroup.kill_all().expect("killed");
    child.wait().expect("it ends");
}

#[test]
fn an_oom_kill_is_noticed() {
    let Some(own) = Own::new("an_oom_kill_is_noticed") else { return };
    let limits =
        Limits { memory: Some(16 * MIB), memory_swap: Some(16 * MIB), ..Limits::default() };
    own.cgroup.apply(&limits).expect("set");
    let mut watch = OomWatch::new(&own.cgroup).expect("watched");
    let mut child = own.run("busybox tail /dev/zero");
    let mut kills = 0;
    until_true(LONG, "an OOM kill", || {
        kills += watch.wait(Duration::from_secs(1))?;
        Ok(kills > 0)
    })
    .expect("noticed");
    child.wait().expect("it ends");
    let memory = own.cgroup.stats().expect("counters").memory;
    assert!(memory.oom_kills >= 1, "{memory:?}");
    assert!(memory.stat.contains_key(if own.cgroup.is_v2() { "anon" } else { "rss" }));
}

#[test]
fn one_oom_kill_takes_the_whole_group_if_asked_for() {
    let test = "one_oom_kill_takes_the_whole_group_if_asked_for";
    let Some(own) = Own::new(test) else { return };
    let unified = vec![("memory.oom.group".to_owned(), "1".to_owned())];
    let memory = Some(16 * MIB);
    let limits = Limits { memory, memory_swap: memory, unified, ..Limits::default() };
    if !own.cgroup.is_v2() {
        let error = own.cgroup.apply(&limits).expect_err("only version 2 can");
        assert!(error.to_string().contains("cannot use unified on cgroup v1"), "{error}");
        return;
    }
    own.cgroup.apply(&limits).expect("set");
    let mut bystander = own.run("exec busybox sleep 1000");
    let mut child = own.run("exec busybox tail /dev/zero");
    child.wait().expect("it ends");
    bystander.wait().expect("it ends, too");
    assert!(own.cgroup.oom_kills().expect("a count") >= 2);
}

#[test]
fn a_frozen_cgroup_rests_and_can_be_killed() {
    let Some(own) = Own::new("a_frozen_cgroup_rests_and_can_be_killed") else { return };
    let mut child = own.run("while :; do busybox true; done");
    own.cgroup.freeze().expect("frozen");
    assert!(own.cgroup.is_frozen().expect("a state"));
    let usage = || own.cgroup.stats().expect("counters").cpu.usage;
    let before = usage();
    own.cgroup.thaw().expect("thawed");
    until_true(LONG, "it to run on", || Ok(usage() > before)).expect("running");
    own.cgroup.freeze().expect("frozen again");
    own.cgroup.kill_all().expect("killed");
    child.wait().expect("it ends");
    until_true(LONG, "an empty cgroup", || Ok(own.cgroup.procs()?.is_empty())).expect("empty");
}

#[test]
fn device_rules_are_obeyed_and_replaced() {
    let Some(own) = Own::new("device_rules_are_obeyed_and_replaced") else { return };
    let all = DeviceRule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        access: Access::ALL,
    };
    let char = |minor| DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(minor),
        ..all
    };
    let readable = |path: &str| {
        let child = own.run(&format!("exec busybox head -c1 {path}"));
        child.wait_with_output().expect("it ends").stdout.len() == 1
    };
    own.cgroup.apply_devices(&[all, char(3), char(5)]).expect("applied");
    assert!(readable("/dev/zero") && !readable("/dev/urandom"));
    own.cgroup.apply_devices(&[all, char(3), char(9)]).expect("applied again");
    assert!(!readable("/dev/zero") && readable("/dev/urandom"));
}

#[test]
fn a_cgroup_is_found_again_by_its_paths() {
    let Some(own) = Own::new("a_cgroup_is_found_again_by_its_paths") else { return };
    let layout = Layout::detect().expect("cgroups");
    assert_eq!(Cgroup::from_paths(&layout, &own.cgroup.paths()), own.cgroup);
    let mut child = own.run("exec busybox sleep 1000");
    let pid = i32::try_from(child.id()).expect("a pid");
    let of_process = Cgroup::of_process(&layout, pid).expect("its cgroup");
    assert_eq!(of_process.paths(), own.cgroup.paths());
    own.cgroup.kill_all().expect("killed");
    child.wait().expect("it ends");
    for path in ["", "/", "a/../b", ".."] {
        assert!(Cgroup::below_own(&layout, path).is_err(), "{path:?}");
    }
    let below = Cgroup::below_own(&layout, "pod/c").expect("a path");
    assert!(below.paths().values().all(|path| path.ends_with("pod/c")), "{below:?}");
    assert!(!below.exists());
}
