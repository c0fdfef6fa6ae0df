//! Kernel, initial root and root file system of the machine, made once and cached.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use davit_testkit::{debian::Archive, paths};

use crate::run::{output, say, succeed};

/// Raised whenever what is made here changes.
const VERSION: u32 = 1;
/// The package that names the newest kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";
/// What the tests need inside.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "busybox-static",
    "crun",
    "curl",
    "iproute2",
    "kmod",
    "nftables",
    "procps",
    "runc",
];
/// What stands between the kernel and its disk, in the order of dependence. What a kernel has built
/// in is not there as a file.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
];
/// The initial root's first program.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /newroot
/bin/busybox mount -t devtmpfs none /dev
for module in /modules/*.ko; do /bin/busybox insmod $module; done
for i in 1 2 3 4 5 6 7 8 9 10; do
    /bin/busybox mount -t ext4 /dev/vda /newroot && break
    /bin/busybox sleep 1
done
/bin/busybox mount --move /dev /newroot/dev
exec /bin/busybox switch_root /newroot /lib/systemd/systemd
";
/// Runs what is on the second disk; its end is the machine's.
const UNIT: &str = "[Unit]
Description=Davit's tests
Requires=basic.target dbus.socket
After=basic.target dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
Delegate=yes
TimeoutStartSec=infinity
ExecStartPre=/bin/mount /dev/vdb /payload
ExecStart=/bin/sh -c 'exec /bin/sh /payload/run >/dev/ttyS1 2>&1 </dev/null'
";

/// What qemu is given.
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) root: PathBuf,
}

/// The cached image, made if it is not there.
pub(super) fn ensure() -> Result<Image> {
    let dir = paths::cache_dir().join(format!("vm-{VERSION}"));
    let image = Image {
        kernel: dir.join("vmlinuz"),
        initrd: dir.join("initrd"),
        root: dir.join("root.ext4"),
    };
    // Written last.
    if image.root.exists() {
        return Ok(image);
    }
    let work = dir.with_extension("new");
    drop(fs::remove_dir_all(&work));
    fs::create_dir_all(&work)?;
    let kernel = unpack_kernel(&work)?;
    let version = kernel.version()?;
    fs::create_dir_all(&dir)?;
    fs::copy(kernel.dir.join("boot").join(format!("vmlinuz-{version}")), &image.kernel)
        .context("copy the kernel")?;
    make_initrd(&work, &kernel.modules(&version), &image.initrd)?;
    say(&format!("debootstrap with {}", PACKAGES.join(" ")));
    let root = work.join("root");
    Archive::of_this_machine()?.debootstrap(PACKAGES, &root)?;
    furnish(&root, &kernel, &version)?;
    let fresh = image.root.with_extension("new");
    make_disk(&root, "900M", &fresh)?;
    fs::rename(&fresh, &image.root)?;
    fs::remove_dir_all(&work).context("remove the directories the image was made of")?;
    Ok(image)
}

/// An ext4 file system in a file, with the content of `root`.
pub(super) fn make_disk(root: &Path, size: &str, target: &Path) -> Result<()> {
    drop(fs::remove_file(target));
    let mut make = Command::new(paths::program_or_name("mke2fs"));
    make.args(["-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-d"]);
    make.arg(root).arg(target).arg(size);
    succeed(make)
}

struct Kernel {
    dir: PathBuf,
}

impl Kernel {
    fn version(&self) -> Result<String> {
        let mut names =
            fs::read_dir(self.dir.join("boot"))?.flatten().map(|entry| entry.file_name());
        let version =
            names.find_map(|name| name.to_str()?.strip_prefix("vmlinuz-").map(str::to_owned));
        version.context("the kernel's package holds no kernel")
    }

    fn modules(&self, version: &str) -> PathBuf {
        let below = format!("lib/modules/{version}");
        // Newer releases have no /lib.
        [self.dir.join(&below), self.dir.join("usr").join(&below)]
            .into_iter()
            .find(|path| path.is_dir())
            .unwrap_or_else(|| self.dir.join(below))
    }
}

/// Downloads and unpacks the newest kernel; installed, it would become this machine's.
fn unpack_kernel(work: &Path) -> Result<Kernel> {
    let mut depends = Command::new("apt-cache");
    depends.args(["depends", KERNEL]);
    let depends = output(depends)?;
    let mut names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let name = names.find(|name| name.starts_with("linux-image-"));
    let name = name.with_context(|| format!("the package archive has no {KERNEL}"))?;
    let (debs, dir) = (work.join("deb"), work.join("kernel"));
    fs::create_dir_all(&debs)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", name]).current_dir(&debs);
    succeed(download)?;
    let deb = fs::read_dir(&debs)?.flatten().next().context("apt-get download left no package")?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").arg(deb.path()).arg(&dir);
    succeed(extract)?;
    Ok(Kernel { dir })
}

fn make_initrd(work: &Path, modules: &Path, target: &Path) -> Result<()> {
    let dir = work.join("initrd");
    fs::create_dir_all(dir.join("bin"))?;
    fs::create_dir_all(dir.join("modules"))?;
    let busybox = paths::program("busybox").context("busybox is missing")?;
    fs::copy(&busybox, dir.join("bin/busybox"))?;
    fs::write(dir.join("init"), INIT)?;
    fs::set_permissions(dir.join("init"), fs::Permissions::from_mode(0o755))?;
    for (number, name) in MODULES.iter().enumerate() {
        if let Some(file) = find(modules, &format!("{name}.ko"))? {
            // In the order of their names.
            fs::copy(file, dir.join(format!("modules/{number}-{name}.ko")))?;
        }
    }
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | \"$0\" cpio -o -H newc > \"$1\""]).arg(&busybox).arg(target);
    pack.current_dir(&dir);
    succeed(pack)
}

fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), name)? {
                return Ok(Some(found));
            }
        } else if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Modules, the unit that runs the tests, and nothing that would only cost time.
fn furnish(root: &Path, kernel: &Kernel, version: &str) -> Result<()> {
    let modules = root.join("lib/modules");
    fs::create_dir_all(&modules)?;
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(kernel.modules(version)).arg(&modules);
    succeed(copy)?;
    let mut depmod = Command::new("chroot");
    depmod.arg(root).args(["depmod", version]);
    succeed(depmod)?;
    fs::create_dir_all(root.join("payload"))?;
    fs::write(root.join("etc/fstab"), "")?;
    fs::write(root.join("etc/hostname"), "davit-vm\n")?;
    fs::write(root.join("etc/systemd/system/davit-test.service"), UNIT)?;
    let nothing = ["apt-daily.timer", "apt-daily-upgrade.timer", "getty@tty1.service"];
    for unit in nothing.iter().chain(&["serial-getty@ttyS0.service", "systemd-timesyncd.service"]) {
        let link = root.join("etc/systemd/system").join(unit);
        match std::os::unix::fs::symlink("/dev/null", &link) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => bail!(error),
            _ => {}
        }
    }
    let archives = root.join("var/cache/apt/archives");
    drop(fs::remove_dir_all(&archives));
    ensure!(root.join("lib/systemd/systemd").exists(), "systemd is not in the root file system");
    Ok(())
}
