//! Attached clients: echo, frames, detaching, half-closed and vanished ones, terminals, execs.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::support::{Container, Host, OUTPUT, can_run};
use anyhow::{Result, bail};
use davit_monitor::protocol::{Attach, Event, Request};
use davit_testkit::wait;

const INTERACTIVE: Attach = Attach {
    stdin: true,
    stdout: true,
    stderr: true,
    multiplexed: false,
    detach_keys: Vec::new(),
    early_input: String::new(),
};

/// Reads until `text` has come.
fn read_until(stream: &mut impl Read, text: &str) -> Result<String> {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&got).contains(text) {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            bail!("ended with {:?}", String::from_utf8_lossy(&got));
        }
        got.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8_lossy(&got).into_owned())
}

fn rest(stream: &mut impl Read) -> Result<String> {
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn input_goes_in_early_input_first_and_its_end_ends_stdin_once() -> Result<()> {
    if !can_run("input_goes_in_early_input_first_and_its_end_ends_stdin_once") {
        return Ok(());
    }
    let host = Host::new()?;
    let script = "cat; echo done >&2";
    let container =
        Container { args: &["sh", "-c", script], stdin: "once", ..Container::default() };
    let mut running = host.create(&container)?;
    let Event::Created { .. } = running.event()? else { bail!("not created") };
    let early = Attach {
        multiplexed: true,
        early_input: "ZWFybHkK".to_owned(), // "early\n"
        ..INTERACTIVE
    };
    let mut client = running.attach(early)?;
    running.start()?;
    client.write_all(b"late\n")?;
    client.shutdown(Shutdown::Write)?;
    let mut output = Vec::new();
    client.read_to_end(&mut output)?;
    let mut texts = [String::new(), String::new()];
    let mut frames = &output[..];
    while let [stream @ 1..=2, 0, 0, 0, a, b, c, d, tail @ ..] = frames {
        let (text, next) = tail.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        texts[usize::from(*stream) - 1].push_str(std::str::from_utf8(text)?);
        frames = next;
    }
    assert_eq!(texts, ["early\nlate\n", "done\n"]);
    assert_eq!(running.ended()?.code, 0);
    Ok(())
}

#[test]
fn an_end_of_input_ends_the_client_and_not_an_open_stdin() -> Result<()> {
    if !can_run("an_end_of_input_ends_the_client_and_not_an_open_stdin") {
        return Ok(());
    }
    let host = Host::new()?;
    let container = Container { args: &["cat"], stdin: "open", ..Container::default() };
    let mut running = host.run(&container)?;
    let mut client = running.attach(INTERACTIVE)?;
    client.shutdown(Shutdown::Write)?;
    assert_eq!(rest(&mut client)?, "");

    let mut client = running.attach(INTERACTIVE)?;
    client.write_all(b"still there\n")?;
    assert_eq!(read_until(&mut client, "\n")?, "still there\n");
    running.signal(9, true)?;
    assert_eq!(rest(&mut client)?, "");
    assert_eq!(running.ended()?.code, 137);
    Ok(())
}

#[test]
fn a_client_gets_everything_and_then_the_end() -> Result<()> {
    if !can_run("a_client_gets_everything_and_then_the_end") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running =
        host.create(&Container { args: &["seq", "1", "300000"], ..Container::default() })?;
    let Event::Created { .. } = running.event()? else { bail!("not created") };
    let mut client = running.attach(OUTPUT)?;
    running.start()?;
    // Slower than the program: it has to wait.
    std::thread::sleep(Duration::from_millis(200));
    let text = rest(&mut client)?;
    assert_eq!(text.lines().count(), 300_000);
    assert!(text.ends_with("\n300000\n"));
    assert_eq!(running.ended()?.code, 0);
    assert!(running.logged("stdout")? == text, "the log differs from what the client got");
    Ok(())
}

#[test]
fn a_client_that_vanishes_holds_nothing_up() -> Result<()> {
    if !can_run("a_client_that_vanishes_holds_nothing_up") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running =
        host.create(&Container { args: &["seq", "1", "300000"], ..Container::default() })?;
    let Event::Created { .. } = running.event()? else { bail!("not created") };
    let client = running.attach(OUTPUT)?;
    running.start()?;
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    assert_eq!(running.ended()?.code, 0);
    assert!(running.logged("stdout")?.ends_with("\n300000\n"));
    Ok(())
}

#[test]
fn input_of_a_client_that_left_still_arrives() -> Result<()> {
    if !can_run("input_of_a_client_that_left_still_arrives") {
        return Ok(());
    }
    let host = Host::new()?;
    let script = "sleep 0.5; wc -c";
    let container =
        Container { args: &["sh", "-c", script], stdin: "once", ..Container::default() };
    let mut running = host.run(&container)?;
    let mut client = running.attach(Attach { stdout: false, stderr: false, ..INTERACTIVE })?;
    // More than the pipe takes before `wc` reads.
    client.write_all(&vec![b'x'; 200_000])?;
    drop(client);
    assert_eq!(running.ended()?.code, 0);
    assert_eq!(running.logged("stdout")?.trim(), "200000");
    Ok(())
}

#[test]
fn a_terminal_echoes_resizes_and_detaches() -> Result<()> {
    if !can_run("a_terminal_echoes_resizes_and_detaches") {
        return Ok(());
    }
    let host = Host::new()?;
    let container =
        Container { args: &["sh"], terminal: true, stdin: "open", ..Container::default() };
    let mut running = host.run(&container)?;
    let keys = vec![16, 17];
    let mut client = running.attach(Attach { detach_keys: keys, ..INTERACTIVE })?;
    let resize = Request::Resize { height: 33, width: 111 };
    running.control().request(resize, None, |_| {})?;
    client.write_all(b"stty size; tty\n")?;
    let output = read_until(&mut client, "/dev/pts/0")?;
    assert!(output.contains("33 111\r\n"), "{output:?}");

    client.write_all(&[16, 17])?;
    rest(&mut client)?;
    assert_eq!(running.event()?, Event::Detached);

    let mut client = running.attach(INTERACTIVE)?;
    client.write_all(b"exit 7\n")?;
    assert!(rest(&mut client)?.contains("exit 7"));
    assert_eq!(running.ended()?.code, 7);
    Ok(())
}

#[test]
fn an_exec_runs_beside_with_its_own_streams_user_and_exit_code() -> Result<()> {
    if !can_run("an_exec_runs_beside_with_its_own_streams_user_and_exit_code") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.run(&Container { args: &["sleep", "1000"], ..Container::default() })?;
    let script = "cat; id -u; id -G; pwd; echo $HOME; hostname; exit 4";
    let mut exec = host.exec(&running, &["sh", "-c", script], "once")?;
    let Event::Created { .. } = exec.event()? else { bail!("not created") };
    let mut client = exec.attach(INTERACTIVE)?;
    exec.start()?;
    client.write_all(b"hello\n")?;
    client.shutdown(Shutdown::Write)?;
    let expected = "hello\n1000\n1000 2000\n/\n/home/user\nbox\n";
    assert_eq!(rest(&mut client)?, expected);
    assert_eq!(exec.ended()?.code, 4);

    let mut exec = host.exec(&running, &["nosuch"], "closed")?;
    let failure = loop {
        match exec.event()? {
            Event::Created { .. } => drop(exec.control().send(Request::Start, None)?),
            Event::Failed(failure) => break failure,
            other => bail!("not failed: {other:?}"),
        }
    };
    let expected = "exec: \"nosuch\": executable file not found in $PATH";
    assert!(failure.message.contains(expected), "{failure:?}");
    exec.gone()?;

    running.signal(9, true)?;
    assert_eq!(running.ended()?.code, 137);
    assert_eq!(host.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_background_process_of_an_exec_does_not_hold_its_end() -> Result<()> {
    if !can_run("a_background_process_of_an_exec_does_not_hold_its_end") {
        return Ok(());
    }
    let host = Host::new()?;
    let mut running = host.run(&Container { args: &["sleep", "1000"], ..Container::default() })?;
    let mut exec = host.exec(&running, &["sh", "-c", "sleep 900 & echo $!"], "closed")?;
    let Event::Created { .. } = exec.event()? else { bail!("not created") };
    let mut client = exec.attach(OUTPUT)?;
    exec.start()?;
    assert!(rest(&mut client)?.trim().parse::<u32>().is_ok());
    assert_eq!(exec.ended()?.code, 0);
    running.signal(9, true)?;
    running.ended()?;
    wait::until_true(Duration::from_secs(5), "the end of all processes", || {
        Ok(host.sandbox.processes().iter().all(|(_, name)| name != "sleep"))
    })
}
