//! Programs, interpreted as the kernel does.

use super::*;
use serde_json::{Value, json};

const ALLOW: u32 = 0x7fff_0000;

/// What the kernel would answer: an interpreter of the instructions above.
fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = vec![number, arch, 0, 0];
    for arg in args {
        let (low, high) = halves(arg);
        data.extend([low, high]);
    }
    let (mut at, mut a) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let taken = match code {
            LOAD => {
                a = data[k as usize / 4];
                continue;
            }
            AND => {
                a &= k;
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            RETURN => return k,
            JEQ => a == k,
            JGT => a > k,
            JGE => a >= k,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if taken { jt } else { jf });
    }
}

fn compiled(profile: Value) -> Vec<Instruction> {
    let profile: LinuxSeccomp = serde_json::from_value(profile).expect("a profile");
    compile(&profile).expect("a program")
}

fn like_dockers(syscalls: Value) -> Vec<Instruction> {
    compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": syscalls,
    }))
}

#[test]
fn names_are_looked_up_for_each_instruction_set() {
    let program = like_dockers(json!([
        {"names": ["read", "write", "ioctl", "nosuchcall", "mseal"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ]));
    let answer = |arch, number| run(&program, arch, number, [0; 6]);
    assert_eq!(answer(AUDIT_ARCH_X86_64, 0), ALLOW);
    assert_eq!(answer(AUDIT_ARCH_X86_64, 2), ERRNO | 1);
    assert_eq!(answer(AUDIT_ARCH_X86_64, 435), ERRNO | 38);
    assert_eq!(answer(AUDIT_ARCH_I386, 3), ALLOW);
    assert_eq!(answer(AUDIT_ARCH_I386, 0), ERRNO | 1);
    assert_eq!(answer(AUDIT_ARCH_X86_64, X32_BIT + 514), ALLOW);
    assert_eq!(answer(AUDIT_ARCH_X86_64, X32_BIT + 16), ERRNO | 1);
    assert_eq!(answer(0xc000_00b7, 0), KILL_PROCESS, "aarch64");
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let program = like_dockers(json!([{"names": ["read", "mseal"], "action": "SCMP_ACT_ALLOW"}]));
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 461, [0; 6]), ERRNO | 1);
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 462, [0; 6]), ALLOW);
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 463, [0; 6]), ERRNO | 38);
    assert_eq!(run(&program, AUDIT_ARCH_I386, 4000, [0; 6]), ERRNO | 38);
}

#[test]
fn an_instruction_set_that_is_not_listed_kills() {
    let program = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 5000, [0; 6]), ALLOW);
    assert_eq!(run(&program, AUDIT_ARCH_I386, 0, [0; 6]), KILL_PROCESS);
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, X32_BIT, [0; 6]), KILL_PROCESS);
}

#[test]
fn every_operator_compares_all_64_bits() {
    let pivot: u64 = 0x0000_0002_8000_0000;
    let values = [
        0,
        1,
        0x8000_0000,
        pivot - 1,
        pivot,
        pivot + 1,
        0x0000_0001_ffff_ffff,
        0x0000_0003_0000_0000,
        u64::MAX,
    ];
    type Holds = fn(u64, u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_GT", |a, b| a > b),
        ("SCMP_CMP_GE", |a, b| a >= b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
    ];
    for (operator, holds) in operators {
        let program = like_dockers(json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 2, "value": pivot, "op": operator}]}]));
        for value in values {
            let answer = run(&program, AUDIT_ARCH_X86_64, 0, [0, 0, value, 0, 0, 0]);
            let expected = if holds(value, pivot) { ALLOW } else { ERRNO | 1 };
            assert_eq!(answer, expected, "{value:#x} {operator} {pivot:#x}");
        }
    }
}

#[test]
fn a_mask_selects_bits_as_for_clone() {
    let program = like_dockers(json!([{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 0x7e02_0000_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]));
    let clone = |flags| run(&program, AUDIT_ARCH_X86_64, 56, [flags, 0, 0, 0, 0, 0]);
    assert_eq!(clone(0x11), ALLOW);
    assert_eq!(clone(0x1000_0011), ERRNO | 1);
    assert_eq!(clone(0xf_0000_0000), ALLOW);
}

#[test]
fn rules_of_one_call_are_alternatives_and_conditions_of_one_rule_are_not() {
    let program = like_dockers(json!([
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_LT"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_GT"},
                  {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"},
                  {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
    ]));
    let socket = |a, b| run(&program, AUDIT_ARCH_X86_64, 41, [a, b, 0, 0, 0, 0]);
    assert_eq!(socket(2, 9), ALLOW);
    assert_eq!(socket(38, 1), ERRNO | 1);
    assert_eq!(socket(41, 1), ALLOW);
    assert_eq!(socket(41, 2), ERRNO | 1);
    let personality = |a| run(&program, AUDIT_ARCH_X86_64, 135, [a, 0, 0, 0, 0, 0]);
    assert_eq!([personality(0), personality(8), personality(4)], [ALLOW, ALLOW, ERRNO | 1]);
}

#[test]
fn jumps_longer_than_a_byte_are_right() {
    // Every other call allowed: hundreds of ranges that can't be joined.
    let program = {
        let names: Vec<&str> =
            ["read", "open", "stat", "lstat", "lseek", "mprotect", "brk"].to_vec();
        let args = json!([{"index": 0, "value": u64::MAX, "op": "SCMP_CMP_NE"}]);
        let rules: Vec<Value> = (0..20)
            .map(|_| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args}))
            .collect();
        like_dockers(json!(rules))
    };
    assert!(program.len() > 1000);
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 12, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 12, [u64::MAX, 0, 0, 0, 0, 0]), ERRNO | 1);
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 1, [0; 6]), ERRNO | 1);
    assert_eq!(run(&program, AUDIT_ARCH_I386, 45, [1, 0, 0, 0, 0, 0]), ALLOW);
}

/// The profile's meaning, without a program.
fn meaning(profile: &LinuxSeccomp, abi: Abi, call: u32, args: [u64; 6]) -> u32 {
    let default = action(profile.default_action(), profile.default_errno_ret(), "").expect("known");
    let entries = || profile.syscalls().iter().flatten();
    let numbers = |entry: &LinuxSyscall| -> Vec<u32> {
        entry.names().iter().filter_map(|name| number(name, abi)).collect()
    };
    let newest = entries().flat_map(numbers).max().unwrap_or(0);
    if newest != 0 && call > newest && default != ALLOW {
        return ERRNO | 38;
    }
    let holds = |arg: &LinuxSeccompArg| {
        let (given, value) = (args[arg.index()], arg.value());
        match arg.op() {
            LinuxSeccompOperator::ScmpCmpEq => given == value,
            LinuxSeccompOperator::ScmpCmpNe => given != value,
            LinuxSeccompOperator::ScmpCmpGt => given > value,
            LinuxSeccompOperator::ScmpCmpGe => given >= value,
            LinuxSeccompOperator::ScmpCmpLt => given < value,
            LinuxSeccompOperator::ScmpCmpLe => given <= value,
            LinuxSeccompOperator::ScmpCmpMaskedEq => given & value == arg.value_two().unwrap_or(0),
        }
    };
    let result =
        |entry: &LinuxSyscall| action(entry.action(), entry.errno_ret(), "").expect("known");
    let applies =
        |entry: &&LinuxSyscall| numbers(entry).contains(&call) && result(entry) != default;
    let conditions = |entry: &LinuxSyscall| entry.args().clone().unwrap_or_default();
    let conditional = entries().filter(applies).find(|entry| {
        let conditions = conditions(entry);
        !conditions.is_empty() && conditions.iter().all(holds)
    });
    let always = || entries().filter(applies).find(|entry| conditions(entry).is_empty());
    conditional.or_else(always).map_or(default, result)
}

#[test]
fn a_program_means_what_its_profile_says() {
    const NAMES: &[&str] = &[
        "read",
        "write",
        "open",
        "close",
        "stat",
        "clone",
        "clone3",
        "socket",
        "ioctl",
        "mount",
        "personality",
        "umount2",
        "futex",
        "nosuchcall",
        "mseal",
        "brk",
        "lseek",
        "execve",
    ];
    const OPERATORS: &[&str] = &[
        "SCMP_CMP_EQ",
        "SCMP_CMP_NE",
        "SCMP_CMP_GT",
        "SCMP_CMP_GE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_MASKED_EQ",
    ];
    const VALUES: &[u64] = &[0, 1, 2, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    const ACTIONS: &[&str] = &["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_TRAP"];
    // Always the same numbers.
    let mut state: u64 = 0x00d1_5ea5_e000_0003;
    let mut below = move |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).expect("31 bits") % limit
    };
    for _ in 0..150 {
        let rules: Vec<Value> = (0..=below(8))
            .map(|_| {
                let names: Vec<&str> = (0..=below(4)).map(|_| NAMES[below(NAMES.len())]).collect();
                // Two conditions on one argument would be alternatives.
                let first = below(3);
                let args: Vec<Value> = (first..first + below(3))
                    .map(|index| {
                        json!({"index": index, "value": VALUES[below(VALUES.len())],
                               "valueTwo": VALUES[below(VALUES.len())],
                               "op": OPERATORS[below(OPERATORS.len())]})
                    })
                    .collect();
                json!({"names": names, "action": ACTIONS[below(ACTIONS.len())], "args": args})
            })
            .collect();
        let default = ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"][below(2)];
        let profile = json!({"defaultAction": default,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": rules});
        let parsed: LinuxSeccomp = serde_json::from_value(profile.clone()).expect("a profile");
        let program = compile(&parsed).expect("a program");
        for (abi, arch) in [(Abi::X86_64, AUDIT_ARCH_X86_64), (Abi::I386, AUDIT_ARCH_I386)] {
            for name in NAMES {
                let Some(call) = number(name, abi) else { continue };
                for call in [call, call + 1] {
                    let args: [u64; 6] = std::array::from_fn(|_| VALUES[below(VALUES.len())]);
                    let (told, meant) =
                        (run(&program, arch, call, args), meaning(&parsed, abi, call, args));
                    assert_eq!(told, meant, "{call} {args:?} of {profile}");
                }
            }
        }
    }
}
