//! `ps`

use std::process::{Command, Stdio};

use davit_runtime::state::{State, Status};
use davit_types::{Context, Error, Result};

use super::list::Format;
use super::{Host, failed, print};

/// Flags of `ps`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Form of the list; json is the pids alone
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// Options for ps (default: -ef); its output needs a PID column
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<()> {
    let state = State::load(&host.root, &args.id).map_err(failed)?;
    if state.status() == Status::Stopped {
        return Err(Error::conflict("container not running"));
    }
    let pids = davit_runtime::processes(&host.root, &args.id).map_err(failed)?;
    if args.format == Format::Json {
        return print(&(serde_json::to_string(&pids).expect("numbers") + "\n"));
    }
    let default = ["-ef".to_owned()];
    let options = if args.options.is_empty() { &default[..] } else { &args.options };
    let output = Command::new("ps").args(options).stderr(Stdio::inherit()).output();
    let output = output.context(|| "run ps")?;
    if !output.status.success() {
        return Err(Error::internal(format!("ps {}: {}", options.join(" "), output.status)));
    }
    print(&filter(&String::from_utf8_lossy(&output.stdout), &pids)?)
}

/// The title and the lines whose PID is one of `pids`.
fn filter(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::invalid("couldn't find PID field in ps output"))?;
    let mut text = format!("{title}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let table = "UID PID CMD\nroot 1 init\nroot 12 a b\nroot 2 c\n";
        assert_eq!(
            filter(table, &[12, 2]).expect("a column"),
            "UID PID CMD\nroot 12 a b\nroot 2 c\n"
        );
        assert!(filter("UID CMD\n", &[1]).is_err());
    }
}
