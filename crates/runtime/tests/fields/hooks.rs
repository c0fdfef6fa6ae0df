//! Hooks: where they run, what they are told, and what their failure means.

use std::fs;
use std::path::Path;

use davit_runtime::hooks;
use davit_runtime::state::State;
use serde_json::{Value, json};

use crate::support::{Bundle, Streams, collect, sandboxed};

/// A hook that appends what it sees to a file.
fn noting(file: &Path) -> Value {
    let script = format!(
        "{{ echo \"$1 $PWD $KEY\"; readlink /proc/self/ns/mnt; readlink /proc/self/ns/uts; cat; echo; }} >>{}",
        file.display()
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", script, "sh", "hook"], "env": ["KEY=value", "PATH=/bin:/usr/bin"]})
}

/// Lines of a noting hook: what it was called with, its namespaces, and the state.
fn notes(file: &Path) -> Vec<(String, String, String, Value)> {
    let text = fs::read_to_string(file).expect("the hook has run");
    let lines: Vec<&str> = text.lines().collect();
    let note = |lines: &[&str]| {
        let state = serde_json::from_str(lines[3]).expect("a state");
        (lines[0].to_owned(), lines[1].to_owned(), lines[2].to_owned(), state)
    };
    lines.chunks(4).map(note).collect()
}

fn own(namespace: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{namespace}")).expect("a namespace");
    link.to_string_lossy().into_owned()
}

#[test]
fn each_kind_runs_at_its_point_and_in_its_namespaces() {
    sandboxed("hooks::each_kind_runs_at_its_point_and_in_its_namespaces", || {
        let bundle = Bundle::new();
        let file = |name: &str| bundle.dir.join(name);
        let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
        let mut spec = bundle.spec(&["sh", "-c", "cat /tmp/start; rm /tmp/start"]);
        spec["annotations"] = json!({"org.example": "1"});
        for kind in kinds {
            spec["hooks"][kind] = json!([noting(&file(kind))]);
        }
        spec["process"]["cwd"] = json!("/tmp");
        spec["hooks"]["startContainer"] = json!([noting(Path::new("/tmp/start"))]);

        let streams = Streams::new();
        let created = bundle.create(spec, streams.stdio).expect("created");
        let host = (own("mnt"), own("uts"));
        let pid = created.pid;
        for kind in ["prestart", "createRuntime"] {
            let (line, mnt, uts, state) = notes(&file(kind)).remove(0);
            assert_eq!(line, format!("hook {} value", bundle.dir.display()));
            assert_eq!((mnt, uts), host.clone(), "{kind} runs outside");
            let expected = json!({"ociVersion": "1.3.0", "id": "c1", "status": "creating", "pid": pid,
                "bundle": bundle.dir, "annotations": {"org.example": "1"}});
            assert_eq!(state, expected);
        }
        let (line, mnt, uts, state) = notes(&file("createContainer")).remove(0);
        assert_eq!(line, format!("hook {} value", bundle.dir.join("rootfs").display()));
        assert!(mnt != host.0 && uts != host.1, "inside: {mnt} {uts}");
        assert_eq!((&state["status"], &state["pid"]), (&json!("creating"), &json!(1)));
        assert!(!file("poststart").exists());

        created.start.start().expect("started");
        let state = State::load(&bundle.root, "c1").expect("a state");
        assert_eq!(hooks::poststart(&state), []);
        let output = collect(created, streams.stdout, streams.stderr);
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines[0], "hook /tmp value");
        assert_eq!(lines[1..3], [mnt, uts], "startContainer runs where createContainer did");
        assert!(lines[3].contains(r#""status":"created""#), "{output:?}");
        let (.., poststart) = notes(&file("poststart")).remove(0);
        assert_eq!((&poststart["status"], &poststart["pid"]), (&json!("running"), &json!(pid)));

        assert!(!file("poststop").exists());
        assert_eq!(davit_runtime::delete(&bundle.root, "c1").expect("deleted"), []);
        let (line, mnt, _, poststop) = notes(&file("poststop")).remove(0);
        assert_eq!((line, mnt), (format!("hook {} value", bundle.dir.display()), host.0));
        assert_eq!((&poststop["status"], &poststop["pid"]), (&json!("stopped"), &Value::Null));
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_hook_that_fails_before_the_program_undoes_the_container() {
    sandboxed("hooks::a_hook_that_fails_before_the_program_undoes_the_container", || {
        let bundle = Bundle::new();
        let failing = json!([{"path": "/bin/true"}, {"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 4"]}]);
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let mut spec = bundle.spec(&["true"]);
            spec["hooks"][kind] = failing.clone();
            let failure = bundle.create(spec, Streams::new().stdio).expect_err(kind);
            let expected = format!(
                "error running {kind} hook #1: error running hook: exit status 4, stdout: , stderr: no\n"
            );
            assert!(failure.message.ends_with(&expected), "{failure}");
            bundle.assert_nothing_left();
        }

        let mut spec = bundle.spec(&["touch", "/tmp/ran"]);
        spec["hooks"]["startContainer"] = failing;
        let failure = bundle.run(spec).expect_err("startContainer");
        assert!(failure.message.contains("error running startContainer hook #1"), "{failure}");
        assert!(!bundle.dir.join("rootfs/tmp/ran").exists());
        bundle.assert_nothing_left();
    });
}

#[test]
fn without_an_environment_a_hook_has_that_of_who_runs_it() {
    sandboxed("hooks::without_an_environment_a_hook_has_that_of_who_runs_it", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["true"]);
        spec["process"]["env"] = json!(["PATH=/bin", "INSIDE=yes"]);
        let hook = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        // The variable that marks a sandbox is the runtime's own.
        let outside = r#"[ -z "$INSIDE" ] && [ -n "$DAVIT_TEST_SANDBOX" ]"#;
        let inside = r#"[ "$INSIDE" = yes ] && [ -z "$DAVIT_TEST_SANDBOX" ]"#;
        for (kind, script) in [
            ("prestart", outside),
            ("createRuntime", outside),
            ("createContainer", inside),
            ("startContainer", inside),
            ("poststop", outside),
        ] {
            spec["hooks"][kind] = hook(script);
        }
        let streams = Streams::new();
        let created = bundle.create(spec, streams.stdio).expect("created");
        created.start.start().expect("started");
        assert_eq!(collect(created, streams.stdout, streams.stderr).code, 0);
        assert_eq!(davit_runtime::delete(&bundle.root, "c1").expect("deleted"), []);
    });
}

#[test]
fn a_hook_past_its_time_is_killed_and_has_failed() {
    sandboxed("hooks::a_hook_past_its_time_is_killed_and_has_failed", || {
        let bundle = Bundle::new();
        for kind in ["createRuntime", "createContainer"] {
            let mut spec = bundle.spec(&["true"]);
            spec["hooks"][kind] =
                json!([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]);
            let failure = bundle.create(spec, Streams::new().stdio).expect_err(kind);
            assert!(
                failure.message.ends_with("hook ran past specified timeout of 1s"),
                "{failure}"
            );
            bundle.assert_nothing_left();
        }
    });
}

#[test]
fn failures_after_the_start_are_only_told() {
    sandboxed("hooks::failures_after_the_start_are_only_told", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["true"]);
        let last = noting(&bundle.dir.join("last"));
        spec["hooks"]["poststop"] = json!([{"path": "/bin/false"}, last]);
        let streams = Streams::new();
        let created = bundle.create(spec, streams.stdio).expect("created");
        created.start.start().expect("started");
        assert_eq!(collect(created, streams.stdout, streams.stderr).code, 0);
        let failures = davit_runtime::delete(&bundle.root, "c1").expect("deleted all the same");
        let expected =
            "error running poststop hook #0: error running hook: exit status 1, stdout: , stderr: ";
        assert_eq!(failures.iter().map(|f| f.message.as_str()).collect::<Vec<_>>(), [expected]);
        assert_eq!(notes(&bundle.dir.join("last")).len(), 1, "the next one runs");
        bundle.assert_nothing_left();
    });
}

#[test]
fn hooks_that_can_not_be_are_refused() {
    sandboxed("hooks::hooks_that_can_not_be_are_refused", || {
        let bundle = Bundle::new();
        let cases = [
            (json!([{"path": "bin/true"}]), "path is not an absolute path"),
            (json!([{"path": "/bin/true", "timeout": 0}]), "timeout must be above zero"),
            (json!([{"path": "/bin/true", "timeout": -1}]), "timeout must be above zero"),
            (json!([{"path": "/bin/true", "args": ["a\0b"]}]), "contains nul byte"),
        ];
        for (hooks, expected) in cases {
            let mut spec = bundle.spec(&["true"]);
            spec["hooks"]["poststop"] = hooks;
            let failure = bundle.create(spec, Streams::new().stdio).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
            bundle.assert_nothing_left();
        }
    });
}
