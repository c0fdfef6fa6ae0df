//! Capabilities: numbers, and putting the five sets in force.

use std::io;

use davit_types::oci::runtime::Capability;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::Failure;
use crate::failure::{Step, text};
use crate::plan::Capabilities;

/// The bit of a capability.
pub(crate) fn bit(capability: Capability) -> u64 {
    let set = match capability {
        Capability::Chown => CapabilitySet::CHOWN,
        Capability::DacOverride => CapabilitySet::DAC_OVERRIDE,
        Capability::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
        Capability::Fowner => CapabilitySet::FOWNER,
        Capability::Fsetid => CapabilitySet::FSETID,
        Capability::Kill => CapabilitySet::KILL,
        Capability::Setgid => CapabilitySet::SETGID,
        Capability::Setuid => CapabilitySet::SETUID,
        Capability::Setpcap => CapabilitySet::SETPCAP,
        Capability::LinuxImmutable => CapabilitySet::LINUX_IMMUTABLE,
        Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        Capability::NetBroadcast => CapabilitySet::NET_BROADCAST,
        Capability::NetAdmin => CapabilitySet::NET_ADMIN,
        Capability::NetRaw => CapabilitySet::NET_RAW,
        Capability::IpcLock => CapabilitySet::IPC_LOCK,
        Capability::IpcOwner => CapabilitySet::IPC_OWNER,
        Capability::SysModule => CapabilitySet::SYS_MODULE,
        Capability::SysRawio => CapabilitySet::SYS_RAWIO,
        Capability::SysChroot => CapabilitySet::SYS_CHROOT,
        Capability::SysPtrace => CapabilitySet::SYS_PTRACE,
        Capability::SysPacct => CapabilitySet::SYS_PACCT,
        Capability::SysAdmin => CapabilitySet::SYS_ADMIN,
        Capability::SysBoot => CapabilitySet::SYS_BOOT,
        Capability::SysNice => CapabilitySet::SYS_NICE,
        Capability::SysResource => CapabilitySet::SYS_RESOURCE,
        Capability::SysTime => CapabilitySet::SYS_TIME,
        Capability::SysTtyConfig => CapabilitySet::SYS_TTY_CONFIG,
        Capability::Mknod => CapabilitySet::MKNOD,
        Capability::Lease => CapabilitySet::LEASE,
        Capability::AuditWrite => CapabilitySet::AUDIT_WRITE,
        Capability::AuditControl => CapabilitySet::AUDIT_CONTROL,
        Capability::Setfcap => CapabilitySet::SETFCAP,
        Capability::MacOverride => CapabilitySet::MAC_OVERRIDE,
        Capability::MacAdmin => CapabilitySet::MAC_ADMIN,
        Capability::Syslog => CapabilitySet::SYSLOG,
        Capability::WakeAlarm => CapabilitySet::WAKE_ALARM,
        Capability::BlockSuspend => CapabilitySet::BLOCK_SUSPEND,
        Capability::AuditRead => CapabilitySet::AUDIT_READ,
        Capability::Perfmon => CapabilitySet::PERFMON,
        Capability::Bpf => CapabilitySet::BPF,
        Capability::CheckpointRestore => CapabilitySet::CHECKPOINT_RESTORE,
    };
    set.bits()
}

/// Takes everything out of the bounding set that isn't in `keep`.
///
/// Asking first would double the calls; only a refusal has to be looked at.
pub(super) fn drop_bounding(keep: u64) -> Result<(), Failure> {
    for number in (0..64).filter(|number| keep & (1 << number) == 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Beyond the kernel's last one.
            Err(Errno::INVAL) => break,
            Err(error) => match rustix::thread::capability_is_in_bounding_set(capability) {
                Ok(true) => return Err(error).step("drop capability", number.to_string()),
                // Not there in the first place.
                Ok(false) => {}
                Err(_) => break,
            },
        }
    }
    Ok(())
}

/// Puts the other four sets in force. Runs after the change of user, with the permitted set kept.
pub(super) fn apply(sets: &Capabilities) -> Result<(), Failure> {
    let present = rustix::thread::capabilities(None).step("read", "capabilities")?;
    let missing = sets.permitted & !present.permitted.bits();
    if missing != 0 {
        let number = missing.trailing_zeros();
        let message = format!(
            "unable to apply caps: capability {number} is not available to the engine itself: \
             operation not permitted"
        );
        return Err(text("capabilities", &number.to_string(), message));
    }
    let set = |bits: u64| CapabilitySet::from_bits_retain(bits);
    let wanted = CapabilitySets {
        effective: set(sets.effective),
        permitted: set(sets.permitted),
        inheritable: set(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, wanted).step("apply", "capabilities")?;
    // The kernel gives only those that are permitted and inheritable; as with runc, the others are not
    // worth failing for.
    let ambient = sets.ambient & sets.permitted & sets.inheritable;
    raise_ambient(ambient).step("apply", "ambient capabilities")
}

fn raise_ambient(ambient: u64) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in (0..64).filter(|number| ambient & (1 << number) != 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
