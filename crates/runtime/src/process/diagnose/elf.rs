//! As much of an ELF file as tells for which machine it is and which interpreter it wants.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::read_at;

const PT_INTERP: u32 = 3;
/// More program headers, or a longer name, are no honest program's.
const MAX_HEADERS: u16 = 512;
const MAX_NAME: u64 = 4096;

/// The header of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elf {
    wide: bool,
    big_endian: bool,
    machine: u16,
    headers_offset: u64,
    header_size: u16,
    header_count: u16,
}

impl Elf {
    /// Of a file's first bytes; nothing when they are no ELF header.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [0x7f, b'E', b'L', b'F', class @ (1 | 2), data @ (1 | 2), ..] = *bytes else {
            return None;
        };
        let (wide, big_endian) = (class == 2, data == 2);
        let number = |offset, size| number(bytes, offset, size, big_endian);
        let (offset, size) = if wide { (32, 54) } else { (28, 42) };
        Some(Self {
            wide,
            big_endian,
            machine: u16::try_from(number(18, 2)?).ok()?,
            headers_offset: number(offset, if wide { 8 } else { 4 })?,
            header_size: u16::try_from(number(size, 2)?).ok()?,
            header_count: u16::try_from(number(size + 2, 2)?).ok()?,
        })
    }

    /// The machine, as `uname -m` calls it.
    pub(super) fn machine(&self) -> String {
        let name = match (self.machine, self.wide, self.big_endian) {
            (0x03, ..) => "x86",
            (0x3e, ..) => "x86_64",
            (0xb7, ..) => "aarch64",
            (0x28, ..) => "arm",
            (0xf3, true, _) => "riscv64",
            (0xf3, false, _) => "riscv32",
            (0x15, _, true) => "ppc64",
            (0x15, _, false) => "ppc64le",
            (0x14, ..) => "ppc",
            (0x16, ..) => "s390x",
            (0x08, _, true) => "mips",
            (0x08, _, false) => "mipsel",
            (0x102, ..) => "loongarch64",
            (other, ..) => return format!("ELF machine {other}"),
        };
        name.to_owned()
    }

    /// The program that loads it and its libraries; none for a static one.
    pub(super) fn interpreter(&self, file: &File) -> Option<PathBuf> {
        let (offset_at, size_at) = if self.wide { (8, 32) } else { (4, 16) };
        for index in 0..self.header_count.min(MAX_HEADERS) {
            let place = u64::from(index) * u64::from(self.header_size);
            let place = self.headers_offset.checked_add(place)?;
            let header = read_at(file, place, self.header_size.into())?;
            let width = if self.wide { 8 } else { 4 };
            let number = |offset, size| number(&header, offset, size, self.big_endian);
            if number(0, 4)? != u64::from(PT_INTERP) {
                continue;
            }
            let size = number(size_at, width)?.min(MAX_NAME);
            let name = read_at(file, number(offset_at, width)?, usize::try_from(size).ok()?)?;
            let name = name.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
            return Some(PathBuf::from(OsStr::from_bytes(name)));
        }
        None
    }
}

fn number(bytes: &[u8], offset: usize, size: usize, big_endian: bool) -> Option<u64> {
    let field = bytes.get(offset..offset + size)?;
    let step = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if big_endian { field.iter().fold(0, step) } else { field.iter().rev().fold(0, step) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_header_is_understood_and_cut_ones_are_not() {
        let bytes = std::fs::read("/proc/self/exe").expect("our own program");
        let elf = Elf::parse(&bytes).expect("an ELF file");
        assert_eq!(elf.machine(), std::env::consts::ARCH);
        for length in 0..64 {
            // Whatever it says, it must not panic.
            let _ = Elf::parse(&bytes[..length]);
        }
        assert_eq!(Elf::parse(&bytes[..20]), None);
        assert_eq!(Elf::parse(b"#!/bin/sh"), None);
    }
}
