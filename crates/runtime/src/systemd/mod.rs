//! Cgroups that systemd makes: scopes, asked for over D-Bus.
//!
//! The D-Bus library has threads, which a process that clones containers may not have. So it works in
//! a short-lived child: this program again, as [`ROLE`], which gets an [`Order`] on standard input,
//! answers with one line and, having made a scope, stays in it until the container is, too.

mod bus;
mod properties;
mod text;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::failure::{Step, text};
use crate::plan::{Systemd, Unit};

pub use bus::serve;
pub(crate) use properties::{annotated, of_container, of_limits};

/// The first argument of the child that talks to systemd.
pub const ROLE: &str = "systemd-scope";

/// A property of a unit.
pub type Property = (String, Value);

/// The value of a property, as far as the properties of scopes have kinds of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// `b`.
    Bool(bool),
    /// `i`.
    Int32(i32),
    /// `u`.
    Uint32(u32),
    /// `x`.
    Int64(i64),
    /// `t`.
    Uint64(u64),
    /// `d`.
    Double(f64),
    /// `s`.
    Text(String),
    /// `ay`.
    Bytes(Vec<u8>),
    /// `as`.
    Texts(Vec<String>),
}

/// What systemd is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Make the scope `unit` with the asking process in it.
    Start {
        /// Name of the scope.
        unit: String,
        /// Ask the user's systemd, not the system's.
        user: bool,
        /// Its properties.
        properties: Vec<Property>,
    },
    /// Change properties of a scope until it ends.
    Set {
        /// Name of the scope.
        unit: String,
        /// Ask the user's systemd, not the system's.
        user: bool,
        /// Its properties.
        properties: Vec<Property>,
    },
    /// End a scope; one that has ended is fine.
    Stop {
        /// Name of the scope.
        unit: String,
        /// Ask the user's systemd, not the system's.
        user: bool,
    },
}

/// A scope that exists, with a process of ours in it until this value goes.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input would not be enough: a container that waits has a copy of this end.
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        let _ = self.child.wait();
    }
}

/// The systemd that a caller with our rights asks.
pub(crate) fn here() -> Result<Systemd, Failure> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return Ok(Systemd { user: false, cgroup: String::new() });
    }
    // An ordinary user's is below which we are, as a rule.
    let own = std::fs::read_to_string("/proc/self/cgroup").step("read", "/proc/self/cgroup")?;
    let unified = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let name = format!("user@{}.service", uid.as_raw());
    let cgroup = match unified.find(&name) {
        Some(at) => unified[..at + name.len()].to_owned(),
        None => format!("/user.slice/user-{}.slice/{name}", uid.as_raw()),
    };
    Ok(Systemd { user: true, cgroup })
}

/// Makes the scope of `unit` with `properties`.
pub(crate) fn start(unit: &Unit, mut properties: Vec<Property>) -> Result<Held, Failure> {
    properties.push(("Slice".to_owned(), Value::Text(unit.slice.clone())));
    let order = Order::Start { unit: unit.name.clone(), user: unit.user, properties };
    ask(&order)
}

/// Ends the scope of `unit`.
pub(crate) fn stop(unit: &Unit) -> Result<(), Failure> {
    ask(&Order::Stop { unit: unit.name.clone(), user: unit.user }).map(drop)
}

/// Changes properties of the scope of `unit`.
pub(crate) fn set(unit: &Unit, properties: Vec<Property>) -> Result<(), Failure> {
    if properties.is_empty() {
        return Ok(());
    }
    ask(&Order::Set { unit: unit.name.clone(), user: unit.user, properties }).map(drop)
}

fn ask(order: &Order) -> Result<Held, Failure> {
    let (Order::Start { unit, .. } | Order::Set { unit, .. } | Order::Stop { unit, .. }) = order;
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, "davit-shim");
    command.arg(ROLE).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().step("run", ROLE)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut held = Held { child, stdin };
    let mut line = serde_json::to_vec(order).map_err(std::io::Error::from).step("encode", unit)?;
    line.push(b'\n');
    let (Some(stdin), Some(stdout)) = (&mut held.stdin, stdout) else {
        return Err(text("systemd", unit, "the child that talks to systemd has no pipes"));
    };
    stdin.write_all(&line).step("ask systemd about", unit)?;
    let mut answer = String::new();
    BufReader::new(stdout).read_line(&mut answer).step("ask systemd about", unit)?;
    match answer.trim_end() {
        bus::DONE => Ok(held),
        "" => Err(text("systemd", unit, format!("systemd: no answer about {unit}"))),
        why => Err(text("systemd", unit, format!("systemd: {unit}: {why}"))),
    }
}
