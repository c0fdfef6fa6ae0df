//! What runs: command, environment, user, streams, labels, restart policy, logging.

use std::collections::BTreeMap;

use clap::Args;
use davit_api::container::{Config, HostConfig, LogConfig, RestartPolicy};

use crate::failure::Failure;
use crate::flags::text::{key_value, key_value_file};
use crate::flags::values;

#[derive(Debug, Args)]
pub(super) struct ProcessFlags {
    /// Connect to this stream of the container: stdin, stdout or stderr
    #[arg(long, short, value_parser = values::standard_stream)]
    pub(super) attach: Vec<String>,
    /// Note for the OCI runtime
    #[arg(long, value_name = "map")]
    annotation: Vec<String>,
    /// File to write the container's id to
    #[arg(long)]
    pub(super) cidfile: Option<String>,
    /// NIS domain name of the container
    #[arg(long)]
    domainname: Option<String>,
    /// Program to run in place of the image's ENTRYPOINT
    #[arg(long)]
    entrypoint: Option<String>,
    /// Environment variable, NAME=value, or NAME for its value here
    #[arg(long, short, value_parser = values::environment)]
    env: Vec<String>,
    /// File with environment variables, one on each line
    #[arg(long)]
    env_file: Vec<String>,
    /// Additional group of the process
    #[arg(long)]
    group_add: Vec<String>,
    /// Host name of the container
    #[arg(long, short = 'h')]
    hostname: Option<String>,
    /// Put an init process in front that forwards signals and reaps children
    #[arg(long, value_parser = values::boolean, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    init: Option<bool>,
    /// Keep standard input open even if nobody is attached
    #[arg(long, short)]
    interactive: bool,
    /// Label, key=value
    #[arg(long, short, value_parser = values::label)]
    label: Vec<String>,
    /// File with labels, one on each line
    #[arg(long)]
    label_file: Vec<String>,
    /// Driver that keeps the container's output
    #[arg(long)]
    log_driver: Option<String>,
    /// Option of the log driver, key=value
    #[arg(long)]
    log_opt: Vec<String>,
    /// What to do when the container ends: no, on-failure[:max], always, unless-stopped
    #[arg(long, default_value = "no")]
    restart: String,
    /// Remove the container and its anonymous volumes once it ends
    #[arg(long)]
    rm: bool,
    /// OCI runtime to use
    #[arg(long)]
    runtime: Option<String>,
    /// Signal that stops the container
    #[arg(long)]
    stop_signal: Option<String>,
    /// Seconds from the stop signal to the kill
    #[arg(long, value_name = "int", value_parser = values::integer)]
    stop_timeout: Option<i64>,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// User to run as, name or number, optionally with :group
    #[arg(long, short)]
    user: Option<String>,
    /// Directory to start in
    #[arg(long, short)]
    workdir: Option<String>,
}

impl ProcessFlags {
    pub(super) fn apply(
        &self,
        config: &mut Config,
        host_config: &mut HostConfig,
    ) -> Result<(), Failure> {
        self.apply_streams(config);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        config.hostname = text(&self.hostname);
        config.domainname = text(&self.domainname);
        config.user = text(&self.user);
        config.working_dir = text(&self.workdir);
        config.stop_signal = text(&self.stop_signal);
        config.stop_timeout = self.stop_timeout;
        config.entrypoint = self.entrypoint.clone().map(|program| vec![program]);
        config.env = self.environment()?;
        config.labels = Some(self.labels()?);
        host_config.auto_remove = self.rm;
        host_config.init = self.init;
        host_config.runtime = text(&self.runtime);
        host_config.container_id_file = text(&self.cidfile);
        host_config.group_add = (!self.group_add.is_empty()).then(|| self.group_add.clone());
        host_config.annotations = self.annotation.iter().map(|text| key_value(text)).collect();
        host_config.restart_policy = restart_policy(&self.restart)?;
        host_config.log_config = self.log_config()?;
        Ok(())
    }

    fn apply_streams(&self, config: &mut Config) {
        config.tty = self.tty;
        config.open_stdin = self.interactive;
        if self.attach.is_empty() {
            config.attach_stdin = self.interactive;
            config.attach_stdout = true;
            config.attach_stderr = true;
        } else {
            let wants = |stream: &str| self.attach.iter().any(|name| name == stream);
            config.attach_stdin = wants("stdin");
            config.attach_stdout = wants("stdout");
            config.attach_stderr = wants("stderr");
        }
        config.stdin_once = config.open_stdin && config.attach_stdin;
    }

    fn environment(&self) -> Result<Option<Vec<String>>, Failure> {
        let all = environment(&self.env_file, &self.env)?;
        Ok((!all.is_empty()).then_some(all))
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut labels = BTreeMap::new();
        for file in &self.label_file {
            labels.extend(key_value_file(file, |_| None)?.iter().map(|line| key_value(line)));
        }
        labels.extend(self.label.iter().map(|text| key_value(text)));
        Ok(labels)
    }

    fn log_config(&self) -> Result<LogConfig, Failure> {
        let kind = self.log_driver.clone().unwrap_or_default();
        if kind == "none" && !self.log_opt.is_empty() {
            return Err(Failure::new("invalid logging opts for driver none"));
        }
        Ok(LogConfig { kind, config: self.log_opt.iter().map(|text| key_value(text)).collect() })
    }
}

/// The variables of `--env-file` and `--env`; a bare name takes the value it has here.
pub(crate) fn environment(files: &[String], pairs: &[String]) -> Result<Vec<String>, Failure> {
    let here = |name: &str| std::env::var(name).ok();
    let mut all = Vec::new();
    for file in files {
        all.extend(key_value_file(file, here)?);
    }
    all.extend(pairs.iter().map(|pair| match pair.contains('=') {
        true => pair.clone(),
        false => here(pair).map_or_else(|| pair.clone(), |value| format!("{pair}={value}")),
    }));
    Ok(all)
}

/// `name[:maximum]`
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, Failure> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    if name.is_empty() && count.is_some() {
        return Err(Failure::new("invalid restart policy format: no policy provided before colon"));
    }
    let maximum_retry_count = match count {
        None => 0,
        Some(count) => count.parse().map_err(|_| {
            Failure::new("invalid restart policy format: maximum retry count must be an integer")
        })?,
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}
