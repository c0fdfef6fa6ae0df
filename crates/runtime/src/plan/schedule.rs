//! Scheduler, input/output priority and processors of a process.

use davit_sys::schedule::Scheduler;
use davit_types::oci::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    Process, Scheduler as SpecScheduler,
};

use super::config;
use crate::Failure;

/// When and where a process gets a processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Policy and its parameters; absent: the caller's.
    pub scheduler: Option<Scheduler>,
    /// Class and level of input and output; absent: the caller's.
    pub io_priority: Option<(u32, u32)>,
    /// Processors of an exec before it is in the container's cgroup; empty: the caller's.
    pub first_processors: Vec<usize>,
    /// Processors of an exec from then on; empty: those of the cgroup.
    pub processors: Vec<usize>,
}

impl Schedule {
    pub(super) fn new(process: &Process) -> Result<Self, Failure> {
        let affinity = process.exec_cpu_affinity().as_ref();
        let list = |list: fn(&ExecCPUAffinity) -> &Option<String>| {
            let text = affinity.and_then(|affinity| list(affinity).as_deref()).unwrap_or_default();
            number_list(text, "process.execCPUAffinity")
        };
        Ok(Self {
            scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
            io_priority: process.io_priority().map(io_priority).transpose()?,
            first_processors: list(ExecCPUAffinity::initial)?,
            processors: list(ExecCPUAffinity::cpu_affinity_final)?,
        })
    }
}

fn scheduler(wanted: &SpecScheduler) -> Result<Scheduler, Failure> {
    const OBJECT: &str = "process.scheduler";
    let policy = *wanted.policy();
    let nice = wanted.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(config(OBJECT, format!("invalid scheduler.nice: {nice}")));
    }
    let priority = wanted.priority().unwrap_or(0);
    let real_time =
        matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    if priority != 0 && !real_time {
        let text = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        return Err(config(OBJECT, text));
    }
    let times =
        [*wanted.runtime(), *wanted.deadline(), *wanted.period()].map(Option::unwrap_or_default);
    if times != [0; 3] && policy != LinuxSchedulerPolicy::SchedDeadline {
        let text =
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        return Err(config(OBJECT, text));
    }
    let mut attr = Scheduler::default();
    attr.policy = match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    attr.nice = nice;
    attr.priority = u32::try_from(priority)
        .map_err(|_| config(OBJECT, format!("invalid scheduler.priority: {priority}")))?;
    [attr.runtime, attr.deadline, attr.period] = times;
    let flags = wanted.flags().iter().flatten();
    attr.flags = flags.fold(0, |bits, flag| bits | flag_bit(*flag));
    Ok(attr)
}

fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

fn io_priority(wanted: LinuxIOPriority) -> Result<(u32, u32), Failure> {
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(wanted.priority()) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => {
            let text = format!("invalid ioPriority.priority: {}", wanted.priority());
            Err(config("process.ioPriority", text))
        }
    }
}

/// The numbers of a list such as `0-3,7`.
pub(super) fn number_list(text: &str, object: &str) -> Result<Vec<usize>, Failure> {
    /// As many processors or nodes as any kernel can be built for.
    const MOST: usize = 8192;
    let bad = || config(object, format!("{object}: invalid list {text:?}"));
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<usize>().map_err(|_| bad());
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= MOST {
            return Err(bad());
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn schedule(fields: Value) -> Result<Schedule, Failure> {
        let mut process = json!({"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"});
        for (name, value) in fields.as_object().expect("fields") {
            process[name] = value.clone();
        }
        let process: Process = serde_json::from_value(process).expect("a process");
        Schedule::new(&process)
    }

    #[test]
    fn what_is_asked_for_is_planned() {
        let wanted = schedule(json!({
            "scheduler": {"policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_RESET_ON_FORK"]},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
            "execCPUAffinity": {"initial": "1", "final": "0-2,5"},
        }))
        .expect("a schedule");
        let scheduler = wanted.scheduler.expect("a scheduler");
        assert_eq!((scheduler.policy, scheduler.priority, scheduler.flags), (1, 5, 1));
        assert_eq!(wanted.io_priority, Some((2, 3)));
        assert_eq!((wanted.first_processors, wanted.processors), (vec![1], vec![0, 1, 2, 5]));
        assert_eq!(schedule(json!({})).expect("nothing"), Schedule::default());
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let cases = [
            (json!({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}), "scheduler.nice: 20"),
            (
                json!({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}}),
                "SchedFIFO or SchedRR",
            ),
            (
                json!({"scheduler": {"policy": "SCHED_RR", "priority": -1}}),
                "scheduler.priority: -1",
            ),
            (json!({"scheduler": {"policy": "SCHED_BATCH", "period": 1}}), "SchedDeadline policy"),
            (
                json!({"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}}),
                "ioPriority.priority: 8",
            ),
        ];
        for (fields, expected) in cases {
            let failure = schedule(fields).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
        }
    }

    #[test]
    fn lists_of_numbers_are_read_or_refused() {
        assert_eq!(number_list("3,0-2,1", "x").expect("a list"), [0, 1, 2, 3]);
        assert!(number_list(" ", "x").expect("an empty list").is_empty());
        for bad in ["3-1", "a", "1,", "0-99999999999", "0-9000", "-1"] {
            assert!(number_list(bad, "x").is_err(), "{bad}");
        }
    }
}
