//! Several callers at once with one container.

use std::thread;

use anyhow::{Context, Result, ensure};

use crate::support::{Bundle, Lab, is_foreign, lab};

const ROUNDS: usize = 30;

/// What a caller may hear of a container that another makes or removes meanwhile.
const EXPECTED: &[(&str, &[&str])] = &[
    ("create", &["container with given ID already exists"]),
    (
        "start",
        &[
            "container does not exist",
            "cannot start a container that has stopped",
            "cannot start an already running container",
        ],
    ),
    ("state", &["container does not exist"]),
    ("delete", &[]),
];

fn repeat(lab: &Lab, bundle: &Bundle, verb: &str, expected: &[&str]) -> Result<usize> {
    let mut done = 0;
    for _ in 0..ROUNDS {
        let ended = match verb {
            "create" => lab.verb(&["create", "--bundle", bundle.path(), &bundle.id])?,
            "delete" => lab.verb(&["delete", "--force", &bundle.id])?,
            verb => lab.verb(&[verb, &bundle.id])?,
        };
        if ended.code == 0 {
            done += 1;
            continue;
        }
        let fits = expected.iter().any(|expected| ended.stderr.contains(expected));
        ensure!(fits, "{verb}: {}", ended.stderr);
    }
    Ok(done)
}

#[test]
fn callers_that_make_and_remove_one_container_leave_nothing() -> Result<()> {
    let test = "callers_that_make_and_remove_one_container_leave_nothing";
    let Some(lab) = lab(test)?.filter(|_| !is_foreign()) else { return Ok(()) };
    let bundle = lab.bundle(&["sleep", "1000"], |_| {})?;
    let callers = ["create", "create", "start", "state", "delete", "delete"];
    thread::scope(|scope| -> Result<()> {
        let (lab, bundle) = (&lab, &bundle);
        let callers = callers.map(|verb| {
            let (_, expected) = EXPECTED.iter().find(|(name, _)| *name == verb).expect("listed");
            (verb, scope.spawn(move || repeat(lab, bundle, verb, expected)))
        });
        let mut created = 0;
        for (verb, caller) in callers {
            let done = caller.join().ok().with_context(|| format!("{verb} panicked"))??;
            created += if verb == "create" { done } else { 0 };
        }
        ensure!(created > 0, "nothing was ever created");
        Ok(())
    })?;
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    // No process either: a cgroup goes only when it is empty.
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}
