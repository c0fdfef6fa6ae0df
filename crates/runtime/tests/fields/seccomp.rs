//! System call filters: what the kernel makes of them, and agents.

use std::fs;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

use crate::support::{Bundle, Streams, collect, process, sandboxed, wait};

/// The state and the listener that an agent gets.
fn received(agent: &UnixListener) -> (Value, OwnedFd) {
    let (connection, _) = agent.accept().expect("a connection");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 4096];
    let mut data = [std::io::IoSliceMut::new(&mut buffer)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(&connection, &mut data, &mut control, flags).expect("a message");
    let listener = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let mut text = buffer[..got.bytes].to_vec();
    let mut connection = connection;
    connection.read_to_end(&mut text).expect("the rest");
    (serde_json::from_slice(&text).expect("a state"), listener.expect("a listener"))
}

/// Waits until a process asks the agent.
fn wait_for_question(listener: &OwnedFd) {
    let mut wait = [PollFd::new(listener, PollFlags::IN)];
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut wait, Some(&limit)).expect("poll"), 1, "nobody asks");
    assert!(wait[0].revents().contains(PollFlags::IN));
}

fn asking(bundle: &Bundle, script: &str, no_new_privileges: bool) -> (UnixListener, Value) {
    let path = bundle.dir.join("agent");
    let _ = fs::remove_file(&path);
    let agent = UnixListener::bind(&path).expect("a socket");
    let mut spec = bundle.spec(&["sh", "-c", script]);
    spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
    spec["annotations"] = json!({"a": "b"});
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": path, "listenerMetadata": "meta",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
    (agent, spec)
}

#[test]
fn an_agent_gets_the_listener_and_decides() {
    sandboxed("seccomp::an_agent_gets_the_listener_and_decides", || {
        let bundle = Bundle::new();
        for no_new_privileges in [false, true] {
            let (agent, spec) =
                asking(&bundle, "mkdir /tmp/x; ls /proc/self/fd", no_new_privileges);
            let streams = Streams::new();
            let created = bundle.create(spec, streams.stdio).expect("created");
            let (state, listener) = received(&agent);
            let expected = json!({
                "ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": created.pid, "metadata": "meta",
                "state": {"ociVersion": "1.3.0", "id": "c1", "status": "creating", "pid": created.pid,
                          "bundle": bundle.dir, "annotations": {"a": "b"}},
            });
            assert_eq!(state, expected);
            created.start.start().expect("started");
            wait_for_question(&listener);
            // An agent that goes: the kernel answers that there is no such call.
            drop(listener);
            let output = collect(created, streams.stdout, streams.stderr);
            assert!(output.stderr.contains("Function not implemented"), "{output:?}");
            assert_eq!(
                output.stdout, "0\n1\n2\n3\n",
                "the listener is not the program's: {output:?}"
            );
            davit_runtime::delete(&bundle.root, "c1").expect("deleted");
            bundle.assert_nothing_left();
        }
    });
}

#[test]
fn an_exec_has_a_listener_of_its_own() {
    sandboxed("seccomp::an_exec_has_a_listener_of_its_own", || {
        let bundle = Bundle::new();
        let (agent, spec) = asking(&bundle, "exec sleep 1000", false);
        let profile = serde_json::from_value(spec["linux"]["seccomp"].clone()).expect("a profile");
        let created = bundle.create(spec, Streams::new().stdio).expect("created");
        let (_, _container) = received(&agent);
        created.start.start().expect("started");
        let streams = Streams::new();
        let executed = davit_runtime::exec(&davit_runtime::ExecRequest {
            seccomp: Some(&profile),
            ..bundle.exec_request(process(&["mkdir", "/tmp/y"]), streams.stdio)
        });
        let executed = executed.expect("an exec");
        let (state, listener) = received(&agent);
        assert_eq!(
            (&state["pid"], &state["state"]["status"]),
            (&json!(executed.pid), &json!("running"))
        );
        assert_eq!(state["state"]["pid"], json!(created.pid));
        executed.start.start().expect("started");
        wait_for_question(&listener);
        drop(listener);
        assert_eq!(collect(executed, streams.stdout, streams.stderr).code, 1);
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        wait(&created);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
    });
}

#[test]
fn an_agent_that_is_not_there_is_told_before_anything_starts() {
    sandboxed("seccomp::an_agent_that_is_not_there_is_told_before_anything_starts", || {
        let bundle = Bundle::new();
        let (agent, spec) = asking(&bundle, "true", false);
        drop(agent);
        let failure = bundle.create(spec, Streams::new().stdio).expect_err("nobody listens");
        assert!(
            failure.message.contains("seccomp agent of the profile's listenerPath"),
            "{failure}"
        );
        assert!(failure.message.contains("connection refused"), "{failure}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_filter_that_refuses_the_start_ends_in_an_error() {
    sandboxed("seccomp::a_filter_that_refuses_the_start_ends_in_an_error", || {
        let bundle = Bundle::new();
        let refuse = |names: Value, action: &str, errno: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": action, "errnoRet": errno}]});
        let cases = [
            (refuse(json!(["execve"]), "SCMP_ACT_ERRNO", json!(1)), "it refuses execve"),
            (refuse(json!(["read"]), "SCMP_ACT_ERRNO", json!(4)), "it refuses read"),
            (refuse(json!(["capset"]), "SCMP_ACT_KILL_PROCESS", Value::Null), "ended by signal 31"),
            (
                refuse(json!(["setresuid"]), "SCMP_ACT_ERRNO", json!(1)),
                "setuid 0: operation not permitted",
            ),
            // Not even the way out: no child stays behind and turns in circles.
            (
                refuse(json!(["setresuid", "exit", "exit_group"]), "SCMP_ACT_ERRNO", json!(1)),
                "setuid 0: operation not permitted",
            ),
        ];
        for (profile, expected) in cases {
            let mut spec = bundle.spec(&["true"]);
            spec["linux"]["seccomp"] = profile;
            let failure = bundle.run(spec).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
            bundle.assert_nothing_left();
        }
    });
}

#[test]
fn actions_and_error_numbers_are_the_kernels() {
    sandboxed("seccomp::actions_and_error_numbers_are_the_kernels", || {
        let bundle = Bundle::new();
        let script = "mkdir /tmp/a; rmdir /tmp/a; ln -s x /tmp/l; (sync); echo $?; (link /a /b); echo $?; uname -s";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        let rule = |names: Value, action: &str| json!({"names": names, "action": action});
        let mut errno = rule(json!(["mkdir", "mkdirat"]), "SCMP_ACT_ERRNO");
        errno["errnoRet"] = json!(28);
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "syscalls": [
                errno,
                rule(json!(["symlink", "symlinkat"]), "SCMP_ACT_ERRNO"),
                rule(json!(["sync"]), "SCMP_ACT_KILL_PROCESS"),
                rule(json!(["link", "linkat"]), "SCMP_ACT_TRAP"),
                rule(json!(["uname"]), "SCMP_ACT_LOG"),
            ],
        });
        let streams = Streams::new();
        let created = bundle.create(spec, streams.stdio).expect("created");
        created.start.start().expect("started");
        let output = collect(created, streams.stdout, streams.stderr);
        assert!(
            output.stderr.contains("mkdir: can't create directory '/tmp/a': No space left"),
            "{output:?}"
        );
        assert!(output.stderr.contains("ln: /tmp/l: Operation not permitted"), "{output:?}");
        assert_eq!(output.stdout, "159\n159\nLinux\n", "{output:?}");
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
    });
}
