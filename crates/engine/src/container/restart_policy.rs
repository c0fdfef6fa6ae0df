//! Restart policies: what the monitor is told, and what happens when the daemon starts. Pure.

use davit_api::container::RestartPolicy;
use davit_monitor::task;

use super::State;

/// The policy in the monitor's words.
pub(crate) fn task_policy(policy: &RestartPolicy) -> task::RestartPolicy {
    let when = match policy.name.as_str() {
        "always" | "unless-stopped" => task::RestartWhen::Always,
        "on-failure" => task::RestartWhen::OnFailure,
        _ => task::RestartWhen::No,
    };
    let max_retries = u32::try_from(policy.maximum_retry_count).unwrap_or(0);
    task::RestartPolicy { when, max_retries, count: 0 }
}

/// Does a container that does not run come back when the daemon starts? `always` does even after it
/// was stopped by hand.
pub(crate) fn starts_with_daemon(
    policy: &RestartPolicy,
    state: &State,
    manually_stopped: bool,
    started_before: bool,
    restart_count: u32,
) -> bool {
    let retries_left =
        policy.maximum_retry_count == 0 || i64::from(restart_count) < policy.maximum_retry_count;
    match policy.name.as_str() {
        "always" => started_before,
        "unless-stopped" => started_before && !manually_stopped,
        "on-failure" => started_before && !manually_stopped && state.exit_code != 0 && retries_left,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_with_the_daemon() {
        for (name, exit_code, by_hand, comes_back) in [
            ("no", 1, false, false),
            ("always", 0, false, true),
            ("always", 0, true, true),
            ("unless-stopped", 0, false, true),
            ("unless-stopped", 0, true, false),
            ("on-failure", 0, false, false),
            ("on-failure", 1, false, true),
            ("on-failure", 1, true, false),
        ] {
            let policy = RestartPolicy { name: name.into(), maximum_retry_count: 0 };
            let state = State { exit_code, ..State::default() };
            let answer = starts_with_daemon(&policy, &state, by_hand, true, 0);
            assert_eq!(answer, comes_back, "{name} {exit_code} {by_hand}");
        }
    }
}
