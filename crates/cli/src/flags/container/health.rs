//! Health checks.

use clap::Args;
use davit_api::container::HealthConfig;

use crate::failure::Failure;
use crate::flags::values;

#[derive(Debug, Args)]
pub(super) struct HealthFlags {
    /// Command that tells whether the container is healthy
    #[arg(long)]
    health_cmd: Option<String>,
    /// Time from one check to the next
    #[arg(long, value_name = "duration", value_parser = values::duration)]
    health_interval: Option<i64>,
    /// Failures in a row that make the container unhealthy
    #[arg(long, value_name = "int", value_parser = values::integer)]
    health_retries: Option<i64>,
    /// Time from one check to the next while the container starts
    #[arg(long, value_name = "duration", value_parser = values::duration)]
    health_start_interval: Option<i64>,
    /// Time the container may take to start before failures count
    #[arg(long, value_name = "duration", value_parser = values::duration)]
    health_start_period: Option<i64>,
    /// Time a check may take
    #[arg(long, value_name = "duration", value_parser = values::duration)]
    health_timeout: Option<i64>,
    /// Run no health checks, not even the image's
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    /// What the flags say, if they say anything.
    pub(super) fn config(&self) -> Result<Option<HealthConfig>, Failure> {
        let numbers = [
            ("interval", self.health_interval),
            ("timeout", self.health_timeout),
            ("retries", self.health_retries),
            ("start-period", self.health_start_period),
            ("start-interval", self.health_start_interval),
        ];
        let is_set = self.health_cmd.is_some()
            || numbers.iter().any(|(_, number)| number.is_some_and(|n| n != 0));
        if self.no_healthcheck {
            if is_set {
                return Err(Failure::new("--no-healthcheck conflicts with --health-* options"));
            }
            return Ok(Some(HealthConfig {
                test: vec!["NONE".to_owned()],
                ..HealthConfig::default()
            }));
        }
        if let Some((name, _)) = numbers.iter().find(|(_, number)| number.is_some_and(|n| n < 0)) {
            return Err(Failure::new(format!("--health-{name} cannot be negative")));
        }
        let test = self.health_cmd.as_ref().filter(|command| !command.is_empty());
        Ok(is_set.then(|| HealthConfig {
            test: test
                .map(|command| vec!["CMD-SHELL".to_owned(), command.clone()])
                .unwrap_or_default(),
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
        }))
    }
}
