//! Bundles and images that can't work, each with the one line that its owner gets. Needs root.
//!
//! After every failure nothing is left: no cgroup, no mount, no state, no process.

#[allow(dead_code, reason = "what one binary does not use another one does")]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode};
use serde_json::{Value, json};
use support::{Bundle, sandboxed};

/// What precedes a failure inside of the container, before it is started.
const INIT: &str = "unable to start container process: error during container init: ";
/// A step outside of it.
const START: &str = "unable to start container process: ";

/// What is done to a good configuration, and what then is said. `$B` is the bundle's directory.
type Case = (fn(&Bundle, &mut Value), &'static str, &'static str);

/// A file of the image.
fn image(bundle: &Bundle, path: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = bundle.dir.join("rootfs").join(path);
    fs::create_dir_all(path.parent().expect("not the root")).expect("a directory");
    // An earlier case's may be there.
    let _ = fs::remove_file(&path);
    fs::write(&path, content).expect("a file");
    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
    path
}

/// An executable file of the image that is to be run.
fn program(bundle: &Bundle, spec: &mut Value, content: &[u8]) {
    image(bundle, "bin/app", content, 0o755);
    spec["process"]["args"] = json!(["app"]);
}

/// The beginning of an ELF program.
fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(2u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for number in [0x40_0000u64, 64, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    let count = u16::from(interpreter.is_some());
    for number in [64u16, 56, count, 64, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    let Some(interpreter) = interpreter else { return file };
    let size = interpreter.len() as u64 + 1;
    file.extend(3u32.to_le_bytes());
    file.extend(4u32.to_le_bytes());
    for number in [120u64, 0, 0, size, size, 1] {
        file.extend(number.to_le_bytes());
    }
    file.extend(interpreter.as_bytes());
    file.push(0);
    file
}

const NATIVE: u16 = if cfg!(target_arch = "aarch64") { 0xb7 } else { 0x3e };

fn args(spec: &mut Value, args: &[&str]) {
    spec["process"]["args"] = json!(args);
}

fn mount(spec: &mut Value, mount: Value) {
    spec["mounts"].as_array_mut().expect("mounts").push(mount);
}

/// Somebody with no privileges.
fn as_nobody(spec: &mut Value) {
    spec["process"]["user"] = json!({"uid": 65534, "gid": 65534});
    spec["process"]["capabilities"] = json!({});
}

fn namespace(spec: &mut Value, kind: &str, value: Option<Value>) {
    let list = spec["linux"]["namespaces"].as_array_mut().expect("namespaces");
    list.retain(|namespace| namespace["type"] != kind);
    list.extend(value);
}

#[rustfmt::skip]
const PROGRAMS: &[Case] = &[
    (|_, s| args(s, &["nosuch"]), INIT,
        r#"exec: "nosuch": executable file not found in $PATH"#),
    (|_, s| args(s, &[""]), INIT,
        r#"exec: "": executable file not found in $PATH (the program's name is empty)"#),
    (|_, s| args(s, &["echo hello"]), INIT,
        r#"exec: "echo hello": executable file not found in $PATH (the name contains a space: are program and arguments one string by mistake?)"#),
    (|_, s| { args(s, &["sh"]); s["process"]["env"] = json!([]); }, INIT,
        r#"exec: "sh": executable file not found in $PATH (PATH is not set)"#),
    (|b, s| { image(b, "bin/tool", b"", 0o644); args(s, &["tool"]); }, INIT,
        r#"exec: "tool": executable file not found in $PATH (/bin/tool is there, but its mode 0644 has no x bit: chmod +x)"#),
    (|_, s| args(s, &["/etc"]), INIT,
        r#"exec: "/etc": is a directory: permission denied"#),
    (|_, s| args(s, &["/etc/passwd"]), INIT,
        r#"exec: "/etc/passwd": permission denied (its mode 0644 has no x bit: chmod +x)"#),
    (|_, s| args(s, &["/nosuch"]), INIT,
        r#"exec: "/nosuch": stat /nosuch: no such file or directory"#),
    (|_, s| args(s, &["/etc/passwd/x"]), INIT,
        r#"exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory"#),
    (|_, s| args(s, &["/proc/self/exe"]), INIT,
        r#"exec: "/proc/self/exe": permission denied (it is the container runtime's own program)"#),
    (|b, s| { let _ = symlink("loop", b.dir.join("rootfs/bin/loop")); args(s, &["/bin/loop"]); }, INIT,
        r#"exec: "/bin/loop": stat /bin/loop: too many levels of symbolic links"#),
    (|b, s| program(b, s, b"#!/bin/bash\nexit\n"), "",
        "exec /bin/app: no such file or directory (its interpreter /bin/bash does not exist in the container)"),
    (|b, s| program(b, s, b"#!/bin/sh\r\necho\r\n"), "",
        r#"exec /bin/app: no such file or directory (its first line ends in CR LF as on Windows, so that the kernel looks for an interpreter "/bin/sh\r": convert it, for example with dos2unix)"#),
    (|b, s| { image(b, "bin/inner", b"#!/no/perl\n", 0o755); program(b, s, b"#!/bin/inner\n"); }, "",
        "exec /bin/app: no such file or directory (its interpreter /bin/inner: its interpreter /no/perl does not exist in the container)"),
    (|b, s| program(b, s, b"#!/etc\n"), "",
        "exec /bin/app: permission denied (its interpreter /etc: it is no regular file)"),
    (|b, s| { image(b, "bin/plain", b"", 0o644); program(b, s, b"#!/bin/plain\n"); }, "",
        "exec /bin/app: permission denied (its interpreter /bin/plain: its mode 0644 has no x bit: chmod +x)"),
    (|b, s| { image(b, "bin/foreign", &elf(0x16, None), 0o755); program(b, s, b"#!/bin/foreign\n"); }, "",
        "exec /bin/app: exec format error (its interpreter /bin/foreign: it is a program for s390x, and this machine is $ARCH)"),
    (|b, s| program(b, s, &elf(NATIVE, Some("/lib64/ld-linux-x86-64.so.2"))), "",
        "exec /bin/app: no such file or directory (its ELF interpreter /lib64/ld-linux-x86-64.so.2 does not exist: it was linked against glibc, which this image lacks, or for another architecture)"),
    (|b, s| program(b, s, &elf(NATIVE, Some("/lib/ld-musl-x86_64.so.1"))), "",
        "exec /bin/app: no such file or directory (its ELF interpreter /lib/ld-musl-x86_64.so.1 does not exist: it was linked against musl, which this image lacks)"),
    (|b, s| program(b, s, &elf(0x16, None)), "",
        "exec /bin/app: exec format error (it is a program for s390x, and this machine is $ARCH)"),
    (|b, s| program(b, s, &elf(NATIVE, None)), "",
        "exec /bin/app: exec format error (the ELF file is damaged or cut off)"),
    (|b, s| program(b, s, b"\x7fELF\x02\x01"), "",
        "exec /bin/app: exec format error (the ELF file is damaged or cut off)"),
    (|b, s| program(b, s, b""), "",
        "exec /bin/app: exec format error (the file is empty)"),
    (|b, s| program(b, s, b"echo hello\n"), "",
        "exec /bin/app: exec format error (it is neither an ELF file nor a script that begins with #!)"),
    (|b, s| program(b, s, b"#!\necho\n"), "",
        "exec /bin/app: exec format error (no interpreter follows its #!)"),
    (|b, s| program(b, s, b"\xef\xbb\xbf#!/bin/sh\n"), "",
        "exec /bin/app: exec format error (a byte order mark stands before its #!)"),
    (|b, s| program(b, s, b"MZ\x90\0"), "",
        "exec /bin/app: exec format error (it is a program for Windows)"),
    (|b, s| program(b, s, b"\xcf\xfa\xed\xfe\x07\0\0\x01"), "",
        "exec /bin/app: exec format error (it is a program for macOS)"),
    (|b, s| {
        program(b, s, b"#!/bin/sh\n");
        mount(s, json!({"destination": "/bin", "source": "rootfs/bin", "options": ["bind", "noexec"]}));
    }, INIT,
        r#"exec: "app": executable file not found in $PATH (/bin/app is there, but it lies on a mount with the option noexec)"#),
    (|b, s| {
        program(b, s, b"#!/bin/sh\n");
        mount(s, json!({"destination": "/bin", "source": "rootfs/bin", "options": ["bind", "noexec"]}));
        args(s, &["/bin/app"]);
    }, INIT,
        r#"exec: "/bin/app": permission denied (it lies on a mount with the option noexec)"#),
    (|b, s| {
        fs::create_dir_all(b.dir.join("rootfs/opt")).expect("a directory");
        image(b, "opt/app", b"#!/mnt/busybox sh\n", 0o755);
        fs::create_dir_all(b.dir.join("rootfs/mnt")).expect("a directory");
        mount(s, json!({"destination": "/mnt", "source": "rootfs/bin", "options": ["bind", "noexec"]}));
        args(s, &["/opt/app"]);
    }, "",
        "exec /opt/app: permission denied (its interpreter /mnt/busybox: it lies on a mount with the option noexec)"),
    (|b, s| {
        let path = b.dir.join("rootfs/bin/pipe");
        let _ = rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o755), 0);
        args(s, &["/bin/pipe"]);
    }, "",
        "exec /bin/pipe: permission denied (it is no regular file)"),
    (|_, s| args(s, &["true", &"x".repeat(140_000)]), "",
        "exec /bin/true: argument list too long (one argument or variable has 140001 bytes, and the kernel takes 131072)"),
    (|_, s| {
        let many: Vec<String> = (0..100).map(|n| format!("V{n}={}", "x".repeat(100_000))).collect();
        s["process"]["env"] = json!([&["PATH=/bin".to_owned()], many.as_slice()].concat());
    }, "",
        "exec /bin/true: argument list too long (arguments and environment have 10000516 bytes, and the kernel takes a quarter of the stack limit at most)"),
    (|b, s| { image(b, "bin/mine", b"#!/bin/sh\n", 0o700); as_nobody(s); args(s, &["/bin/mine"]); }, INIT,
        r#"exec: "/bin/mine": permission denied (user 65534 may not execute a file of 0:0 with mode 0700)"#),
    (|b, s| {
        image(b, "closed/app", b"#!/bin/sh\n", 0o755);
        fs::set_permissions(b.dir.join("rootfs/closed"), PermissionsExt::from_mode(0o700)).expect("a mode");
        as_nobody(s);
        args(s, &["/closed/app"]);
    }, INIT,
        r#"exec: "/closed/app": permission denied (user 65534 may not enter a directory on the way to it)"#),
    (|_, s| args(s, &[]), "",
        "args must not be empty"),
    (|_, s| args(s, &["a\0b"]), "",
        r#"process.args contains nul byte: "a\0b""#),
];

#[rustfmt::skip]
const SURROUNDINGS: &[Case] = &[
    (|_, s| s["process"]["cwd"] = json!("/etc/passwd"), INIT,
        r#"chdir to cwd ("/etc/passwd") set in config.json failed: not a directory"#),
    (|_, s| s["process"]["cwd"] = json!("/etc/passwd/x"), INIT,
        "mkdir /etc/passwd/x: not a directory"),
    (|_, s| s["process"]["cwd"] = json!("relative"), "",
        "Cwd must be an absolute path"),
    (|_, s| s["process"]["env"] = json!(["PATH=/bin\0"]), "",
        r#"process.env contains nul byte: "PATH=/bin\0""#),
    (|_, s| s["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]), "",
        "rlimit RLIMIT_CORE: the soft limit 2 is above the hard limit 1"),
    (|_, s| {
        let limit = json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1});
        s["process"]["rlimits"] = json!([limit, limit]);
    }, "",
        "rlimit RLIMIT_CORE is given twice"),
    (|_, s| drop(s.as_object_mut().expect("an object").remove("root")), "",
        "no root in the configuration"),
    (|_, s| drop(s.as_object_mut().expect("an object").remove("process")), "",
        "no process in the configuration"),
    (|_, s| s["ociVersion"] = json!("2.0.0"), "",
        r#"unsupported ociVersion "2.0.0": want 1.x.y"#),
    (|_, s| s["root"]["path"] = json!("nosuch"), INIT,
        r#"error preparing rootfs "$B/nosuch": open $B/nosuch: no such file or directory"#),
    (|b, s| { fs::write(b.dir.join("file"), "").expect("a file"); s["root"]["path"] = json!("file"); }, INIT,
        r#"error preparing rootfs "$B/file": open $B/file: not a directory"#),
    (|_, s| namespace(s, "uts", None), "",
        "unable to set hostname without a private UTS namespace"),
    (|_, s| { namespace(s, "uts", None); s["hostname"] = json!(""); s["domainname"] = json!("d"); }, "",
        "unable to set domainname without a private UTS namespace"),
    (|_, s| namespace(s, "mount", None), "",
        "a container needs a mount namespace"),
    (|_, s| namespace(s, "mount", Some(json!({"type": "mount", "path": "/proc/self/ns/mnt"}))), START,
        "namespace /proc/self/ns/mnt: the host's mounts can't be a container's"),
    (|_, s| namespace(s, "mount", Some(json!({"type": "mount", "path": "/proc/self/ns/uts"}))), INIT,
        "error jailing process inside rootfs: join namespace /proc/self/ns/uts: invalid argument (it is no namespace of the kind asked for)"),
    (|_, s| namespace(s, "network", Some(json!({"type": "network", "path": "/no/such"}))), START,
        "open namespace /no/such: no such file or directory"),
    (|_, s| namespace(s, "network", Some(json!({"type": "network", "path": "/etc/passwd"}))), INIT,
        "join namespace /etc/passwd: invalid argument (it is no namespace of the kind asked for)"),
    (|_, s| namespace(s, "network", Some(json!({"type": "network", "path": "/proc/self/ns/uts"}))), INIT,
        "join namespace /proc/self/ns/uts: invalid argument (it is no namespace of the kind asked for)"),
    (|_, s| s["linux"]["sysctl"] = json!({"kernel.pid_max": "1000"}), "",
        r#"sysctl "kernel.pid_max" is not in a separate kernel namespace"#),
    (|_, s| s["linux"]["sysctl"] = json!({"net.nosuch": "1"}), INIT,
        "write sysctl /proc/sys/net/nosuch: no such file or directory (this kernel has no such setting)"),
    (|_, s| s["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "many"}), INIT,
        r#"write sysctl /proc/sys/net/ipv4/ip_unprivileged_port_start: invalid argument (it doesn't take the value "many")"#),
    (|_, s| s["linux"]["maskedPaths"] = json!(["proc/kcore"]), "",
        r#"masked or read-only path "proc/kcore" is not absolute"#),
    (|_, s| s["linux"]["readonlyPaths"] = json!(["proc/sys"]), "",
        r#"masked or read-only path "proc/sys" is not absolute"#),
    (|_, s| s["linux"]["rootfsPropagation"] = json!("everywhere"), "",
        r#"invalid rootfsPropagation "everywhere""#),
    (|_, s| s["linux"]["devices"] = json!([{"path": "dev/x", "type": "c", "major": 1, "minor": 3}]), "",
        "device dev/x: the path is not absolute"),
    (|_, s| s["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": -2, "minor": 3}]), "",
        "device /dev/x: invalid device number"),
    (|b, s| {
        s["mounts"].as_array_mut().expect("mounts").retain(|m| m["destination"] == "/proc");
        image(b, "dev/null", b"", 0o644);
        let _ = s;
    }, INIT,
        "error creating device nodes: mknod /dev/null: the image has something else there, and not this device"),
    (|b, s| {
        s["mounts"].as_array_mut().expect("mounts").retain(|m| m["destination"] == "/proc");
        let _ = fs::remove_file(b.dir.join("rootfs/dev/null"));
        symlink("/etc/passwd", b.dir.join("rootfs/dev/null")).expect("a link");
    }, INIT,
        "error creating device nodes: mknod /dev/null: the image has something else there, and not this device"),
    (|_, s| s["linux"]["seccomp"]["syscalls"] = json!([{"names": ["read"], "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]), "",
        "seccomp profile: seccomp rule with argument index 9"),
];

#[rustfmt::skip]
const MOUNTS: &[Case] = &[
    (|_, s| mount(s, json!({"destination": "/x", "source": "/no/such", "options": ["rbind"]})), INIT,
        r#"error mounting "/no/such" to rootfs at "/x": open /no/such: no such file or directory"#),
    (|_, s| mount(s, json!({"destination": "/x", "options": ["rbind"]})), "",
        "mount /x: a bind mount needs a source"),
    (|_, s| mount(s, json!({"destination": "/x", "source": "x"})), "",
        "mount /x: no type"),
    (|_, s| mount(s, json!({"destination": "/x", "type": "nosuchfs", "source": "x"})), INIT,
        r#"error mounting "x" to rootfs at "/x": mount nosuchfs: no such device (this kernel has no file system "nosuchfs")"#),
    (|_, s| mount(s, json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["sise=1m"]})), INIT,
        r#"error mounting "x" to rootfs at "/x": mount tmpfs: invalid argument (tmpfs: Unknown parameter 'sise')"#),
    (|_, s| mount(s, json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["size=much"]})), INIT,
        r#"error mounting "x" to rootfs at "/x": mount tmpfs: invalid argument (tmpfs: Bad value for 'size')"#),
    (|_, s| mount(s, json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["nosuch"]})), INIT,
        r#"error mounting "x" to rootfs at "/x": mount tmpfs: invalid argument (tmpfs: Unknown parameter 'nosuch')"#),
    (|b, s| {
        fs::create_dir_all(b.dir.join("directory")).expect("a directory");
        mount(s, json!({"destination": "/etc/passwd", "source": "directory", "options": ["bind"]}));
    }, INIT,
        r#"error mounting "$B/directory" to rootfs at "/etc/passwd": create mountpoint /etc/passwd: not a directory (Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type)"#),
    (|b, s| {
        fs::write(b.dir.join("file"), "").expect("a file");
        mount(s, json!({"destination": "/etc", "source": "file", "options": ["bind"]}));
    }, INIT,
        r#"error mounting "$B/file" to rootfs at "/etc": mount /etc: not a directory (Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type)"#),
    (|b, s| {
        fs::write(b.dir.join("file"), "").expect("a file");
        mount(s, json!({"destination": "/etc/passwd/x", "source": "file", "options": ["bind"]}));
    }, INIT,
        r#"error mounting "$B/file" to rootfs at "/etc/passwd/x": create mountpoint /etc/passwd/x: not a directory (Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type)"#),
    (|b, s| {
        let _ = symlink("round", b.dir.join("rootfs/round"));
        mount(s, json!({"destination": "/round/x", "type": "tmpfs", "source": "x"}));
    }, INIT,
        r#"error mounting "x" to rootfs at "/round/x": create mountpoint /round/x: too many levels of symbolic links"#),
    (|_, s| mount(s, json!({"destination": "/proc/self", "type": "tmpfs", "source": "x"})), "",
        r#""/proc/self" cannot be mounted because it is inside /proc"#),
    (|_, s| mount(s, json!({"destination": "/proc", "type": "tmpfs", "source": "x"})), "",
        r#""/proc" cannot be mounted because it is inside /proc"#),
    (|b, s| {
        let _ = symlink("/proc/self", b.dir.join("rootfs/alias"));
        mount(s, json!({"destination": "/alias", "type": "tmpfs", "source": "x"}));
    }, INIT,
        r#"error mounting "x" to rootfs at "/alias": "/alias" cannot be mounted because it is inside /proc"#),
    (|b, s| {
        fs::create_dir_all(b.dir.join("directory")).expect("a directory");
        s["mounts"][0] = json!({"destination": "/proc", "source": "directory", "options": ["bind"]});
    }, INIT,
        r#"error mounting "$B/directory" to rootfs at "/proc": "/proc" cannot be mounted because it is not of type proc"#),
    (|b, s| {
        fs::remove_dir_all(b.dir.join("rootfs/sys")).expect("a directory of the root");
        symlink("/etc", b.dir.join("rootfs/sys")).expect("a link");
        let _ = s;
    }, INIT,
        r#"error mounting "sysfs" to rootfs at "/sys": "/sys" must be mounted on ordinary directory"#),
];

fn check(cases: &[Case]) {
    let mut wrong = String::new();
    let bundle = Bundle::new();
    for (spoil, prefix, expected) in cases {
        let mut spec = bundle.spec(&["true"]);
        spoil(&bundle, &mut spec);
        let line = match bundle.run(spec) {
            Ok(output) => format!("it ran: {output:?}"),
            Err(failure) => failure.to_string(),
        };
        let line = line.replace(bundle.dir.to_str().expect("a plain path"), "$B");
        let wanted = format!("{prefix}{expected}").replace("$ARCH", std::env::consts::ARCH);
        if line != wanted {
            wrong.push_str(&format!("- {wanted}\n+ {line}\n"));
        }
        bundle.assert_nothing_left();
    }
    assert!(wrong.is_empty(), "expected and told:\n{wrong}");
}

#[test]
fn a_program_that_cannot_run_is_explained() {
    sandboxed("a_program_that_cannot_run_is_explained", || check(PROGRAMS));
}

#[test]
fn a_configuration_that_cannot_be_is_explained() {
    sandboxed("a_configuration_that_cannot_be_is_explained", || check(SURROUNDINGS));
}

#[test]
fn a_mount_that_cannot_be_made_is_explained() {
    sandboxed("a_mount_that_cannot_be_made_is_explained", || check(MOUNTS));
}

#[test]
fn a_program_that_is_being_written_is_told() {
    sandboxed("a_program_that_is_being_written_is_told", || {
        let bundle = Bundle::new();
        let path = image(&bundle, "bin/app", b"#!/bin/sh\n", 0o755);
        let writer = File::options().write(true).custom_flags(libc::O_CLOEXEC).open(path);
        let failure = bundle.run(bundle.spec(&["app"])).expect_err("busy");
        let expected = "exec /bin/app: text file busy (something has the file open for writing)";
        assert_eq!(failure.to_string(), expected);
        assert_eq!(
            (failure.stage.as_str(), failure.call.as_str(), failure.errno),
            ("exec", "exec", 26)
        );
        drop(writer);
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_set_up_that_dies_is_told_by_its_end() {
    sandboxed("a_set_up_that_dies_is_told_by_its_end", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["true"]);
        spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["capset"], "action": "SCMP_ACT_KILL_PROCESS"}]});
        let failure = bundle.run(spec).expect_err("killed by its filter");
        let expected = "unable to start container process: container init ended unexpectedly: it was ended \
                        by signal 31 (its seccomp profile kills at a call that the set-up needs)";
        assert_eq!(failure.to_string(), expected);
        bundle.assert_nothing_left();

        // A hook runs as a child of the set-up in its namespaces, but can't kill a first process.
        let mut spec = bundle.spec(&["true"]);
        namespace(&mut spec, "pid", None);
        let kill = json!({"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $PPID"]});
        spec["hooks"] = json!({"createContainer": [kill]});
        let failure = bundle.run(spec).expect_err("killed");
        let expected = "unable to start container process: container init ended unexpectedly: it was killed \
                        (SIGKILL)";
        assert_eq!(failure.to_string(), expected);
        bundle.assert_nothing_left();
    });
}
