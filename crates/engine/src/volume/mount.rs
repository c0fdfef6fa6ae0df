//! Mounting what a volume's options describe over its directory, and taking it away again.

use std::ffi::CString;
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use davit_types::{Context, Error, Result};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::options::{Flags, LocalMount, flags};

/// Mounts over `target`, in the mount namespace of the calling thread.
///
/// # Errors
/// In Docker's words, without the password.
pub(crate) fn mount(wanted: &LocalMount, target: &Path) -> Result<()> {
    if wanted.device.is_empty() {
        return Err(Error::internal("missing device in volume options"));
    }
    let resolved = match wanted.host() {
        Some(host) => wanted.resolved(look_up(host)?),
        None => wanted.clone(),
    };
    let flags = flags(&resolved.options);
    do_mount(&resolved, target, &flags).map_err(|cause| {
        let text = describe(&resolved, target, &flags, &cause);
        Error::internal(format!(
            "failed to mount local volume: {}",
            resolved.without_password(&text)
        ))
    })
}

fn look_up(host: &str) -> Result<std::net::IpAddr> {
    let failed = || "error resolving passed in network volume address".to_owned();
    let mut addresses = (host, 0).to_socket_addrs().context(failed)?;
    let first = addresses.next().ok_or_else(|| Error::internal(failed()))?;
    Ok(first.ip())
}

fn do_mount(wanted: &LocalMount, target: &Path, flags: &Flags) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    let (device, kind) = (CString::new(wanted.device.as_str())?, CString::new(&*wanted.kind)?);
    let data = CString::new(flags.data.as_str())?;
    rustix::mount::mount(&device, &target, &kind, flags.mount, &*data)?;
    let finished = finish(&target, flags);
    if finished.is_err() {
        // All or nothing: the volume must not stay half mounted.
        let _ = rustix::mount::unmount(&target, UnmountFlags::DETACH);
    }
    finished
}

/// What the kernel doesn't take together with the mount itself.
fn finish(target: &CString, flags: &Flags) -> io::Result<()> {
    if !flags.propagation.is_empty() {
        rustix::mount::mount_change(target, flags.propagation)?;
    }
    if flags.mount.contains(MountFlags::BIND | MountFlags::RDONLY) {
        rustix::mount::mount_remount(target, flags.mount, c"")?;
    }
    Ok(())
}

fn describe(wanted: &LocalMount, target: &Path, flags: &Flags, cause: &io::Error) -> String {
    let mut text = format!("mount {}:{}", wanted.device, target.display());
    let bits = flags.mount.bits() | flags.propagation.bits();
    if bits != 0 {
        text.push_str(&format!(", flags: {bits:#x}"));
    }
    if !flags.data.is_empty() {
        text.push_str(&format!(", data: {}", flags.data));
    }
    format!("{text}: {}", reason(cause))
}

/// The kernel's reason as Go's programs word it.
fn reason(cause: &io::Error) -> String {
    match Errno::from_io_error(cause) {
        Some(errno) => {
            let text = io::Error::from(errno).to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            text.to_ascii_lowercase()
        }
        None => cause.to_string(),
    }
}

/// Whether anything is mounted at `path`.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(CWD, path, flags, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Takes away whatever is mounted at `path`.
///
/// # Errors
/// Something stays mounted.
pub(crate) fn unmount(path: &Path) -> Result<()> {
    while is_mounted(path) {
        rustix::mount::unmount(path, UnmountFlags::DETACH)
            .context(|| format!("unmount {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item8_a_mount_that_fails_says_what_and_hides_the_password() {
        let wanted = LocalMount {
            kind: "nosuchfs".into(),
            device: "//192.0.2.1/share".into(),
            options: "ro,username=u,password=secret".into(),
        };
        let directory = tempfile::tempdir().expect("a directory");
        let error = mount(&wanted, directory.path()).expect_err("no such type").to_string();
        let wanted = format!(
            "failed to mount local volume: mount //192.0.2.1/share:{}, flags: 0x1, \
             data: username=u,password=********: ",
            directory.path().display()
        );
        assert!(error.starts_with(&wanted), "{error}");
        assert!(!is_mounted(directory.path()));
        unmount(directory.path()).expect("nothing to do");
    }
}
