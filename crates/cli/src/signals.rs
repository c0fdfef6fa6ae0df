//! Signals: handed on to the container, or the reason to leave with the terminal restored.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::Query;
use crate::session::Session;

/// What a user or a supervisor sends to a foreground command, by number and by the name Docker's API takes.
/// Those about our own children, sockets and terminal stay with us.
const FORWARDED: [(i32, &str); 10] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (30, "PWR"),
];

/// Those that would end this program and so leave a terminal raw.
const FATAL: [i32; 4] = [1, 2, 3, 15];

/// Signals sent to this process, in the order they came.
pub(crate) struct Signals(mpsc::UnboundedReceiver<i32>);

impl Signals {
    /// Catches everything that is handed on to a container.
    pub(crate) fn forwarded() -> std::io::Result<Self> {
        Self::catch(FORWARDED.iter().map(|(number, _)| *number))
    }

    /// Catches what would end this program.
    pub(crate) fn fatal() -> std::io::Result<Self> {
        Self::catch(FATAL.into_iter())
    }

    /// Catches changes of the terminal's size.
    pub(crate) fn window_change() -> std::io::Result<Self> {
        Self::catch(std::iter::once(SignalKind::window_change().as_raw_value()))
    }

    fn catch(numbers: impl Iterator<Item = i32>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for number in numbers {
            let mut stream = signal(SignalKind::from_raw(number))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() && sender.send(number).is_ok() {}
            });
        }
        Ok(Self(receiver))
    }

    /// The next signal; never ends by itself.
    pub(crate) async fn next(&mut self) -> i32 {
        match self.0.recv().await {
            Some(number) => number,
            None => std::future::pending().await,
        }
    }
}

/// Sends every signal that comes to the container, for ever.
pub(crate) async fn forward(session: &Session, container: &str, mut signals: Signals) {
    loop {
        let number = signals.next().await;
        let name = FORWARDED.iter().find(|(candidate, _)| *candidate == number);
        let Some((_, name)) = name else { continue };
        let path = format!("/containers/{container}/kill");
        // It may not have started yet or be gone already: then there is nobody to tell.
        let _ = session.client.post(&path, &Query::new().with("signal", *name)).await;
    }
}
