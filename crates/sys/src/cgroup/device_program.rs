//! Device rules of version 2: an eBPF program that the kernel asks at every use of a device.
//!
//! The last rule that speaks of a use decides. An allowing rule speaks of it when it allows all of
//! what is asked at once (reading and writing), a denying one when it denies any of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::{Access, DeviceKind, DeviceRule};
use crate::bpf::{Instruction, attach_device_program, load_device_program};

const RESULT: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const SKIP_IF_EQUAL: u8 = 0x15;
const SKIP_UNLESS_EQUAL: u8 = 0x55;
const SKIP_UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// Attaches the program of `rules` to the cgroup directory `dir`.
pub(super) fn apply(dir: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let program = load_device_program(&program(rules))?;
    attach_device_program(File::open(dir)?.as_fd(), program.as_fd())
}

fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { access_type, major, minor } is in register 1.
    let mut program = vec![
        memory(KIND, 0),
        plain(AND, KIND, 0xffff),
        memory(ACCESS, 0),
        plain(SHIFT_RIGHT, ACCESS, 16),
        memory(MAJOR, 4),
        memory(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule));
        if rule.is_total() {
            // The verifier refuses what can't be reached.
            return program;
        }
    }
    // Nobody spoke of it.
    program.extend([plain(SET, RESULT, 1), plain(EXIT, 0, 0)]);
    program
}

/// Answers if the rule speaks of the use, else goes on behind itself.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let mut tests = Vec::new();
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Block => tests.push(plain(SKIP_UNLESS_EQUAL, KIND, 1)),
        DeviceKind::Char => tests.push(plain(SKIP_UNLESS_EQUAL, KIND, 2)),
    }
    let number = |number: u32| i32::from_ne_bytes(number.to_ne_bytes());
    if let Some(major) = rule.major {
        tests.push(plain(SKIP_UNLESS_EQUAL, MAJOR, number(major)));
    }
    if let Some(minor) = rule.minor {
        tests.push(plain(SKIP_UNLESS_EQUAL, MINOR, number(minor)));
    }
    if rule.access != Access::ALL {
        tests.push(two(COPY, SCRATCH, ACCESS));
        tests.push(plain(AND, SCRATCH, bits(rule.access)));
        tests.push(if rule.allow {
            two(SKIP_UNLESS_SAME, SCRATCH, ACCESS)
        } else {
            plain(SKIP_IF_EQUAL, SCRATCH, 0)
        });
    }
    tests.extend([plain(SET, RESULT, i32::from(rule.allow)), plain(EXIT, 0, 0)]);
    let length = tests.len();
    for (index, instruction) in tests.iter_mut().enumerate() {
        if matches!(instruction.code, SKIP_IF_EQUAL | SKIP_UNLESS_EQUAL | SKIP_UNLESS_SAME) {
            instruction.offset = i16::try_from(length - index - 1).expect("a block is short");
        }
    }
    tests
}

fn bits(access: Access) -> i32 {
    i32::from(access.mknod) | i32::from(access.read) << 1 | i32::from(access.write) << 2
}

fn plain(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate }
}

fn two(code: u8, destination: u8, source: u8) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset: 0, immediate: 0 }
}

fn memory(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: register | SCRATCH << 4, offset, immediate: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: i32 = 2;
    const WRITE: i32 = 4;

    /// What the kernel would compute.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> i32 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: names, offset, immediate } = program[at];
            let (to, from) = (usize::from(names & 15), usize::from(names >> 4));
            let mut skip = false;
            match code {
                LOAD_WORD => registers[to] = context[offset as usize / 4],
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                COPY => registers[to] = registers[from],
                SET => registers[to] = immediate,
                SKIP_IF_EQUAL => skip = registers[to] == immediate,
                SKIP_UNLESS_EQUAL => skip = registers[to] != immediate,
                SKIP_UNLESS_SAME => skip = registers[to] != registers[from],
                EXIT => return registers[0],
                other => panic!("instruction {other:#x}"),
            }
            at += 1 + if skip { offset as usize } else { 0 };
        }
    }

    #[test]
    fn the_last_rule_that_speaks_of_a_use_decides() {
        let all = DeviceRule {
            allow: false,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            access: Access::ALL,
        };
        let read = Access { read: true, write: false, mknod: false };
        let null = DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: Some(1),
            minor: Some(3),
            access: Access::ALL,
        };
        let rules = [
            all,
            null,
            DeviceRule { major: Some(136), minor: None, ..null },
            DeviceRule { minor: Some(8), access: read, ..null },
            DeviceRule { allow: true, access: Access::MKNOD, ..all },
        ];
        let program = program(&rules);
        let ask = |kind, access, major, minor| run(&program, kind, access, major, minor) == 1;
        assert!(ask(2, READ | WRITE, 1, 3));
        assert!(!ask(1, READ | WRITE, 1, 3), "the block device of that number");
        assert!(ask(2, READ, 136, 77));
        assert!(ask(2, READ, 1, 8) && !ask(2, READ | WRITE, 1, 8));
        assert!(ask(1, 1, 8, 0) && !ask(1, 1 | READ, 8, 0), "only making a node");
        assert!(run(&super::program(&[]), 2, READ, 1, 3) == 1);
    }
}
