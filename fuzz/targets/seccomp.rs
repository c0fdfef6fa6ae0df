//! A profile of system calls, through the compiler.

#![no_main]

use davit_runtime::check_seccomp;
use davit_types::oci::runtime::LinuxSeccomp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(data) {
        let _ = check_seccomp(&profile);
    }
});
