//! A program that seals itself can't be written by way of its process.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use davit_sys::sealed;

const INSIDE: &str = "DAVIT_TEST_SEALED";
const NAME: &str = "a_sealed_program_is_not_writable_through_proc";
const READY: &str = "sealed and waiting";

#[test]
fn a_sealed_program_is_not_writable_through_proc() {
    if std::env::var_os(INSIDE).is_some() {
        sealed::ensure().expect("sealed");
        assert!(sealed::is_sealed().expect("a /proc"));
        println!("{READY}");
        let mut rest = String::new();
        std::io::stdin().read_to_string(&mut rest).expect("the end of input");
        return;
    }
    let directory = std::env::temp_dir().join(format!("davit-sealed-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).expect("for everybody");
    let mut users = vec![None];
    if rustix::process::geteuid().is_root() {
        // Without the right to make a mount it is a memory file.
        users.push(Some(65534));
    }
    for user in users {
        attack(&directory, user);
    }
    fs::remove_dir_all(&directory).expect("removable");
}

/// Opens the program of a process, waits for its end, so that the file is busy no more, and tries to
/// write what was opened.
fn attack(directory: &std::path::Path, user: Option<u32>) {
    // A copy, which no other test executes.
    let victim = directory.join(format!("victim-{}", user.unwrap_or(0)));
    fs::copy(std::env::current_exe().expect("our own path"), &victim).expect("a copy");
    let original = fs::read(&victim).expect("readable");
    let mut command = Command::new(&victim);
    command.args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1").current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut child = command.spawn().expect("started");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = output.lines();
    let ready = lines.any(|line| line.expect("text").contains(READY));
    assert!(ready, "user {user:?}: not sealed");
    let exe = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(format!("/proc/{}/exe", child.id()))
        .expect("the program");
    drop(child.stdin.take());
    // Its output is read to the end: the harness has something to say, too.
    lines.for_each(drop);
    assert!(child.wait().expect("ended").success());

    let path = format!("/proc/self/fd/{}", exe.as_raw_fd());
    let written = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"overwritten"));
    let error = written.expect_err("the program was overwritten").raw_os_error();
    assert!(matches!(error, Some(libc::EROFS | libc::EPERM | libc::EACCES)), "{error:?}");
    assert!(fs::read(&victim).expect("readable") == original, "the file has changed");
    // Not because it was busy: by its own name it can be written.
    File::options().write(true).open(&victim).expect("writable by its owner");
}
