//! The same life with another runtime's program in place of the built-in one.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::support::{Container, Host, OUTPUT, can_run};
use anyhow::{Result, bail};
use davit_monitor::protocol::{Attach, Event};
use davit_testkit::{Need, met};
use serde_json::json;

const RUNC: &str = "runc";

fn can_run_runc(test: &str) -> bool {
    can_run(test) && met(test, &[Need::Program(RUNC)])
}

#[test]
fn runc_runs_restarts_and_removes_a_container() -> Result<()> {
    if !can_run_runc("runc_runs_restarts_and_removes_a_container") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.run(&Container {
        args: &["sh", "-c", "echo out; echo err >&2; exit 3"],
        restart: json!({"when": "on-failure", "max_retries": 1, "count": 0}),
        runtime: Some(RUNC),
        ..Container::default()
    })?;
    assert_eq!(running.ended()?.code, 3);
    assert_eq!(running.logged("stdout")?, "out\nout\n");
    assert_eq!(running.logged("stderr")?, "err\nerr\n");
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn runc_gives_a_terminal_and_execs() -> Result<()> {
    if !can_run_runc("runc_gives_a_terminal_and_execs") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.run(&Container {
        args: &["sh"],
        terminal: true,
        stdin: "open",
        runtime: Some(RUNC),
        ..Container::default()
    })?;
    let mut exec = host.exec(&running, &["sh", "-c", "cat; id -u; exit 4"], "once")?;
    let Event::Created { .. } = exec.event()? else { bail!("not created") };
    let mut client = exec.attach(Attach { stdin: true, ..OUTPUT })?;
    exec.start()?;
    client.write_all(b"hello\n")?;
    client.shutdown(Shutdown::Write)?;
    let mut output = String::new();
    client.read_to_string(&mut output)?;
    assert_eq!(output, "hello\n1000\n");
    assert_eq!(exec.ended()?.code, 4);

    let mut client = running.attach(Attach { stdin: true, ..OUTPUT })?;
    client.write_all(b"exit 7\n")?;
    let mut output = String::new();
    client.read_to_string(&mut output)?;
    assert_eq!(running.ended()?.code, 7);
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_failure_of_runc_has_its_reason_and_leaves_nothing() -> Result<()> {
    if !can_run_runc("a_failure_of_runc_has_its_reason_and_leaves_nothing") {
        return Ok(());
    }
    let host = Host::new()?;
    let container = Container { args: &["nosuch"], runtime: Some(RUNC), ..Container::default() };
    let mut running = host.create(&container)?;
    let Event::Failed(failure) = running.event()? else { bail!("not failed") };
    assert!(failure.message.contains("executable file not found in $PATH"), "{failure:?}");
    running.gone()?;
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn an_exec_of_runc_may_end_before_its_start() -> Result<()> {
    if !can_run_runc("an_exec_of_runc_may_end_before_its_start") {
        return Ok(());
    }
    let host = Host::new()?;
    let args: &[&str] = &["sleep", "1000"];
    let running = host.run(&Container { args, runtime: Some(RUNC), ..Container::default() })?;
    let mut exec = host.exec(&running, &["sh", "-c", "echo out; exit 4"], "closed")?;
    let Event::Created { pid, .. } = exec.event()? else { bail!("not created") };
    host.died(pid)?;
    let mut client = exec.attach(OUTPUT)?;
    exec.start()?;
    let mut output = String::new();
    client.read_to_string(&mut output)?;
    assert_eq!(output, "out\n");
    assert_eq!(exec.ended()?.code, 4);
    Ok(())
}
