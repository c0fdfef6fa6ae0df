//! `davit info`

use clap::Args;
use davit_api::system::Info as Answer;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::output::template::{Template, Value};
use crate::output::{self, units};
use crate::session::Session;

/// Flags of `davit info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Print with a Go template, or 'json'
    #[arg(long, short)]
    format: Option<String>,
    operands: Vec<String>,
}

impl Verb for Info {
    const ABOUT: &'static str = "Show what the engine and this machine are like";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let bytes = session.client.get_raw("/info", &Query::new()).await;
        if let Some(format) = self.format.as_deref().filter(|text| !text.is_empty()) {
            let value = Value::parse(&bytes?).map_err(Failure::new)?;
            let template = Template::parse(if format == "json" { "{{json .}}" } else { format })?;
            return output::line(&template.render(&value)?);
        }
        let client = format!(
            "Client: Davit\n Version:    {}\n Context:    default\n Debug Mode: false\n\nServer:\n",
            env!("CARGO_PKG_VERSION")
        );
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(failure) => {
                output::text(&client)?;
                return Err(failure);
            }
        };
        let info: Answer = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(format!("the daemon's answer is not understood: {error}"))
        })?;
        output::text(&(client + &describe(&info)))?;
        for warning in info.warnings.unwrap_or_default() {
            output::complain(&warning);
        }
        Ok(0)
    }
}

fn describe(info: &Answer) -> String {
    let mut lines = vec![
        format!("Containers: {}", info.containers),
        format!(" Running: {}", info.containers_running),
        format!(" Paused: {}", info.containers_paused),
        format!(" Stopped: {}", info.containers_stopped),
        format!("Images: {}", info.images),
        format!("Server Version: {}", info.server_version),
        format!("Storage Driver: {}", info.driver),
    ];
    lines.extend(info.driver_status.iter().map(|[key, value]| format!(" {key}: {value}")));
    lines.push(format!("Logging Driver: {}", info.logging_driver));
    lines.push(format!("Cgroup Driver: {}", info.cgroup_driver));
    lines.push(format!("Cgroup Version: {}", info.cgroup_version));
    lines.push("Plugins:".to_owned());
    lines.push(format!(" Volume: {}", info.plugins.volume.join(" ")));
    lines.push(format!(" Network: {}", info.plugins.network.join(" ")));
    lines.push(format!(" Log: {}", info.plugins.log.join(" ")));
    lines.push(format!("Swarm: {}", info.swarm.local_node_state));
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    lines.push(format!("Runtimes: {}", runtimes.join(" ")));
    lines.push(format!("Default Runtime: {}", info.default_runtime));
    lines.push(format!("Init Binary: {}", info.init_binary));
    lines.push(format!("containerd version: {}", info.containerd_commit.id));
    lines.push(format!("runc version: {}", info.runc_commit.id));
    lines.push(format!("init version: {}", info.init_commit.id));
    lines.push("Security Options:".to_owned());
    lines.extend(info.security_options.iter().flat_map(|option| security_option(option)));
    lines.push(format!("Kernel Version: {}", info.kernel_version));
    lines.push(format!("Operating System: {}", info.operating_system));
    lines.push(format!("OSType: {}", info.os_type));
    lines.push(format!("Architecture: {}", info.architecture));
    lines.push(format!("CPUs: {}", info.ncpu));
    lines.push(format!("Total Memory: {}", units::binary_size(info.mem_total as f64)));
    lines.push(format!("Name: {}", info.name));
    lines.push(format!("ID: {}", info.id));
    lines.push(format!("Docker Root Dir: {}", info.docker_root_dir));
    lines.push(format!("Debug Mode: {}", info.debug));
    lines.push(format!("Experimental: {}", info.experimental_build));
    lines.push("Insecure Registries:".to_owned());
    if let Some(registries) = &info.registry_config {
        let insecure = registries.index_configs.values().filter(|index| !index.secure);
        lines.extend(insecure.map(|index| format!(" {}", index.name)));
        lines.extend(registries.insecure_registry_cidrs.iter().map(|cidr| format!(" {cidr}")));
    }
    lines.push(format!("Live Restore Enabled: {}", info.live_restore_enabled));
    if let Some(firewall) = &info.firewall_backend {
        lines.push(format!("Firewall Backend: {}", firewall.driver));
    }
    lines.iter().map(|line| format!(" {line}\n")).collect::<String>() + "\n"
}

/// `name=seccomp,profile=builtin` as a line for the name and one for each detail.
fn security_option(option: &str) -> Vec<String> {
    let mut parts = option.split(',');
    let first = parts.next().unwrap_or_default();
    let name = first.strip_prefix("name=").unwrap_or(first);
    let details = parts.filter_map(|part| part.split_once('='));
    let mut lines = vec![format!(" {name}")];
    lines.extend(details.map(|(key, value)| {
        let key = if key == "profile" { "Profile" } else { key };
        format!("  {key}: {value}")
    }));
    lines
}
