//! `stats`: cgroup counters, the host's processor time, and the interfaces' traffic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_api::container::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    ThrottlingData,
};
use davit_sys::cgroup;
use davit_types::{Context, Result};
use tokio::sync::mpsc;

use super::record::Snapshot;
use super::{Container, blocking};
use crate::Engine;
use crate::engine::Inner;

const INTERVAL: Duration = Duration::from_secs(1);

impl Engine {
    /// One sample. Without `one_shot` a second one is taken before it, so that `precpu_stats` is
    /// there. One that does not run has only its name.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn stats(&self, name: &str, one_shot: bool) -> Result<Stats> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let first = sample(&inner, &container).await;
        if one_shot || !container.snapshot().record.state.has_process() {
            return Ok(first);
        }
        tokio::time::sleep(INTERVAL).await;
        Ok(after(&first, sample(&inner, &container).await))
    }

    /// A sample each second, until the receiver is dropped or the container is gone.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn stats_stream(&self, name: &str) -> Result<mpsc::Receiver<Stats>> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut previous: Option<Stats> = None;
            let mut ticks = tokio::time::interval(INTERVAL);
            let mut progress = container.progress();
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = progress.wait_for(|progress| progress.removed.is_some()) => return,
                    () = sender.closed() => return,
                }
                let now = sample(&inner, &container).await;
                let shown = match &previous {
                    Some(previous) => after(previous, now.clone()),
                    None => now.clone(),
                };
                if sender.send(shown).await.is_err() {
                    return;
                }
                previous = Some(now);
            }
        });
        Ok(receiver)
    }
}

/// `now` with the sample before it.
fn after(before: &Stats, now: Stats) -> Stats {
    Stats { preread: before.read, precpu_stats: before.cpu_stats.clone(), ..now }
}

async fn sample(inner: &Arc<Inner>, container: &Arc<Container>) -> Stats {
    let snapshot = container.snapshot();
    let empty = Stats {
        id: snapshot.record.id.to_string(),
        name: snapshot.record.name.clone(),
        os_type: "linux".to_owned(),
        ..Stats::default()
    };
    if !snapshot.record.state.has_process() {
        return empty;
    }
    let (inner, facts, like) = (Arc::clone(inner), Arc::clone(&snapshot), empty.clone());
    // One that ends meanwhile has no counters any more: that is the same as not running.
    blocking(move || read(&inner, &facts, like)).await.unwrap_or(empty)
}

fn read(inner: &Inner, snapshot: &Snapshot, empty: Stats) -> Result<Stats> {
    let counters = inner.cgroup(snapshot)?.stats().context(|| "read cgroup counters")?;
    let host = std::fs::read_to_string("/proc/stat").context(|| "read /proc/stat")?;
    let pid = snapshot.record.state.pid;
    let interfaces =
        std::fs::read_to_string(format!("/proc/{pid}/net/dev")).context(|| "read interfaces")?;
    let has_network = snapshot.host_config.network_mode != "host";
    let (system_cpu_usage, online_cpus) = host_cpu(&host);
    Ok(Stats {
        read: davit_api::Time::now(),
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: counters.cpu.usage,
                percpu_usage: counters.cpu.per_cpu.clone(),
                usage_in_kernelmode: counters.cpu.system,
                usage_in_usermode: counters.cpu.user,
            },
            system_cpu_usage,
            online_cpus,
            throttling_data: ThrottlingData {
                periods: counters.cpu.periods,
                throttled_periods: counters.cpu.throttled_periods,
                throttled_time: counters.cpu.throttled_time,
            },
        },
        memory_stats: memory(&counters.memory),
        networks: has_network.then(|| traffic(&interfaces)),
        pids_stats: PidsStats {
            current: counters.pids.current,
            limit: counters.pids.limit.unwrap_or(u64::MAX),
        },
        blkio_stats: blkio(&counters.blkio_bytes),
        ..empty
    })
}

/// The limit is at most the machine's memory.
fn memory(counters: &cgroup::MemoryStats) -> MemoryStats {
    MemoryStats {
        usage: counters.usage,
        max_usage: counters.max_usage,
        stats: counters.stat.clone(),
        failcnt: counters.failcnt,
        limit: counters.limit.min(crate::system::memory_total()),
    }
}

fn blkio(entries: &[cgroup::BlkioEntry]) -> BlkioStats {
    let bytes = entries
        .iter()
        .map(|entry| BlkioEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.operation.clone(),
            value: entry.value,
        })
        .collect();
    BlkioStats {
        io_service_bytes_recursive: Some(bytes),
        io_serviced_recursive: Some(Vec::new()),
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

/// Processor time of the whole host in nanoseconds, and how many processors there are.
fn host_cpu(text: &str) -> (u64, u32) {
    // USER_HZ is 100 on every architecture that Linux runs containers on.
    const NANOSECONDS_PER_TICK: u64 = 10_000_000;
    let mut total = 0;
    let mut cpus = 0;
    for line in text.lines().take_while(|line| line.starts_with("cpu")) {
        let mut words = line.split_whitespace();
        if words.next() == Some("cpu") {
            // user nice system idle iowait irq softirq; steal and guest are in the others.
            total = words.take(7).filter_map(|word| word.parse::<u64>().ok()).sum();
        } else {
            cpus += 1;
        }
    }
    (total * NANOSECONDS_PER_TICK, cpus)
}

/// `/proc/<pid>/net/dev` without the loopback interface.
fn traffic(text: &str) -> BTreeMap<String, NetworkStats> {
    let mut interfaces = BTreeMap::new();
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let numbers: Vec<u64> =
            numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            ..,
        ] = numbers[..]
        else {
            continue;
        };
        if name.trim() != "lo" {
            let stats = NetworkStats {
                rx_bytes,
                rx_packets,
                rx_errors,
                rx_dropped,
                tx_bytes,
                tx_packets,
                tx_errors,
                tx_dropped,
            };
            interfaces.insert(name.trim().to_owned(), stats);
        }
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_time_is_the_sum_of_seven_columns() {
        let text = "cpu  1 2 3 4 5 6 7 100 100\ncpu0 1 1\ncpu1 1 1\nintr 5\n";
        assert_eq!(host_cpu(text), (280_000_000, 2));
    }

    #[test]
    fn traffic_leaves_the_loopback_out() {
        let text = "a\nb\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 20 5 6 \
                    7 0 0 0 0\n";
        let traffic = traffic(text);
        assert_eq!(traffic.keys().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!((traffic["eth0"].rx_bytes, traffic["eth0"].tx_dropped), (10, 7));
    }
}
