//! `top`: the host's `ps`, cut down to the container's processes.

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_api::container::TopResponse;
use davit_types::{Context, Error, Result};

use super::blocking;
use crate::{Engine, error};

impl Engine {
    /// The container's processes as `ps` shows them; `ps_args` are its options, `-ef` by default.
    ///
    /// # Errors
    /// The container does not run (409), or `ps` does not like its options.
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<TopResponse> {
        let container = self.inner().containers.find(name)?;
        let snapshot = container.snapshot();
        if !snapshot.record.state.running {
            return Err(error::not_running(container.id.as_str()));
        }
        if snapshot.record.state.restarting {
            return Err(error::restarting(container.id.as_str()));
        }
        let args: Vec<String> = match ps_args.trim() {
            "" => vec!["-ef".to_owned()],
            args => args.split_whitespace().map(str::to_owned).collect(),
        };
        let inner = Arc::clone(self.inner());
        let facts = Arc::clone(&snapshot);
        let response = blocking(move || {
            let pids =
                inner.cgroup(&facts)?.procs().context(|| "list the container's processes")?;
            processes(&run_ps(&args)?, &pids.into_iter().collect())
        })
        .await?;
        self.inner().publish(&snapshot, "top", &[]);
        Ok(response)
    }
}

fn run_ps(args: &[String]) -> Result<String> {
    let output = std::process::Command::new("ps").args(args).output().context(|| "run ps")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(Error::internal(format!("ps: {}", message.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The lines of `text` whose process is one of `pids`, in columns; the last takes the rest.
fn processes(text: &str, pids: &BTreeSet<i32>) -> Result<TopResponse> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let column = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::internal("Couldn't find PID field in ps output"))?;
    let rows = lines.filter_map(|line| {
        let row = columns(line, titles.len());
        let pid = row.get(column)?.parse().ok()?;
        pids.contains(&pid).then_some(row)
    });
    Ok(TopResponse { processes: rows.collect(), titles })
}

fn columns(line: &str, count: usize) -> Vec<String> {
    let mut rest = line.trim();
    let mut row = Vec::with_capacity(count);
    while row.len() + 1 < count {
        let Some((word, tail)) = rest.split_once(char::is_whitespace) else { break };
        row.push(word.to_owned());
        rest = tail.trim_start();
    }
    row.push(rest.to_owned());
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_filtered_by_process_and_the_command_keeps_its_spaces() {
        let text = "UID   PID  PPID CMD\nroot    1     0 init\nroot   42     1 sh -c  echo x\n";
        let response = processes(text, &BTreeSet::from([42])).expect("has a PID column");
        assert_eq!(response.titles, ["UID", "PID", "PPID", "CMD"]);
        assert_eq!(response.processes, [["root", "42", "1", "sh -c  echo x"]]);
        let error = processes("A B\n", &BTreeSet::new()).expect_err("no PID column");
        assert_eq!(error.to_string(), "Couldn't find PID field in ps output");
    }
}
