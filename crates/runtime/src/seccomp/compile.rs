//! From a profile to a BPF program.
//!
//! For every instruction set a binary search over ranges of system call numbers leads to an action or
//! to a chain of argument rules. As libseccomp does: names that an instruction set doesn't have are
//! passed over, a rule with the default action says nothing, an instruction set the profile doesn't
//! list kills, and (as runc does) a call newer than every call of the profile answers `ENOSYS`, so
//! that programs fall back instead of giving up.

use std::collections::BTreeMap;

use davit_sys::seccomp::Instruction;
use davit_types::oci::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::syscalls::{Abi, number};

/// Marks system calls of the x32 instruction set.
pub(super) const X32_BIT: u32 = 0x4000_0000;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const RETURN: u16 = 0x06;

/// The kernel's limit on the length of a program.
const MAX_LENGTH: usize = 4096;

/// Compiles `profile`.
///
/// # Errors
/// Why it can't be.
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Vec<Instruction>, String> {
    let abis = abis(profile.architectures().as_deref())?;
    let default = action(profile.default_action(), profile.default_errno_ret(), "defaultErrnoRet")?;
    let section = |abi: Abi| -> Result<Option<Vec<Instruction>>, String> {
        abis.contains(&abi).then(|| Section::new(profile, abi, default)?.code()).transpose()
    };
    let bad = || vec![ret(KILL_PROCESS)];
    let x86_64 = section(Abi::X86_64)?.unwrap_or_else(bad);
    let x32 = section(Abi::X32)?.unwrap_or_else(bad);
    let i386 = section(Abi::I386)?.unwrap_or_else(bad);

    let mut program = vec![load(OFFSET_ARCH)];
    // Both 64-bit sets have one audit number and differ in the marker bit.
    let mut long = vec![load(OFFSET_NUMBER)];
    branch(&mut long, JGE, X32_BIT, x32, x86_64);
    let mut short = vec![load(OFFSET_NUMBER)];
    short.extend(i386);
    let mut rest = Vec::new();
    branch(&mut rest, JEQ, AUDIT_ARCH_I386, short, bad());
    branch(&mut program, JEQ, AUDIT_ARCH_X86_64, long, rest);
    if program.len() > MAX_LENGTH {
        return Err(format!("the seccomp profile needs {} instructions", program.len()));
    }
    Ok(program)
}

/// Without these no program gets started under the filter, nor would anybody hear why.
const ESSENTIAL: [&str; 3] = ["execve", "read", "write"];

/// Refuses a profile under which nothing could be started.
///
/// # Errors
/// Which call it is that the profile refuses.
pub(super) fn check(profile: &LinuxSeccomp) -> Result<(), String> {
    let default = action(profile.default_action(), profile.default_errno_ret(), "defaultErrnoRet")?;
    let section = Section::new(profile, Abi::X86_64, default)?;
    ESSENTIAL.iter().try_for_each(|name| check_essential(&section, name))
}

/// Refuses a profile that refuses `name` whatever its arguments are.
fn check_essential(section: &Section, name: &str) -> Result<(), String> {
    const ACTION: u32 = 0xffff_0000;
    let number = number(name, Abi::X86_64).expect("in the table");
    let answer = match section.rules.get(&number) {
        Some(rules) if !rules.conditional.is_empty() => return Ok(()),
        Some(rules) => rules.always.unwrap_or(section.default),
        None if section.rules.range(number..).next().is_none() => section.unknown,
        None => section.default,
    };
    // Those that kill, trap, and answer with an error.
    if answer & ACTION == KILL_PROCESS || answer & ACTION <= ERRNO {
        return Err(format!("it refuses {name}, without which no program can be started"));
    }
    Ok(())
}

fn abis(architectures: Option<&[Arch]>) -> Result<Vec<Abi>, String> {
    let mut abis = vec![Abi::X86_64];
    for architecture in architectures.unwrap_or_default() {
        match architecture {
            Arch::ScmpArchX86 => abis.push(Abi::I386),
            Arch::ScmpArchX32 => abis.push(Abi::X32),
            // Those of other machines never call here.
            _ => {}
        }
    }
    Ok(abis)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>, field: &str) -> Result<u32, String> {
    const EPERM: u32 = 1;
    // Beyond, the kernel makes it this one.
    const LAST_ERRNO: u32 = 4095;
    const DATA: u32 = 0xffff;
    let most = match action {
        LinuxSeccompAction::ScmpActErrno => LAST_ERRNO,
        LinuxSeccompAction::ScmpActTrace => DATA,
        _ if errno.is_some() => return Err(format!("{field} is not for action {action}")),
        _ => 0,
    };
    let data = errno.unwrap_or(EPERM);
    if errno.is_some_and(|errno| errno > most) {
        return Err(format!("{field} {data} is out of range, the last is {most}"));
    }
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno => ERRNO | data,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | data,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
    })
}

/// What happens at one system call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Rules {
    /// Conditions that must all hold, and what then happens; the first that applies counts.
    conditional: Vec<(Vec<LinuxSeccompArg>, u32)>,
    /// What happens otherwise, if not the default.
    always: Option<u32>,
}

/// The part of the program for one instruction set.
struct Section {
    default: u32,
    /// Of calls that the profile can't have known.
    unknown: u32,
    rules: BTreeMap<u32, Rules>,
    base: u32,
}

impl Section {
    fn new(profile: &LinuxSeccomp, abi: Abi, default: u32) -> Result<Self, String> {
        const ENOSYS: u32 = 38;
        let mut rules: BTreeMap<u32, Rules> = BTreeMap::new();
        let mut newest = 0;
        for entry in profile.syscalls().iter().flatten() {
            let result = action(entry.action(), entry.errno_ret(), "errnoRet")?;
            for name in entry.names() {
                let Some(number) = number(name, abi) else { continue };
                newest = newest.max(number);
                if result != default {
                    add(rules.entry(number).or_default(), entry, result)?;
                }
            }
        }
        let refuses = profile.default_action() == LinuxSeccompAction::ScmpActErrno
            || default & 0xffff_0000 == 0
            || default == KILL_PROCESS;
        let unknown = if refuses && newest != 0 { ERRNO | ENOSYS } else { default };
        let base = if abi == Abi::X32 { X32_BIT } else { 0 };
        if unknown != default {
            // The gap up to the newest known call belongs to the default.
            rules.entry(newest).or_default();
        }
        Ok(Self { default, unknown, rules, base })
    }

    fn code(&self) -> Result<Vec<Instruction>, String> {
        search(&self.ranges()?)
    }

    /// First number of each range and its code, beginning at the lowest number.
    fn ranges(&self) -> Result<Vec<(u32, Vec<Instruction>)>, String> {
        let mut ranges: Vec<(u32, Vec<Instruction>)> = Vec::new();
        let mut push = |start: u32, code: Vec<Instruction>| {
            if ranges.last().is_none_or(|(_, last)| *last != code) {
                ranges.push((start, code));
            }
        };
        let mut next = self.base;
        for (&number, rules) in &self.rules {
            if number > next {
                push(next, vec![ret(self.default)]);
            }
            push(number, chain(rules, self.default)?);
            next = number + 1;
        }
        push(next, vec![ret(self.unknown)]);
        Ok(ranges)
    }
}

fn add(rules: &mut Rules, entry: &LinuxSyscall, result: u32) -> Result<(), String> {
    let args = entry.args().as_deref().unwrap_or_default();
    if let Some(arg) = args.iter().find(|arg| arg.index() > 5) {
        return Err(format!("seccomp rule with argument index {}", arg.index()));
    }
    let repeated = |index: usize| args.iter().filter(|arg| arg.index() == index).count() > 1;
    if args.is_empty() {
        rules.always.get_or_insert(result);
    } else if args.iter().any(|arg| repeated(arg.index())) {
        // Two conditions on one argument are alternatives, as they always have been to runc.
        rules.conditional.extend(args.iter().map(|arg| (vec![*arg], result)));
    } else {
        rules.conditional.push((args.to_vec(), result));
    }
    Ok(())
}

/// Binary search by `number >= start`, depth first.
fn search(ranges: &[(u32, Vec<Instruction>)]) -> Result<Vec<Instruction>, String> {
    match ranges {
        [] => Err("empty seccomp section".to_owned()),
        [(_, code)] => Ok(code.clone()),
        _ => {
            let middle = ranges.len() / 2;
            let (low, high) = (search(&ranges[..middle])?, search(&ranges[middle..])?);
            let mut code = Vec::with_capacity(low.len() + high.len() + 2);
            branch(&mut code, JGE, ranges[middle].0, high, low);
            Ok(code)
        }
    }
}

/// Conditional rules one after the other, then what holds always.
fn chain(rules: &Rules, default: u32) -> Result<Vec<Instruction>, String> {
    let mut code = Vec::new();
    for (args, result) in &rules.conditional {
        let mut rule = vec![ret(*result)];
        // From the last condition backwards: each skips the rest of the rule when it fails.
        for arg in args.iter().rev() {
            let skip = u8::try_from(rule.len()).map_err(|_| "seccomp rule too long".to_owned())?;
            let mut condition = condition(arg, skip)?;
            condition.extend(rule);
            rule = condition;
        }
        code.extend(rule);
    }
    code.push(ret(rules.always.unwrap_or(default)));
    Ok(code)
}

/// Falls through when it holds, and skips `skip` instructions more when it doesn't.
fn condition(arg: &LinuxSeccompArg, skip: u8) -> Result<Vec<Instruction>, String> {
    let offset = OFFSET_ARGS + 8 * u32::try_from(arg.index()).map_err(|e| e.to_string())?;
    let (low, high) = (load(offset), load(offset + 4));
    let (value_low, value_high) = halves(arg.value());
    let fail =
        |distance: u8| skip.checked_add(distance).ok_or_else(|| "seccomp rule too long".to_owned());
    // Offsets count from the instruction after the jump; the comments give the order of the code.
    let ordered = |last: u16, holds: bool| -> Result<Vec<Instruction>, String> {
        // high; high > v: decided; high == v: go on; low; low ? v
        let (yes, no) = if holds { (3, fail(2)?) } else { (fail(3)?, 2) };
        let last = if holds {
            jump(last, value_low, 0, fail(0)?)
        } else {
            jump(last, value_low, fail(0)?, 0)
        };
        Ok(vec![high, jump(JGT, value_high, yes, 0), jump(JEQ, value_high, 0, no), low, last])
    };
    Ok(match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => {
            vec![high, jump(JEQ, value_high, 0, fail(2)?), low, jump(JEQ, value_low, 0, fail(0)?)]
        }
        LinuxSeccompOperator::ScmpCmpNe => {
            vec![high, jump(JEQ, value_high, 0, 2), low, jump(JEQ, value_low, fail(0)?, 0)]
        }
        LinuxSeccompOperator::ScmpCmpGt => ordered(JGT, true)?,
        LinuxSeccompOperator::ScmpCmpGe => ordered(JGE, true)?,
        LinuxSeccompOperator::ScmpCmpLt => ordered(JGE, false)?,
        LinuxSeccompOperator::ScmpCmpLe => ordered(JGT, false)?,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            // The first value is the mask.
            let (wanted_low, wanted_high) = halves(arg.value_two().unwrap_or(0));
            vec![
                high,
                and(value_high),
                jump(JEQ, wanted_high, 0, fail(3)?),
                low,
                and(value_low),
                jump(JEQ, wanted_low, 0, fail(0)?),
            ]
        }
    })
}

fn halves(value: u64) -> (u32, u32) {
    ((value & 0xffff_ffff) as u32, (value >> 32) as u32)
}

/// `if (A op k) then yes else no`; both must end in a return.
fn branch(
    code: &mut Vec<Instruction>,
    op: u16,
    k: u32,
    yes: Vec<Instruction>,
    no: Vec<Instruction>,
) {
    match u8::try_from(no.len()) {
        Ok(distance) => code.push(jump(op, k, distance, 0)),
        Err(_) => {
            let distance = u32::try_from(no.len()).expect("bounded by the profile's size");
            code.push(jump(op, k, 0, 1));
            code.push(Instruction { code: JUMP, jt: 0, jf: 0, k: distance });
        }
    }
    code.extend(no);
    code.extend(yes);
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn and(mask: u32) -> Instruction {
    Instruction { code: AND, jt: 0, jf: 0, k: mask }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn ret(action: u32) -> Instruction {
    Instruction { code: RETURN, jt: 0, jf: 0, k: action }
}

#[cfg(test)]
mod tests;
