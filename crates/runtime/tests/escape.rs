//! Attacks that once led out of a container, each named after the bug. Needs root.
//!
//! Where the bug was a race, a second process exchanges two files all the time while containers are
//! made. How each round ends is up to chance; that nothing outside is touched is not.

mod support;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use davit_runtime::{Failure, Stdio};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags};
use serde_json::{Value, json};
use support::{Bundle, Output, Streams, process, sandboxed, wait};

const ROUNDS: u32 = 40;
const RACE: &str = "DAVIT_TEST_RACE";
const SPY: &str = "DAVIT_TEST_SPY";

/// A process that exchanges two files until it is dropped.
struct Racer(Child);

impl Racer {
    fn new(left: &Path, right: &Path) -> Self {
        let pair = format!("{}\n{}", left.display(), right.display());
        let child = Command::new(std::env::current_exe().expect("our own path"))
            .args(["--exact", "the_other_process_of_a_race", "--nocapture"])
            .env(RACE, pair)
            .stdout(std::process::Stdio::null())
            .spawn();
        Self(child.expect("started"))
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("reaped");
    }
}

#[test]
fn the_other_process_of_a_race() {
    let Ok(pair) = std::env::var(RACE) else { return };
    let (left, right) = pair.split_once('\n').expect("two paths");
    let starter = rustix::process::getppid();
    while rustix::process::getppid() == starter {
        for _ in 0..1000 {
            let flags = RenameFlags::EXCHANGE;
            let exchanged = rustix::fs::renameat_with(CWD, left, CWD, right, flags);
            if exchanged.is_err() {
                return;
            }
        }
    }
}

fn add_mount(spec: &mut Value, mount: Value) {
    spec["mounts"].as_array_mut().expect("mounts").push(mount);
}

fn drop_mount(spec: &mut Value, destination: &str) {
    let mounts = spec["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| !mount["destination"].as_str().expect("a path").starts_with(destination));
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).expect("readable").next().is_none()
}

/// A directory that is nobody's in the container, and a way to it from any directory of the root.
fn outside(bundle: &Bundle) -> PathBuf {
    let outside = bundle.dir.join("outside");
    fs::create_dir(&outside).expect("a directory");
    outside
}

fn refused(result: Result<Output, Failure>, expected: &str) {
    let failure = result.expect_err(expected);
    assert!(failure.message.contains(expected), "{failure}");
}

/// Runs in a container: looks through `/proc` for ways to a file that is the host's.
#[test]
fn the_spy_in_a_container() {
    let Ok(marker) = std::env::var(SPY) else { return };
    fs::write("/tmp/ready", "").expect("a file");
    let up = "../".repeat(32);
    let leads_outside = |link: &Path| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(CWD, link, flags, Mode::empty()) else { return false };
        let cgroup = rustix::fs::fstatfs(&file)
            .is_ok_and(|stat| [0x27_e0eb, 0x6367_7270].contains(&stat.f_type));
        let path = format!("{up}{marker}");
        cgroup || rustix::fs::accessat(&file, &*path, Access::EXISTS, AtFlags::empty()).is_ok()
    };
    while !Path::new("/tmp/stop").exists() {
        for pid in 2..200 {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let mut links = vec![process.join("cwd"), process.join("root")];
            let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            links.extend(fds.map(|fd| fd.path()));
            for link in links {
                if leads_outside(&link) {
                    fs::write("/tmp/escaped", link.to_str().expect("a path")).expect("a file");
                    return;
                }
            }
        }
    }
}

#[test]
fn an_exec_is_not_seen_before_it_is_inside() {
    sandboxed("an_exec_is_not_seen_before_it_is_inside", || {
        let bundle = Bundle::new();
        let marker = outside(&bundle).join("marker");
        fs::write(&marker, "").expect("a file");
        let rootfs = bundle.dir.join("rootfs");
        fs::copy(std::env::current_exe().expect("our own path"), rootfs.join("bin/spy"))
            .expect("copied");
        let args = ["spy", "--exact", "the_spy_in_a_container", "--test-threads=1"];
        let mut spec = bundle.spec(&args);
        for library in ["/lib", "/lib64", "/usr/lib"].iter().filter(|dir| Path::new(dir).exists()) {
            add_mount(
                &mut spec,
                json!({"destination": library, "type": "bind", "source": library,
                       "options": ["rbind", "ro"]}),
            );
        }
        let variable =
            format!("{SPY}={}", marker.to_str().expect("a path").trim_start_matches('/'));
        spec["process"]["env"].as_array_mut().expect("a list").push(json!(variable));
        for set in ["bounding", "effective", "permitted"] {
            let set = spec["process"]["capabilities"][set].as_array_mut().expect("a set");
            set.push(json!("CAP_SYS_PTRACE"));
        }
        let streams = Streams::new();
        let created = bundle.create(spec, streams.stdio).expect("created");
        created.start.start().expect("started");
        let mut rounds_left = 12_000;
        while !rootfs.join("tmp/ready").exists() {
            assert!(rounds_left > 0, "the spy doesn't come");
            rounds_left -= 1;
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for _ in 0..ROUNDS {
            let escaped = fs::read_to_string(rootfs.join("tmp/escaped")).unwrap_or_default();
            assert_eq!(escaped, "", "this led outside");
            assert_eq!(bundle.run_exec(process(&["true"])).expect("it runs").code, 0);
        }
        fs::write(rootfs.join("tmp/stop"), "").expect("a file");
        assert_eq!(wait(&created), 0);
        assert!(!rootfs.join("tmp/escaped").exists(), "the last one led outside");
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

#[test]
fn cve_2019_5736_the_runtime_is_not_run_inside() {
    sandboxed("cve_2019_5736_the_runtime_is_not_run_inside", || {
        let bundle = Bundle::new();
        let refusal = "permission denied (it is the container runtime's own program)";
        refused(bundle.run(bundle.spec(&["/proc/self/exe"])), refusal);
        symlink("/proc/self/exe", bundle.dir.join("rootfs/bin/itself")).expect("a link");
        refused(bundle.run(bundle.spec(&["itself"])), refusal);
        for (name, interpreter) in
            [("one", "/proc/self/exe"), ("two", "/bin/itself"), ("three", "/bin/two")]
        {
            let path = bundle.dir.join("rootfs/bin").join(name);
            fs::write(&path, format!("#!{interpreter} -x\n")).expect("a script");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a mode");
            let refusal = "is the container runtime's own program)";
            refused(bundle.run(bundle.spec(&[name])), refusal);
        }
        bundle.assert_nothing_left();

        let streams = Streams::new();
        let spec = bundle.spec(&["sleep", "1000"]);
        let created = bundle.create(spec, streams.stdio).expect("created");
        created.start.start().expect("started");
        refused(bundle.run_exec(process(&["/proc/self/exe"])), refusal);
        refused(bundle.run_exec(process(&["itself"])), refusal);

        // One that waits to be started is the runtime still: nobody inside may look into it.
        let waiting = Streams::new();
        let waits = bundle.exec(process(&["true"]), waiting.stdio).expect("created");
        let script = "for p in /proc/[0-9]*; do \
                      readlink $p/exe || readlink $p/fd/1 || echo denied; done";
        let mut looks = process(&["sh", "-c", script]);
        looks["capabilities"] = bundle.spec(&[])["process"]["capabilities"].clone();
        let output = bundle.run_exec(looks).expect("it runs");
        let lines: Vec<&str> = output.stdout.lines().collect();
        // The sleeper, the one that waits, the shell and the readlink that looks.
        assert_eq!(lines.iter().filter(|line| **line == "denied").count(), 1, "{output:?}");
        let others = lines.iter().filter(|line| **line != "denied");
        assert!(others.clone().all(|line| *line == "/bin/busybox"), "{output:?}");
        drop(waits.start);
        wait_for(&waits.pidfd);
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        assert_eq!(wait(&created), 137);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

fn wait_for(pidfd: &std::os::fd::OwnedFd) {
    use rustix::process::{WaitId, WaitIdOptions};
    let id = WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd));
    rustix::process::waitid(id, WaitIdOptions::EXITED).expect("reaped");
}

#[test]
fn cve_2019_16884_what_is_bound_on_proc_is_one() {
    sandboxed("cve_2019_16884_what_is_bound_on_proc_is_one", || {
        let bundle = Bundle::new();
        fs::create_dir_all(bundle.dir.join("fake/self/attr")).expect("a directory");
        let mut spec = bundle.spec(&["true"]);
        drop_mount(&mut spec, "/proc");
        let fake = json!({"destination": "/proc", "source": "fake", "options": ["rbind"]});
        add_mount(&mut spec, fake);
        refused(bundle.run(spec), "\"/proc\" cannot be mounted because it is not of type proc");
        bundle.assert_nothing_left();

        let mut spec = bundle.spec(&["cat", "/proc/self/comm"]);
        drop_mount(&mut spec, "/proc");
        spec["linux"]["namespaces"].as_array_mut().expect("a list").retain(|n| n["type"] != "pid");
        let host = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
        spec["mounts"].as_array_mut().expect("mounts").insert(0, host);
        assert_eq!(bundle.run(spec).expect("the host's is fine").stdout, "cat\n");
        bundle.assert_nothing_left();
    });
}

/// CVE-2019-19921 was the same with a link that stays.
#[test]
fn cve_2023_27561_proc_and_sys_are_not_links() {
    sandboxed("cve_2023_27561_proc_and_sys_are_not_links", || {
        let bundle = Bundle::new();
        let rootfs = bundle.dir.join("rootfs");
        for name in ["proc", "sys"] {
            let link = rootfs.join(format!("{name}-link"));
            fs::create_dir(rootfs.join(format!("elsewhere-{name}"))).expect("a directory");
            symlink(format!("elsewhere-{name}"), &link).expect("a link");
            let swap = || {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, rootfs.join(name), CWD, &link, flags)
                    .expect("exchanged");
            };
            swap();
            let expected = format!("\"/{name}\" must be mounted on ordinary directory");
            refused(bundle.run(bundle.spec(&["true"])), &expected);
            let mut deeper = bundle.spec(&["true"]);
            drop_mount(&mut deeper, &format!("/{name}"));
            let below = if name == "proc" { "/proc/meminfo" } else { "/sys/x" };
            fs::write(bundle.dir.join("file"), "").expect("a file");
            add_mount(
                &mut deeper,
                json!({"destination": below, "source": "file", "options": ["bind"]}),
            );
            refused(bundle.run(deeper), "must be mounted on ordinary directory");
            swap();

            let racer = Racer::new(&rootfs.join(name), &link);
            // Whoever may rename the root's directories may do so at any time. But wherever the
            // kernel's file systems are seen, they are masked and read-only.
            let script = format!(
                "for d in /{name} /{name}-link; do cd -P $d; \
                 case $(stat -f -c %t .) in \
                 9fa0) stat -c %t:%T keys; cat keys; (: > sys/kernel/core_pattern) 2>&1 | cut -d: -f3-;; \
                 62656572) ls firmware; (: > x) 2>&1 | cut -d: -f3-; echo sys;; \
                 esac; done"
            );
            let expected = match name {
                "proc" => "1:3\n Read-only file system\n",
                _ => " Read-only file system\nsys\n",
            };
            let mut made = 0;
            for _ in 0..ROUNDS {
                let Ok(output) = bundle.run(bundle.spec(&["sh", "-c", &script])) else { continue };
                let rest = output.stdout.replace(expected, "");
                assert_eq!(rest, "", "{output:?}");
                made += u32::from(!output.stdout.is_empty());
            }
            assert!(made > 0, "no round was any good");
            drop(racer);
            bundle.assert_nothing_left();
            if rootfs.join(name).is_symlink() {
                swap();
            }
        }
    });
}

#[test]
fn cve_2021_30465_a_racing_link_in_a_volume_leads_no_mount_outside() {
    sandboxed("cve_2021_30465_a_racing_link_in_a_volume_leads_no_mount_outside", || {
        let bundle = Bundle::new();
        let outside = outside(&bundle);
        let volume = bundle.dir.join("volume");
        fs::create_dir_all(volume.join("target")).expect("a directory");
        let way = format!("/../../../../../../../..{}", outside.display());
        symlink(way, volume.join("link")).expect("a link");
        let racer = Racer::new(&volume.join("target"), &volume.join("link"));
        let mut spec = bundle.spec(&["cat", "/proc/self/mountinfo"]);
        add_mount(
            &mut spec,
            json!({"destination": "/volume", "source": "volume", "options": ["rbind"]}),
        );
        add_mount(
            &mut spec,
            json!({"destination": "/volume/target", "type": "tmpfs", "source": "marker", "options": []}),
        );
        let mut made = 0;
        for _ in 0..ROUNDS {
            if let Ok(output) = bundle.run(spec.clone()) {
                // A mount outside of the root would not be in the container's table.
                assert!(output.stdout.contains(" - tmpfs marker "), "{output:?}");
                made += 1;
            }
            assert!(is_empty(&outside), "something was made outside");
        }
        drop(racer);
        assert!(made > 0, "no round was any good");
        bundle.assert_nothing_left();
    });
}

#[test]
fn cve_2024_45310_a_racing_link_in_a_volume_makes_no_file_outside() {
    sandboxed("cve_2024_45310_a_racing_link_in_a_volume_makes_no_file_outside", || {
        let bundle = Bundle::new();
        let outside = outside(&bundle);
        let volume = bundle.dir.join("volume");
        fs::create_dir_all(volume.join("a")).expect("a directory");
        symlink(&outside, volume.join("link")).expect("a link");
        fs::write(bundle.dir.join("file"), "content").expect("a file");
        let racer = Racer::new(&volume.join("a"), &volume.join("link"));
        let mounts = [
            json!({"destination": "/volume/a/file", "source": "file", "options": ["rbind"]}),
            json!({"destination": "/volume/a/b/c", "type": "tmpfs", "source": "tmpfs", "options": []}),
        ];
        for round in 0..ROUNDS {
            let mut spec = bundle.spec(&["cat", "/volume/a/file"]);
            add_mount(
                &mut spec,
                json!({"destination": "/volume", "source": "volume", "options": ["rbind"]}),
            );
            add_mount(&mut spec, mounts[round as usize % 2].clone());
            // A link that changes its place meanwhile may make it fail.
            let _ = bundle.run(spec);
            assert!(is_empty(&outside), "something was made outside");
            for name in ["a", "link"] {
                // Whichever is the directory now.
                let _ = fs::remove_file(volume.join(name).join("file"));
                let _ = fs::remove_dir_all(volume.join(name).join("b"));
            }
        }
        drop(racer);
        bundle.assert_nothing_left();
    });
}

/// A descriptor of the host's root that survives exec, as careless callers leave them.
fn leaked_root() -> File {
    let file = File::open("/").expect("the root");
    davit_sys::fdpass::make_inheritable(&file).expect("flag");
    file
}

#[test]
fn cve_2024_21626_no_descriptor_leads_outside() {
    sandboxed("cve_2024_21626_no_descriptor_leads_outside", || {
        let bundle = Bundle::new();
        let leak = leaked_root();
        let first_free = leak.as_raw_fd() + 16;
        let attempts = |run: &dyn Fn(Value) -> Result<Output, Failure>| {
            for number in 3..first_free {
                let directory = format!("/proc/self/fd/{number}");
                for cwd in [directory.clone(), format!("{directory}/../../../..")] {
                    let mut process = process(&["pwd"]);
                    process["cwd"] = json!(cwd);
                    assert!(run(process).is_err(), "went to {cwd}");
                }
                let up = format!("{directory}/../../../../../bin/busybox");
                for program in [up, format!("{directory}/bin/busybox")] {
                    assert!(run(process(&[&program, "true"])).is_err(), "executed {program}");
                }
            }
        };
        attempts(&|process| {
            let mut spec = bundle.spec(&["true"]);
            spec["process"]["args"] = process["args"].clone();
            spec["process"]["cwd"] = process["cwd"].clone();
            bundle.run(spec)
        });
        bundle.assert_nothing_left();

        let streams = Streams::new();
        let spec = bundle.spec(&["sleep", "1000"]);
        let created = bundle.create(spec, streams.stdio).expect("created");
        created.start.start().expect("started");
        attempts(&|process| bundle.run_exec(process));
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        assert_eq!(wait(&created), 137);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

#[test]
fn no_descriptor_is_left_to_the_program() {
    sandboxed("no_descriptor_is_left_to_the_program", || {
        let bundle = Bundle::new();
        let _leak = leaked_root();
        // The shell of busybox opens nothing to expand the pattern but the directory itself.
        let script = "echo /proc/self/fd/*; sleep 1000 & exec ls /proc/self/fd";
        let check = |output: Output| {
            let numbers: Vec<&str> = output.stdout.lines().skip(1).collect();
            assert_eq!(numbers, ["0", "1", "2", "3"], "only ls' own is new: {output:?}");
            assert_eq!(
                output.stdout.lines().next(),
                Some("/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3")
            );
        };
        let script = script.replace("sleep 1000 & ", "");
        check(bundle.run(bundle.spec(&["sh", "-c", &script])).expect("it runs"));

        let streams = Streams::new();
        let created = bundle.create(bundle.spec(&["sleep", "1000"]), streams.stdio);
        let created = created.expect("created");
        created.start.start().expect("started");
        check(bundle.run_exec(process(&["sh", "-c", &script])).expect("it runs"));

        let held = fs::read_dir(format!("/proc/{}/fd", created.pid)).expect("a list").count();
        assert_eq!(held, 3, "the first process has its streams alone");
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        assert_eq!(wait(&created), 137);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

/// `/dev` of the bundle's, in which an attacker can put anything.
fn with_bound_dev(bundle: &Bundle, spec: &mut Value) -> PathBuf {
    let dev = bundle.dir.join("dev");
    fs::create_dir_all(dev.join("pts")).expect("a directory");
    drop_mount(spec, "/dev");
    add_mount(spec, json!({"destination": "/dev", "source": "dev", "options": ["rbind"]}));
    dev
}

fn make_null(path: &Path) {
    use rustix::fs::{FileType, Mode, makedev, mknodat};
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 3)).expect("a node");
}

#[test]
fn cve_2025_31133_a_mask_is_the_null_device() {
    sandboxed("cve_2025_31133_a_mask_is_the_null_device", || {
        let bundle = Bundle::new();
        let script = "stat -c %t:%T /proc/keys /proc/timer_list; \
                      grep ' /proc/[a-z]' /proc/self/mountinfo | grep -c core_pattern";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        let dev = with_bound_dev(&bundle, &mut spec);
        let (null, other) = (dev.join("null"), dev.join("other"));
        refused(bundle.run(spec.clone()), "/dev/null: no such file or directory");
        symlink("/proc/sys/kernel/core_pattern", &null).expect("a link");
        refused(bundle.run(spec.clone()), "/dev/null is not the null device");
        fs::rename(&null, &other).expect("moved");
        fs::write(&null, "").expect("a file");
        refused(bundle.run(spec.clone()), "/dev/null is not the null device");
        fs::remove_file(&null).expect("removed");
        make_null(&null);

        let racer = Racer::new(&null, &other);
        for _ in 0..ROUNDS {
            match bundle.run(spec.clone()) {
                Ok(output) => assert_eq!(output.stdout, "1:3\n1:3\n0\n", "{output:?}"),
                Err(failure) => assert!(
                    failure.message.contains("/dev/null is not the null device"),
                    "{failure}"
                ),
            }
        }
        drop(racer);
        bundle.assert_nothing_left();
    });
}

/// A container with a terminal; what it writes there.
fn run_with_terminal(bundle: &Bundle, spec: Value) -> Result<String, Failure> {
    use std::io::Read;
    let created = bundle.create(spec, Stdio::Terminal)?;
    let mut master = File::from(
        created.console_master.as_ref().expect("a terminal").try_clone().expect("a copy"),
    );
    let started = created.start.start();
    let mut text = Vec::new();
    // A terminal that nobody has open any more answers EIO.
    let _ = master.read_to_end(&mut text);
    wait(&created);
    davit_runtime::delete(&bundle.root, "c1").expect("deleted");
    started.map(|()| String::from_utf8_lossy(&text).replace("\r\n", "\n"))
}

#[test]
fn cve_2025_52565_the_console_is_not_mounted_elsewhere() {
    sandboxed("cve_2025_52565_the_console_is_not_mounted_elsewhere", || {
        let bundle = Bundle::new();
        let script = "grep devpts /proc/self/mountinfo | grep -c ' /proc'";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        spec["process"]["terminal"] = json!(true);
        spec["linux"]["maskedPaths"] = json!([]);
        let dev = with_bound_dev(&bundle, &mut spec);
        add_mount(
            &mut spec,
            json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                   "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}),
        );
        let (console, other) = (dev.join("console"), dev.join("other"));
        symlink("/proc/sysrq-trigger", &console).expect("a link");
        let failure = run_with_terminal(&bundle, spec.clone()).expect_err("a link");
        assert!(failure.message.contains("/dev/console is a link"), "{failure}");
        fs::rename(&console, &other).expect("moved");
        fs::write(&console, "").expect("a file");

        let racer = Racer::new(&console, &other);
        for _ in 0..ROUNDS {
            match run_with_terminal(&bundle, spec.clone()) {
                Ok(text) => assert_eq!(text, "0\n"),
                Err(failure) => {
                    assert!(failure.message.contains("/dev/console"), "{failure}");
                }
            }
        }
        drop(racer);
        bundle.assert_nothing_left();
    });
}

#[test]
fn cve_2025_52881_a_setting_is_written_to_the_kernel_alone() {
    sandboxed("cve_2025_52881_a_setting_is_written_to_the_kernel_alone", || {
        let bundle = Bundle::new();
        let trap = bundle.dir.join("trap");
        fs::write(&trap, "untouched").expect("a file");
        // As a race in a shared mount would leave it: the file is another one. Settings of networks
        // would not do, whose files are others in each.
        const SETTING: &str = "/proc/sys/kernel/domainname";
        rustix::mount::mount_bind(&trap, SETTING).expect("a mount");
        let mut spec = bundle.spec(&["cat", SETTING]);
        spec["linux"]["sysctl"] = json!({"kernel.domainname": "inside"});
        let output = bundle.run(spec).expect("it runs");
        assert_eq!(output.stdout, "inside\n", "{output:?}");
        assert_eq!(fs::read_to_string(&trap).expect("readable"), "untouched");
        rustix::mount::unmount(SETTING, rustix::mount::UnmountFlags::empty()).expect("unmounted");
        bundle.assert_nothing_left();
    });
}
