//! The child's side: from an order to calls of systemd's manager.

use std::io::{self, BufRead, Write};

use futures_util::StreamExt;
use zbus::{Connection, OwnedObjectPath, Proxy, Variant};

use super::{Order, Property, Value};

/// The answer when all is well; any other is what went wrong.
pub(super) const DONE: &str = "done";

const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// Carries out the order on standard input and answers on standard output, then waits until it is sent
/// away.
///
/// # Errors
/// The standard streams can't be used.
pub fn serve() -> io::Result<()> {
    let mut line = String::new();
    let mut stdin = io::stdin().lock();
    stdin.read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    let answer = match zbus::block_on(carry_out(order)) {
        Ok(()) => DONE.to_owned(),
        // One line is read.
        Err(why) => why.replace('\n', " "),
    };
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{answer}")?;
    stdout.flush()?;
    // A further line, or the end of the input, is the word to go.
    stdin.read_line(&mut line)?;
    Ok(())
}

async fn carry_out(order: Order) -> Result<(), String> {
    let (Order::Start { user, .. } | Order::Set { user, .. } | Order::Stop { user, .. }) = order;
    let manager = manager(user).await?;
    let result = match order {
        Order::Start { unit, properties, .. } => start(&manager, &unit, properties).await,
        Order::Set { unit, properties, .. } => {
            let properties = variants(properties);
            manager.call("SetUnitProperties", &(unit, true, properties)).await
        }
        Order::Stop { unit, .. } => stop(&manager, &unit).await,
    };
    result.map_err(|error| error.to_string())
}

async fn manager(user: bool) -> Result<Proxy<'static>, String> {
    let connection = if user { Connection::session().await } else { Connection::system().await };
    let bus = if user { "user" } else { "system" };
    let connection = connection.map_err(|error| {
        format!("the systemd cgroup driver needs systemd, and its D-Bus {bus} bus can't be reached: {error}")
    })?;
    let manager = Proxy::new_owned(
        connection,
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
    );
    manager.await.map_err(|error| format!("systemd can't be reached: {error}"))
}

async fn start(manager: &Proxy<'_>, unit: &str, properties: Vec<Property>) -> zbus::Result<()> {
    let mut properties = variants(properties);
    properties.push(("PIDs".to_owned(), Variant::new(vec![std::process::id()])));
    match start_once(manager, unit, &properties).await {
        // One of that name that failed, or is just ending, stands in the way.
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == UNIT_EXISTS => {
            stop(manager, unit).await?;
            start_once(manager, unit, &properties).await
        }
        other => other,
    }
}

async fn start_once(
    manager: &Proxy<'_>,
    unit: &str,
    properties: &[(String, Variant<'static>)],
) -> zbus::Result<()> {
    let none: Vec<(String, Vec<(String, Variant<'_>)>)> = Vec::new();
    job(manager, "StartTransientUnit", &(unit, "replace", properties, none)).await
}

async fn stop(manager: &Proxy<'_>, unit: &str) -> zbus::Result<()> {
    let gone = |result: zbus::Result<()>| match result {
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_UNIT => Ok(()),
        other => other,
    };
    gone(job(manager, "StopUnit", &(unit, "replace")).await)?;
    // One whose process was killed for memory stays as failed.
    gone(manager.call("ResetFailedUnit", &(unit,)).await)
}

/// Calls a method that begins a job, and waits for the job's end.
async fn job<B>(manager: &Proxy<'_>, method: &str, body: &B) -> zbus::Result<()>
where
    B: serde::Serialize + zbus::wire::DynamicType,
{
    // Before the job begins: its end must not be missed.
    manager.call::<_, _, ()>("Subscribe", &()).await?;
    let mut ends = manager.receive_signal("JobRemoved").await?;
    let begun: OwnedObjectPath = manager.call(method, body).await?;
    while let Some(signal) = ends.next().await {
        let (_, job, unit, result): (u32, OwnedObjectPath, String, String) =
            signal.body().deserialize()?;
        if job == begun {
            return match result.as_str() {
                "done" => Ok(()),
                other => Err(zbus::Error::Failure(format!("{method} of {unit}: job {other}"))),
            };
        }
    }
    Err(zbus::Error::Failure(format!("{method}: the bus was closed")))
}

fn variants(properties: Vec<Property>) -> Vec<(String, Variant<'static>)> {
    properties.into_iter().map(|(name, value)| (name, variant(value))).collect()
}

fn variant(value: Value) -> Variant<'static> {
    match value {
        Value::Bool(value) => Variant::new(value),
        Value::Int32(value) => Variant::new(value),
        Value::Uint32(value) => Variant::new(value),
        Value::Int64(value) => Variant::new(value),
        Value::Uint64(value) => Variant::new(value),
        Value::Double(value) => Variant::new(value),
        Value::Text(value) => Variant::new(value),
        Value::Bytes(value) => Variant::new(value),
        Value::Texts(value) => Variant::new(value),
    }
}
