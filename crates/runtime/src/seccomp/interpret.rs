//! What a profile means, in the plainest way: compared with what its program does.

use std::collections::BTreeMap;

use davit_sys::seccomp::Instruction;
use davit_types::oci::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::compile::{X32_BIT, compile};
use super::syscalls::{Abi, number};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const KILL_PROCESS: u32 = 0x8000_0000;
const ENOSYS: u32 = 0x0005_0026;

/// A system call as the kernel shows it to a filter.
#[derive(Debug, Clone, Copy)]
struct Call {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

/// The kernel's interpreter.
fn execute(program: &[Instruction], call: Call) -> u32 {
    let mut data = vec![call.number, call.arch, 0, 0];
    data.extend(call.args.iter().flat_map(|arg| [*arg as u32, (*arg >> 32) as u32]));
    let (mut at, mut a) = (0, 0_u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                a = data[k as usize / 4];
                continue;
            }
            0x54 => {
                a &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => a == k,
            0x25 => a > k,
            0x35 => a >= k,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

/// The answer by reading the profile from the top.
fn read(profile: &Value, call: Call) -> u32 {
    let listed =
        |name: &str| profile["architectures"].as_array().expect("a list").contains(&json!(name));
    let (abi, own) = match call.arch {
        AUDIT_ARCH_X86_64 if call.number < X32_BIT => (Abi::X86_64, call.number),
        AUDIT_ARCH_X86_64 if listed("SCMP_ARCH_X32") => (Abi::X32, call.number),
        AUDIT_ARCH_I386 if listed("SCMP_ARCH_X86") => (Abi::I386, call.number),
        _ => return KILL_PROCESS,
    };
    let default = answer(&profile["defaultAction"], &profile["defaultErrnoRet"]);
    let entries = profile["syscalls"].as_array().expect("a list");
    let numbers = |entry: &Value| -> Vec<u32> {
        let names = entry["names"].as_array().expect("a list");
        names.iter().filter_map(|name| number(name.as_str().expect("a name"), abi)).collect()
    };
    let about: Vec<&Value> = entries
        .iter()
        .filter(|entry| numbers(entry).contains(&own))
        .filter(|entry| answer(&entry["action"], &entry["errnoRet"]) != default)
        .collect();
    let args = |entry: &Value| -> Vec<LinuxSeccompArg> {
        serde_json::from_value(entry["args"].clone()).unwrap_or_default()
    };
    let conditional = about.iter().find(|entry| {
        let args = args(entry);
        let mut times = BTreeMap::new();
        args.iter().for_each(|arg| *times.entry(arg.index()).or_insert(0) += 1);
        let any = times.values().any(|times| *times > 1);
        !args.is_empty()
            && if any {
                args.iter().any(|arg| holds(arg, call))
            } else {
                args.iter().all(|arg| holds(arg, call))
            }
    });
    let found = conditional.or_else(|| about.iter().find(|entry| args(entry).is_empty()));
    if let Some(entry) = found {
        return answer(&entry["action"], &entry["errnoRet"]);
    }
    let newest = entries.iter().flat_map(numbers).max().unwrap_or(0);
    let refuses = ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS"];
    let refuses = refuses.contains(&profile["defaultAction"].as_str().expect("a name"));
    if refuses && newest != 0 && own > newest { ENOSYS } else { default }
}

fn answer(action: &Value, errno: &Value) -> u32 {
    let errno = u32::try_from(errno.as_u64().unwrap_or(1)).expect("a small number");
    match action.as_str().expect("a name") {
        "SCMP_ACT_KILL" => 0,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 + errno,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 + errno,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        _ => 0x7fff_0000,
    }
}

fn holds(arg: &LinuxSeccompArg, call: Call) -> bool {
    let (actual, value) = (call.args[arg.index()], arg.value());
    match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => actual != value,
        LinuxSeccompOperator::ScmpCmpLt => actual < value,
        LinuxSeccompOperator::ScmpCmpLe => actual <= value,
        LinuxSeccompOperator::ScmpCmpEq => actual == value,
        LinuxSeccompOperator::ScmpCmpGe => actual >= value,
        LinuxSeccompOperator::ScmpCmpGt => actual > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => actual & value == arg.value_two().unwrap_or(0),
    }
}

/// Few values, so that equal ones meet.
fn value() -> impl Strategy<Value = u64> {
    let pivots = vec![
        0,
        1,
        2,
        0xff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x2_8000_0000,
        u64::MAX,
    ];
    (prop::sample::select(pivots), 0_u64..3).prop_map(|(pivot, more)| pivot.wrapping_add(more))
}

fn argument() -> impl Strategy<Value = Value> {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    (0_usize..6, value(), value(), prop::sample::select(operators.to_vec())).prop_map(
        |(index, value, two, operator)| {
            json!({"index": index, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{operator}")})
        },
    )
}

fn rule() -> impl Strategy<Value = Value> {
    let names = vec![
        "open",
        "close",
        "stat",
        "ioctl",
        "mmap",
        "clone",
        "clone3",
        "socket",
        "personality",
        "rt_sigaction",
        "_llseek",
        "socketcall",
        "mseal",
        "io_uring_setup",
        "nosuchcall",
        "getpid",
        "futex",
        "readv",
    ];
    let actions = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "NOTIFY", "LOG", "ALLOW"];
    (
        prop::sample::subsequence(names, 1..6),
        prop::sample::select(actions.to_vec()),
        prop::collection::vec(argument(), 0..4),
        1_u32..4000,
    )
        .prop_map(|(names, action, args, errno)| {
            let mut rule =
                json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": args});
            if ["ERRNO", "TRACE"].contains(&action) {
                rule["errnoRet"] = json!(errno);
            }
            rule
        })
}

fn profile() -> impl Strategy<Value = Value> {
    let defaults = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "LOG", "ALLOW"];
    let others = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"];
    (
        prop::sample::select(defaults.to_vec()),
        prop::sample::subsequence(others.to_vec(), 0..=3),
        prop::collection::vec(rule(), 0..12),
    )
        .prop_map(|(default, mut architectures, mut rules)| {
            architectures.push("SCMP_ARCH_X86_64");
            // What every profile has to allow.
            rules.push(json!({"names": ["execve", "read", "write"], "action": "SCMP_ACT_ALLOW"}));
            json!({"defaultAction": format!("SCMP_ACT_{default}"), "architectures": architectures, "syscalls": rules})
        })
}

fn call() -> impl Strategy<Value = Call> {
    let archs = vec![AUDIT_ARCH_X86_64, AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, 0xc000_00b7];
    (
        prop::sample::select(archs),
        prop_oneof![0_u32..480, (0_u32..560).prop_map(|number| X32_BIT + number), any::<u32>()],
        prop::array::uniform6(value()),
    )
        .prop_map(|(arch, number, args)| Call { arch, number, args })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        // The same profiles every time: a build must not depend on luck.
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_program_says_what_the_profile_says(
        profile in profile(),
        calls in prop::collection::vec(call(), 300),
    ) {
        let parsed: LinuxSeccomp = serde_json::from_value(profile.clone()).expect("a profile");
        let program = compile(&parsed).expect("a program");
        for call in calls {
            prop_assert_eq!(execute(&program, call), read(&profile, call), "{:?}", call);
        }
    }
}
