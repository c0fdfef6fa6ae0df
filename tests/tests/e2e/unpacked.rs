//! Unpacked images, file by file against what skopeo and umoci make of the same images.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::daemon::inside;
use davit_testkit::images::{LAYERED, NGINX};
use davit_testkit::oci::{Image, Layer};
use davit_testkit::{Need, command, registry};
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use serde_json::json;

use crate::setup::{Setup, plan};

const MINUTES: Duration = Duration::from_secs(120);
/// `cap_net_raw+ep`, as the kernel keeps it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Everything of a file but where its directory lies. Hard links have the same `same_as`.
fn describe(
    root: &Path,
    path: &Path,
    times: bool,
    first: &mut BTreeMap<u64, PathBuf>,
) -> Result<String> {
    let stat = fs::symlink_metadata(path)?;
    let kind = stat.file_type();
    let content = if kind.is_file() {
        fs::read(path)?
    } else if kind.is_symlink() {
        fs::read_link(path)?.as_os_str().as_bytes().to_vec()
    } else if kind.is_block_device() || kind.is_char_device() {
        stat.rdev().to_string().into_bytes()
    } else {
        Vec::new()
    };
    let same_as = match stat.nlink() > 1 && !kind.is_dir() {
        true => first.entry(stat.ino()).or_insert_with(|| path.to_owned()).strip_prefix(root)?,
        false => Path::new(""),
    };
    let mode = stat.mode();
    let owner = (stat.uid(), stat.gid());
    let is_timed = times || !kind.is_dir();
    let time = is_timed.then(|| (stat.mtime(), stat.mtime_nsec()));
    let mut hash = DefaultHasher::new();
    hash.write(&content);
    let checksum = hash.finish();
    let length = content.len();
    let attributes = attributes(path)?;
    Ok(format!("{mode:o} {owner:?} {time:?} {length} {checksum:x} {same_as:?} {attributes:?}"))
}

fn attributes(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = [0; 4096];
    let length = llistxattr(path, &mut names[..]).context("list attributes")?;
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = String::from_utf8(name.to_vec())?;
            let mut value = [0; 4096];
            let length = lgetxattr(path, name.as_str(), &mut value[..])?;
            Ok((name, value[..length].to_vec()))
        })
        .collect()
}

/// All files below `root`, described; directories without their times unless these are wanted.
fn tree(root: &Path, times: bool) -> Result<BTreeMap<PathBuf, String>> {
    let mut paths = vec![root.to_owned()];
    let mut waiting = paths.clone();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let entry = entry?;
            paths.push(entry.path());
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    // So that of several links the same one is the first.
    paths.sort();
    let mut first = BTreeMap::new();
    let described = paths.iter().map(|path| {
        let told = describe(root, path, times, &mut first)
            .with_context(|| format!("describe {}", path.display()))?;
        Ok((path.strip_prefix(root)?.to_owned(), told))
    });
    described.collect()
}

/// What every container gets besides.
const OURS: [&str; 12] = [
    ".dockerenv",
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// Mounts the layers under a container of the image, and gives the path from outside.
fn ours(setup: &Setup, name: &str) -> Result<PathBuf> {
    let reference = setup.registry.reference(name);
    setup.ok(&format!("pull -q {reference}"))?;
    let id = setup.ok(&format!("create {reference} none"))?;
    let layers = setup.daemon.data_root().join("overlay2");
    let lower = fs::read_to_string(inside(&setup.daemon, &layers.join(id).join("lower")))?;
    let merged = setup.daemon.sandbox().dir().join(format!("merged-{name}"));
    fs::create_dir_all(&merged)?;
    let (layers, place) = (layers.display(), merged.display());
    let mount = format!("cd {layers} && mount -t overlay -o ro,lowerdir={lower} overlay {place}");
    setup.daemon.sandbox().sh(&mount)?.ok()?;
    Ok(inside(&setup.daemon, &merged))
}

/// The same image, fetched by skopeo and unpacked by umoci.
fn theirs(setup: &Setup, name: &str) -> Result<PathBuf> {
    let sandbox = setup.daemon.sandbox();
    let text = |what: &str| sandbox.dir().join(format!("{what}-{name}")).display().to_string();
    let run = |program: &str, words: &[&str]| -> Result<String> {
        let mut command = sandbox.command(davit_testkit::paths::program_or_name(program));
        command.args(words);
        command::run(command, b"", MINUTES)?.ok()
    };
    let from = format!("docker://{}", setup.registry.reference(name));
    let to = format!("oci:{}:tag", text("layout"));
    run("skopeo", &["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &to])?;
    run("umoci", &["unpack", "--image", &format!("{}:tag", text("layout")), &text("bundle")])?;
    Ok(PathBuf::from(text("bundle")).join("rootfs"))
}

/// An image that GNU tar packed, with what Debian's packages seldom have.
fn publish_rare_files(setup: &Setup) -> Result<()> {
    let root = setup.daemon.sandbox().dir().join("rare");
    fs::create_dir_all(root.join("deep").join("d".repeat(120)))?;
    let sandbox = setup.daemon.sandbox();
    let script = format!(
        "set -e; cd {}
        echo plain >plain; ln plain deep/linked; mknod null c 1 3; mkfifo pipe
        ln -s ../../etc/passwd outside; echo long >deep/{}/{}; chown 1000:3000000 plain
        echo ping >ping; chmod 4711 ping; mkdir -m 1777 sticky; chown -h 5:6 outside
        truncate -s 3M sparse; echo end >>sparse
        find . -exec touch -h -d @1500000000.987654321 {{}} +
        touch -d @1600000000.123456789 plain sticky",
        root.display(),
        "d".repeat(120),
        "f".repeat(120),
    );
    sandbox.sh(&script)?.ok()?;
    lsetxattr(root.join("ping"), "security.capability", &CAPABILITY, XattrFlags::empty())?;
    lsetxattr(root.join("sticky"), "user.lines", b"one\ntwo=three", XattrFlags::empty())?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o751))?;
    let file = sandbox.dir().join("rare.tar");
    let pack = "tar --format=posix --xattrs --xattrs-include='*' --numeric-owner -C";
    sandbox.sh(&format!("{pack} {} -cf {} .", root.display(), file.display()))?.ok()?;
    let layer = Layer::gzip(&fs::read(&file)?)?;
    let image = Image::new(vec![layer], &json!({ "Cmd": ["none"] }))?;
    let connect = || sandbox.connect(setup.registry.address());
    registry::push(&connect, "rare", "latest", &image)
}

#[test]
fn item4_unpacked_trees_are_those_of_skopeo_and_umoci() -> Result<()> {
    let needs = ["skopeo", "umoci", "tar"].map(Need::Program);
    let test = "item4_unpacked_trees_are_those_of_skopeo_and_umoci";
    plan(test, &[]).unpulled(&[NGINX, LAYERED]).needs(&needs).run(|setup| {
        publish_rare_files(setup)?;
        for name in [NGINX, LAYERED, "rare"] {
            // It has directories without entries, and those get the time of the day.
            let times = name != LAYERED;
            let (ours, theirs) = (ours(setup, name)?, theirs(setup, name)?);
            let (mut ours, theirs) = (tree(&ours, times)?, tree(&theirs, times)?);
            ours.retain(|path, _| {
                theirs.contains_key(path) || !OURS.iter().any(|own| Path::new(own) == path)
            });
            ensure!(ours.len() > 5, "{name}: {ours:?}");
            let all = ours.keys().chain(theirs.keys());
            let differences: Vec<String> = all
                .filter(|path| ours.get(*path) != theirs.get(*path))
                .map(|path| format!("{path:?}: {:?} not {:?}", ours.get(path), theirs.get(path)))
                .collect();
            let shown = differences[..differences.len().min(20)].join("\n");
            ensure!(differences.is_empty(), "{name}: {} differ\n{shown}", differences.len());
        }
        Ok(())
    })
}
