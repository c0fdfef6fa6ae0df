//! The progress of a pull: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::{self, Write};

use davit_api::progress::ProgressMessage;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::{Failure, Outcome};

/// How often bars are drawn in a second, at most.
const FRAMES_PER_SECOND: u8 = 10;

/// Where progress is shown.
pub(crate) enum Display {
    /// Nowhere; errors are still reported.
    Quiet,
    /// On standard output.
    Stdout,
    /// On standard error, because standard output is for something else.
    Stderr,
}

/// Reads a progress stream to its end and shows it.
pub(crate) async fn show(answer: http::Response<Incoming>, display: Display) -> Outcome<()> {
    let mut sink: Box<dyn Sink> = match display {
        Display::Quiet => Box::new(Nothing),
        Display::Stdout if crate::terminal::is_stdout() => {
            Box::new(Bars::new(ProgressDrawTarget::stdout_with_hz(FRAMES_PER_SECOND)))
        }
        Display::Stderr if crate::terminal::is_stderr() => {
            Box::new(Bars::new(ProgressDrawTarget::stderr_with_hz(FRAMES_PER_SECOND)))
        }
        Display::Stdout => Box::new(Lines(io::stdout())),
        Display::Stderr => Box::new(Lines(io::stderr())),
    };
    let mut body = answer.into_body();
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Failure::new(format!("read the daemon's answer: {error}")))?;
        if let Ok(data) = frame.into_data() {
            pending.extend_from_slice(&data);
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            message(&line, sink.as_mut())?;
        }
    }
    message(&pending, sink.as_mut())
}

fn message(line: &[u8], sink: &mut dyn Sink) -> Outcome<()> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let message: ProgressMessage = serde_json::from_slice(line).map_err(|error| {
        Failure::new(format!("the daemon's progress is not understood: {error}"))
    })?;
    if let Some(detail) = &message.error_detail {
        return Err(Failure::new(detail.message.clone()));
    }
    if !message.error.is_empty() {
        return Err(Failure::new(message.error));
    }
    sink.take(&message)
}

trait Sink {
    fn take(&mut self, message: &ProgressMessage) -> Outcome<()>;
}

struct Nothing;

impl Sink for Nothing {
    fn take(&mut self, _: &ProgressMessage) -> Outcome<()> {
        Ok(())
    }
}

/// A line for every new state, none for mere numbers.
struct Lines<W>(W);

impl<W: Write> Sink for Lines<W> {
    fn take(&mut self, message: &ProgressMessage) -> Outcome<()> {
        let has_numbers = message
            .progress_detail
            .as_ref()
            .is_some_and(|detail| detail.current > 0 || detail.total > 0);
        if has_numbers {
            return Ok(());
        }
        let text = match (message.stream.as_str(), message.id.as_str()) {
            ("", "") => format!("{}\n", message.status),
            ("", id) => format!("{id}: {}\n", message.status),
            (stream, _) => stream.to_owned(),
        };
        self.0.write_all(text.as_bytes())?;
        Ok(self.0.flush()?)
    }
}

/// One line per layer that changes in place.
struct Bars {
    all: MultiProgress,
    layers: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new(target: ProgressDrawTarget) -> Self {
        Self { all: MultiProgress::with_draw_target(target), layers: HashMap::new() }
    }
}

impl Sink for Bars {
    fn take(&mut self, message: &ProgressMessage) -> Outcome<()> {
        if message.id.is_empty()
            || message.progress_detail.is_none() && !self.layers.contains_key(&message.id)
        {
            let prefix =
                if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
            self.all.println(format!("{prefix}{}{}", message.status, message.stream.trim_end()))?;
            return Ok(());
        }
        let bar = self
            .layers
            .entry(message.id.clone())
            .or_insert_with(|| self.all.add(ProgressBar::new(0).with_prefix(message.id.clone())));
        let detail = message.progress_detail.clone().unwrap_or_default();
        let template = match (detail.current > 0, detail.total > 0, detail.units.as_str()) {
            (_, true, "") => {
                "{prefix}: {msg} [{bar:50.=>-}]  {bytes}/{total_bytes}".replace('-', " ")
            }
            (true, _, "") => "{prefix}: {msg} {bytes}".to_owned(),
            (true, _, units) => format!("{{prefix}}: {{msg}} {{pos}} {units}"),
            _ => "{prefix}: {msg}".to_owned(),
        };
        let style = ProgressStyle::with_template(&template)
            .map_err(|error| Failure::new(error.to_string()))?;
        bar.set_style(style.progress_chars("=> "));
        bar.set_length(detail.total.unsigned_abs());
        bar.set_position(detail.current.unsigned_abs());
        bar.set_message(message.status.clone());
        Ok(())
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.layers.values() {
            bar.abandon();
        }
    }
}
