//! A user talking to a process in a container: both directions, the terminal, its size, and the keys to leave.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use crate::client::{Query, Request};
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::signals::Signals;
use crate::stream::{Duplex, Sinks, Writer};
use crate::terminal::{self, RawMode};

const DEFAULT_DETACH_KEYS: [u8; 2] = [16, 17];

/// What is said to whom.
pub(super) struct Conversation {
    /// The process has a terminal: its output comes unframed, ours goes into raw mode.
    pub(super) tty: bool,
    /// Our standard input goes there.
    pub(super) stdin: bool,
    /// Its output comes here.
    pub(super) output: bool,
    /// Keys that leave without stopping anything.
    pub(super) detach_keys: Vec<u8>,
}

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side closed it.
    Closed,
    /// The user left.
    Detached,
}

impl Conversation {
    /// Puts our terminal into raw mode if this conversation needs it.
    pub(super) fn raw_mode(&self) -> Outcome<Option<RawMode>> {
        Ok(if self.tty && self.stdin { RawMode::enter()? } else { None })
    }

    /// Talks until one side ends it. A signal that would end us ends it too, with the terminal restored.
    pub(super) async fn hold(self, duplex: Duplex) -> Outcome<Ended> {
        let raw_mode = self.raw_mode()?;
        let mut fatal = if raw_mode.is_some() { Some(Signals::fatal()?) } else { None };
        let Duplex { mut reader, writer } = duplex;
        let (input_end, mut input_ended) = oneshot::channel();
        if self.stdin {
            let detach = self.tty.then_some(DetachKeys::new(self.detach_keys.clone()));
            tokio::spawn(async move {
                // Nobody listens when the output ended first.
                let _ = input_end.send(send_input(writer, detach).await);
            });
        } else {
            drop(input_end);
        }
        let mut sinks = Sinks::standard();
        let output = async {
            match (self.output, self.tty) {
                (false, _) => std::future::pending().await,
                (true, true) => sinks.copy_raw(&mut reader).await,
                (true, false) => sinks.copy_frames(&mut reader).await,
            }
        };
        tokio::pin!(output);
        let mut has_input = self.stdin;
        loop {
            tokio::select! {
                // First, because the other side closes as soon as it sees that we have left.
                biased;
                input = &mut input_ended, if has_input => match input {
                    Ok(Ok(Ended::Detached)) => return Ok(Ended::Detached),
                    _ if !self.output => return Ok(Ended::Closed),
                    // The process may have closed its input and still be talking.
                    _ => has_input = false,
                },
                ended = &mut output => return ended.map(|()| Ended::Closed),
                number = next_fatal(&mut fatal) => {
                    return Err(Failure::quiet(128u8.saturating_add(u8::try_from(number).unwrap_or(0))));
                }
            }
        }
    }
}

async fn next_fatal(signals: &mut Option<Signals>) -> i32 {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

async fn send_input(mut writer: Writer, mut detach: Option<DetachKeys>) -> Outcome<Ended> {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = stdin.read(&mut buffer).await?;
        if count == 0 {
            writer.shutdown().await?;
            return Ok(Ended::Closed);
        }
        let (send, is_detached) = match &mut detach {
            Some(keys) => keys.filter(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        writer.write_all(&send).await?;
        writer.flush().await?;
        if is_detached {
            return Ok(Ended::Detached);
        }
    }
}

/// Looks for the detach sequence in what the user types and holds it back.
#[derive(Debug)]
struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// What to send of `typed`, and whether the sequence is complete.
    fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut send = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (send, true);
                }
                continue;
            }
            send.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                send.push(*byte);
            }
        }
        (send, false)
    }
}

/// Reads `--detach-keys`: single characters and `ctrl-x`, separated by commas.
pub(super) fn detach_keys(text: Option<&str>) -> Outcome<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_DETACH_KEYS.to_vec());
    };
    let key = |key: &str| match key.as_bytes() {
        [byte] => Some(*byte),
        [.., letter] if key.len() == 6 && key.to_lowercase().starts_with("ctrl-") => {
            let letter = letter.to_ascii_lowercase();
            match letter {
                b'a'..=b'z' => Some(letter - b'a' + 1),
                b'@' => Some(0),
                b'[' | b'\\' | b']' | b'^' | b'_' => Some(letter - b'[' + 27),
                _ => None,
            }
        }
        _ => None,
    };
    text.split(',').map(key).collect::<Option<Vec<u8>>>().ok_or_else(|| {
        Failure::new(format!("invalid detach keys ({text}): Unknown character: '{text}'"))
    })
}

/// Whose terminal follows the size of ours.
#[derive(Debug, Clone)]
pub(super) enum Resized {
    /// A container's.
    Container(String),
    /// An exec instance's.
    Exec(String),
}

/// Sends the size of our terminal, now and at every change, for ever.
pub(super) async fn follow_size(session: &Session, target: Resized) {
    let path = match target {
        Resized::Container(id) => super::path(&id, "/resize"),
        Resized::Exec(id) => format!("/exec/{id}/resize"),
    };
    // The process may not be up yet: Docker's CLI tries a few times as well.
    for attempt in 1..=10 {
        if send_size(session, &path).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10 * attempt)).await;
    }
    let Ok(mut changes) = Signals::window_change() else { return std::future::pending().await };
    loop {
        changes.next().await;
        send_size(session, &path).await;
    }
}

async fn send_size(session: &Session, path: &str) -> bool {
    let Some(size) = terminal::size() else { return true };
    let query = Query::new().with("h", size.rows.to_string()).with("w", size.columns.to_string());
    session.client.send(Request::new(Method::POST, path, &query)).await.is_ok()
}

/// Refuses a terminal for the process when our input isn't one.
pub(super) fn check_terminal(stdin: bool, tty: bool) -> Outcome<()> {
    if tty && stdin && !terminal::is_stdin() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detach_sequence_is_held_back_until_it_is_complete_or_broken() {
        let mut keys = DetachKeys::new(vec![16, 17]);
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"x"), (b"\x10x".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10\x11rest"), (b"\x10".to_vec(), true));
    }

    #[test]
    fn detach_keys_are_read() {
        assert_eq!(detach_keys(None).ok(), Some(vec![16, 17]));
        assert_eq!(detach_keys(Some("ctrl-a,x")).ok(), Some(vec![1, b'x']));
        assert_eq!(detach_keys(Some("ctrl-@,ctrl-],ctrl-_")).ok(), Some(vec![0, 29, 31]));
        assert!(detach_keys(Some("ctrl-1")).is_err());
        assert!(detach_keys(Some("abc")).is_err());
    }
}
