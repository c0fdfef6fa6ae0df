//! `davit update`

use clap::Args;
use davit_api::container::{RestartPolicy, UpdateResponse};
use serde::Serialize;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::commands::for_each;
use crate::failure::{Failure, Outcome};
use crate::flags::container::restart_policy;
use crate::flags::values;
use crate::output;
use crate::session::Session;

/// Flags of `davit update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Relative weight of block I/O, 10 to 1000, 0 for none
    #[arg(long, value_name = "uint16", value_parser = values::small_unsigned)]
    blkio_weight: Option<u16>,
    /// Period of the CPU quota in microseconds
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_period: Option<i64>,
    /// CPU quota in microseconds per period
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_quota: Option<i64>,
    /// Real-time period in microseconds
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_rt_period: Option<i64>,
    /// Real-time runtime in microseconds
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_rt_runtime: Option<i64>,
    /// Relative weight of the CPU
    #[arg(long, short = 'c', value_name = "int", value_parser = values::integer)]
    cpu_shares: Option<i64>,
    /// How many CPUs may be used
    #[arg(long, value_name = "decimal", value_parser = values::cpus)]
    cpus: Option<i64>,
    /// Which CPUs may be used, such as 0-3 or 0,1
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Which memory nodes may be used
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(long, short, value_name = "bytes", value_parser = values::bytes)]
    memory: Option<i64>,
    /// Soft memory limit
    #[arg(long, value_name = "bytes", value_parser = values::bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together, -1 for unlimited swap
    #[arg(long, value_name = "bytes", value_parser = values::swap_bytes)]
    memory_swap: Option<i64>,
    /// Limit of processes, -1 for none
    #[arg(long, value_name = "int", value_parser = values::integer)]
    pids_limit: Option<i64>,
    /// What to do when the container ends
    #[arg(long)]
    restart: Option<String>,
    operands: Vec<String>,
}

/// Only what is to change; the daemon keeps the rest.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Changes {
    blkio_weight: u16,
    cpu_shares: i64,
    memory: i64,
    memory_reservation: i64,
    memory_swap: i64,
    nano_cpus: i64,
    cpu_period: i64,
    cpu_quota: i64,
    cpu_realtime_period: i64,
    cpu_realtime_runtime: i64,
    cpuset_cpus: String,
    cpuset_mems: String,
    pids_limit: Option<i64>,
    restart_policy: RestartPolicy,
}

impl Verb for Update {
    const ABOUT: &'static str = "Change the limits or the restart policy of containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        if !self.says_something() {
            return Err(Failure::new("you must provide one or more flags when using this command"));
        }
        let changes = self.changes()?;
        for_each(&self.operands, async |name| {
            let response: UpdateResponse =
                session.client.post_json(&path(name, "/update"), &Query::new(), &changes).await?;
            for warning in response.warnings.unwrap_or_default() {
                output::complain(&warning);
            }
            Ok(name.to_owned())
        })
        .await
    }
}

impl Update {
    fn says_something(&self) -> bool {
        let numbers = [
            self.cpu_period,
            self.cpu_quota,
            self.cpu_rt_period,
            self.cpu_rt_runtime,
            self.cpu_shares,
            self.cpus,
            self.memory,
            self.memory_reservation,
            self.memory_swap,
            self.pids_limit,
        ];
        let texts = [&self.cpuset_cpus, &self.cpuset_mems, &self.restart];
        self.blkio_weight.is_some()
            || numbers.iter().any(Option::is_some)
            || texts.iter().any(|text| text.is_some())
    }

    fn changes(&self) -> Outcome<Changes> {
        let number = |value: Option<i64>| value.unwrap_or(0);
        Ok(Changes {
            blkio_weight: self.blkio_weight.unwrap_or(0),
            cpu_shares: number(self.cpu_shares),
            memory: number(self.memory),
            memory_reservation: number(self.memory_reservation),
            memory_swap: number(self.memory_swap),
            nano_cpus: number(self.cpus),
            cpu_period: number(self.cpu_period),
            cpu_quota: number(self.cpu_quota),
            cpu_realtime_period: number(self.cpu_rt_period),
            cpu_realtime_runtime: number(self.cpu_rt_runtime),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            pids_limit: self.pids_limit,
            restart_policy: match &self.restart {
                Some(text) => restart_policy(text)?,
                None => RestartPolicy::default(),
            },
        })
    }
}
