//! The system call filter: compiled by ourselves, once per profile, and kept as ready bytes.
//!
//! libseccomp needs 9 to 16 ms for Docker's profile at every start; reading and installing a kept
//! program takes well under one.

mod compile;
mod syscalls;

use std::fs;
use std::io;
use std::path::Path;

use davit_sys::seccomp::{FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_TSYNC, Instruction, install};
use davit_types::oci::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

use crate::Failure;
use crate::failure::{Step, text};

/// Changes whenever the compiler or its tables do: what older versions kept is not used.
const VERSION: u8 = 1;

/// A program that is ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    program: Vec<Instruction>,
    flags: u32,
}

impl Filter {
    /// Compiles `profile`, or reads the program kept for it in `cache`.
    pub(crate) fn new(profile: &LinuxSeccomp, cache: Option<&Path>) -> Result<Self, Failure> {
        if profile.listener_path().is_some() {
            let message = "seccomp notification listeners are not supported by this runtime";
            return Err(text("seccomp", "listenerPath", message));
        }
        let flags = flags(profile.flags().as_deref())?;
        let compiled = || {
            let program = compile::compile(profile);
            program.map_err(|why| text("seccomp", "profile", format!("seccomp profile: {why}")))
        };
        let Some(directory) = cache else { return Ok(Self { program: compiled()?, flags }) };
        let mut key = serde_json::to_vec(profile)
            .map_err(|error| text("seccomp", "profile", format!("seccomp profile: {error}")))?;
        key.push(VERSION);
        let path = directory.join(format!("{:016x}.bpf", fnv1a(&key)));
        if let Some(program) = fs::read(&path).ok().and_then(|kept| unpack(&kept, &key)) {
            return Ok(Self { program, flags });
        }
        let program = compiled()?;
        // What can't be kept is compiled again next time.
        let _ = keep(directory, &path, &pack(&key, &program));
        Ok(Self { program, flags })
    }

    /// Puts the calling process under the filter.
    pub(crate) fn install(&self) -> Result<(), Failure> {
        install(&self.program, self.flags).step("install", "seccomp filter")
    }
}

fn flags(list: Option<&[LinuxSeccompFilterFlag]>) -> Result<u32, Failure> {
    // A filter shouldn't cost the protection's slow-down that nobody asked for.
    let Some(list) = list else { return Ok(FLAG_SPEC_ALLOW) };
    list.iter().try_fold(0, |flags, flag| {
        Ok(flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => FLAG_TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                    let message = "seccomp flag WAIT_KILLABLE_RECV needs a listener";
                    return Err(text("seccomp", "flags", message));
                }
            })
    })
}

/// FNV-1a; only names the file, whose content holds the whole key.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn pack(key: &[u8], program: &[Instruction]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(key.len() + 8 * program.len() + 8);
    kept.extend((key.len() as u64).to_le_bytes());
    kept.extend(key);
    for Instruction { code, jt, jf, k } in program {
        kept.extend(code.to_le_bytes());
        kept.extend([*jt, *jf]);
        kept.extend(k.to_le_bytes());
    }
    kept
}

fn unpack(kept: &[u8], key: &[u8]) -> Option<Vec<Instruction>> {
    let (length, rest) = kept.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*length) != key.len() as u64 {
        return None;
    }
    let code = rest.strip_prefix(key)?;
    let (instructions, []) = code.as_chunks::<8>() else { return None };
    let instruction = |&[a, b, jt, jf, k @ ..]: &[u8; 8]| Instruction {
        code: u16::from_le_bytes([a, b]),
        jt,
        jf,
        k: u32::from_le_bytes(k),
    };
    (!instructions.is_empty()).then(|| instructions.iter().map(instruction).collect())
}

/// Written aside and renamed: a reader sees all of it or nothing.
fn keep(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, content).and_then(|()| fs::rename(&aside, path)).inspect_err(|_| {
        // Only the failed attempt's own file.
        let _ = fs::remove_file(&aside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kept_program_is_the_compiled_one_and_a_damaged_one_is_not_used() {
        let profile: LinuxSeccomp = serde_json::from_value(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
        }))
        .expect("a profile");
        let directory = std::env::temp_dir().join(format!("davit-seccomp-{}", std::process::id()));

        let fresh = Filter::new(&profile, None).expect("a filter");
        for _ in 0..2 {
            assert_eq!(Filter::new(&profile, Some(&directory)).expect("a filter"), fresh);
        }
        let entry = fs::read_dir(&directory).expect("the cache").next().expect("one file");
        let path = entry.expect("readable").path();
        let kept = fs::read(&path).expect("readable");
        fs::write(&path, &kept[..kept.len() - 3]).expect("writable");
        assert_eq!(Filter::new(&profile, Some(&directory)).expect("a filter"), fresh);
        assert_eq!(fs::read(&path).expect("readable"), kept, "repaired");
        fs::remove_dir_all(&directory).expect("removable");
    }
}
