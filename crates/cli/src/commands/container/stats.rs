//! `davit stats`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use davit_api::container::{Stats as Sample, Summary};
use futures_util::future::join_all;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::output::format::Listing;
use crate::output::template::Row;
use crate::output::units;
use crate::session::Session;

const LISTING: Listing = Listing {
    titles: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    default: "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
};

/// How often the table is drawn, and how often new containers are looked for.
const REFRESH: Duration = Duration::from_millis(500);

/// Flags of `davit stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Show stopped containers as well
    #[arg(long, short)]
    all: bool,
    /// Print with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Print once and leave
    #[arg(long)]
    no_stream: bool,
    /// Don't cut ids
    #[arg(long)]
    no_trunc: bool,
    operands: Vec<String>,
}

impl Verb for Stats {
    const ABOUT: &'static str = "Show what containers use";
    const USAGE: &'static str = "[OPTIONS] [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(0);

    async fn run(self, session: &Session) -> Outcome {
        if self.no_stream { self.once(session).await } else { self.stream(session).await }
    }
}

/// The last sample of each container, by the name it was asked for under.
type Samples = Arc<Mutex<BTreeMap<String, Option<Sample>>>>;

impl Stats {
    async fn names(&self, session: &Session) -> Outcome<Vec<String>> {
        if !self.operands.is_empty() {
            return Ok(self.operands.clone());
        }
        let query = Query::new().with_flag("all", self.all);
        let listed: Vec<Summary> = session.client.get("/containers/json", &query).await?;
        Ok(listed.into_iter().map(|container| container.id).collect())
    }

    async fn once(&self, session: &Session) -> Outcome {
        let names = self.names(session).await?;
        let query = Query::new().with("stream", "0");
        let samples = join_all(names.iter().map(|name| {
            let query = &query;
            async move { session.client.get::<Sample>(&path(name, "/stats"), query).await }
        }))
        .await;
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for (name, sample) in names.iter().zip(samples) {
            match sample {
                Ok(sample) => rows.push(self.row(name, Some(&sample))),
                Err(failure) => failures.push(failure.text),
            }
        }
        if !failures.is_empty() {
            return Err(Failure::new(failures.join("\n")));
        }
        LISTING.print(rows, self.format.as_deref(), false)
    }

    async fn stream(&self, session: &Session) -> Outcome {
        let samples = Samples::default();
        let is_fixed = !self.operands.is_empty();
        self.follow_new(session, &samples).await?;
        let mut ticks = tokio::time::interval(REFRESH);
        loop {
            ticks.tick().await;
            if !is_fixed {
                self.follow_new(session, &samples).await?;
            }
            let rows: Vec<Row> = {
                let samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                if is_fixed && samples.is_empty() {
                    return Ok(0);
                }
                samples.iter().map(|(name, sample)| self.row(name, sample.as_ref())).collect()
            };
            let text = LISTING.render(rows, self.format.as_deref(), false)?;
            // Home, each line cleared to its end, then the rest of the screen.
            output::text(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")))?;
        }
    }

    /// Opens a stream for every container that has none yet.
    async fn follow_new(&self, session: &Session, samples: &Samples) -> Outcome<()> {
        for name in self.names(session).await? {
            let is_known =
                samples.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name);
            if is_known {
                continue;
            }
            let request =
                Request::new(Method::GET, path(&name, "/stats"), &Query::new().with("stream", "1"));
            let answer = session.client.send(request).await?;
            samples.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), None);
            tokio::spawn(follow(answer.into_body(), name, Arc::clone(samples)));
        }
        Ok(())
    }

    fn row(&self, name: &str, sample: Option<&Sample>) -> Row {
        let default = Sample::default();
        let sample = sample.unwrap_or(&default);
        let id = if sample.id.is_empty() { name } else { &sample.id };
        let id = if self.no_trunc { id } else { units::short_id(id) };
        let memory = memory_in_use(sample) as f64;
        let limit = sample.memory_stats.limit as f64;
        let share = if limit > 0.0 { memory / limit * 100.0 } else { 0.0 };
        let (received, sent) = network_traffic(sample);
        let (read, written) = block_traffic(sample);
        let pair = |a: u64, b: u64| {
            format!("{} / {}", units::decimal_size(a as f64, 3), units::decimal_size(b as f64, 3))
        };
        Row::new(vec![
            ("Container", name.into()),
            ("Name", sample.name.strip_prefix('/').unwrap_or("--").into()),
            ("ID", id.into()),
            ("CPUPerc", format!("{:.2}%", cpu_share(sample)).into()),
            (
                "MemUsage",
                format!("{} / {}", units::binary_size(memory), units::binary_size(limit)).into(),
            ),
            ("MemPerc", format!("{share:.2}%").into()),
            ("NetIO", pair(received, sent).into()),
            ("BlockIO", pair(read, written).into()),
            ("PIDs", sample.pids_stats.current.to_string().into()),
        ])
    }
}

async fn follow(mut body: Incoming, name: String, samples: Samples) {
    let mut pending = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Ok(sample) = serde_json::from_slice::<Sample>(&line) {
                let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                samples.insert(name.clone(), Some(sample));
            }
        }
    }
    samples.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
}

/// Memory without the page cache that the kernel would give up first.
fn memory_in_use(sample: &Sample) -> u64 {
    let memory = &sample.memory_stats;
    let inactive =
        ["total_inactive_file", "inactive_file"].iter().find_map(|key| memory.stats.get(*key));
    match inactive {
        Some(inactive) if *inactive < memory.usage => memory.usage - inactive,
        _ => memory.usage,
    }
}

fn cpu_share(sample: &Sample) -> f64 {
    let (now, before) = (&sample.cpu_stats, &sample.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let passed = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        count => f64::from(count),
    };
    if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 }
}

fn network_traffic(sample: &Sample) -> (u64, u64) {
    let interfaces = sample.networks.iter().flat_map(BTreeMap::values);
    interfaces.fold((0, 0), |(received, sent), traffic| {
        (received + traffic.rx_bytes, sent + traffic.tx_bytes)
    })
}

fn block_traffic(sample: &Sample) -> (u64, u64) {
    let entries = sample.blkio_stats.io_service_bytes_recursive.iter().flatten();
    entries.fold((0, 0), |(read, written), entry| match entry.op.to_lowercase().as_str() {
        "read" => (read + entry.value, written),
        "write" => (read, written + entry.value),
        _ => (read, written),
    })
}
