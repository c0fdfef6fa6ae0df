//! Whether and when the restart policy starts a process again: Docker's rules, without side effects.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::{RestartPolicy, RestartWhen};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// A run that lasted this long was no failed start: the delays begin anew.
const SETTLED: Duration = Duration::from_secs(10);

/// What has to be remembered between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Restarts so far.
    pub count: u32,
    /// The last delay; zero before the first.
    pub delay: Duration,
}

/// The history after one more restart, whose `delay` is to be waited for first; `None`: it has ended
/// for good. `exit_code` and `ran_for` are those of the run that ended.
pub fn next(
    policy: RestartPolicy,
    history: History,
    exit_code: i32,
    ran_for: Duration,
) -> Option<History> {
    let wanted = match policy.when {
        RestartWhen::No => false,
        RestartWhen::Always => true,
        RestartWhen::OnFailure => {
            let may = policy.max_retries == 0 || history.count < policy.max_retries;
            may && exit_code != 0
        }
    };
    if !wanted {
        return None;
    }
    let delay = if ran_for >= SETTLED || history.delay.is_zero() {
        FIRST
    } else {
        (history.delay * 2).min(LONGEST)
    };
    Some(History { count: history.count + 1, delay })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(when: RestartWhen, max_retries: u32) -> RestartPolicy {
        RestartPolicy { when, max_retries, count: 0 }
    }

    #[test]
    fn policies_decide_by_exit_code_and_count() {
        use RestartWhen::{Always, No, OnFailure};
        let table = [
            (policy(No, 0), 0, 1, false),
            (policy(Always, 0), 0, 0, true),
            (policy(Always, 0), 1000, 137, true),
            (policy(OnFailure, 0), 0, 0, false),
            (policy(OnFailure, 0), 1000, 1, true),
            (policy(OnFailure, 3), 2, 1, true),
            (policy(OnFailure, 3), 3, 1, false),
            (policy(OnFailure, 3), 0, 0, false),
        ];
        for (policy, count, exit_code, expected) in table {
            let history = History { count, delay: Duration::ZERO };
            let next = next(policy, history, exit_code, Duration::ZERO);
            assert_eq!(next.is_some(), expected, "{policy:?} {count} {exit_code}");
            assert_eq!(next.map_or(count, |next| next.count), count + u32::from(expected));
        }
    }

    #[test]
    fn delays_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let always = policy(RestartWhen::Always, 0);
        let mut history = History::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            history = next(always, history, 0, Duration::from_secs(9)).expect("always");
            delays.push(history.delay.as_millis());
        }
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000];
        assert_eq!(delays, expected);
        let history = next(always, history, 0, Duration::from_secs(10)).expect("always");
        assert_eq!((history.delay, history.count), (FIRST, 13));
    }
}
