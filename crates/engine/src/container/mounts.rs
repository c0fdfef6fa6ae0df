//! Which mounts a container has beyond the default ones, decided at create.
//!
//! Sources in rising precedence: the image's volumes, `--volumes-from`, `-v`, `--mount`.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use davit_api::container::{Config, HostConfig, Mount, MountPoint};
use davit_types::{Context, Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::bind::{self, Bind};
use super::record::MountRecord;
use crate::spec;
use crate::volume::{Options, check_driver};

/// A mount, and what has to be made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// As it is kept; `source` is not known yet for a volume.
    pub(crate) record: MountRecord,
    /// The volume's labels, if it is to be made with any.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Options of the volume's driver, if it is to be made with any.
    pub(crate) driver_options: Option<Options>,
    /// Fill the volume with what the image has there.
    pub(crate) copy: bool,
}

/// The mounts of a new container by destination. `inherited` are those of `--volumes-from`.
///
/// # Errors
/// Docker's texts for what can't be mounted.
pub(crate) fn plan(
    config: &Config,
    host_config: &HostConfig,
    inherited: Vec<MountRecord>,
) -> Result<BTreeMap<String, Plan>> {
    let mut plans: BTreeMap<String, Plan> = inherited
        .into_iter()
        .map(|record| {
            (
                record.destination.clone(),
                Plan { record, labels: None, driver_options: None, copy: false },
            )
        })
        .collect();
    let mut given: Vec<String> = Vec::new();
    // The driver named for the whole container makes the volumes that no `--mount` describes.
    let short = |bind: Bind| {
        if !bind.is_host_path() {
            check_driver(&host_config.volume_driver)?;
        }
        Ok(from_bind(bind))
    };
    let binds = host_config.binds.iter().flatten().map(|spec| short(bind::parse(spec)?));
    for plan in binds.chain(host_config.mounts.iter().filter_map(from_mount)) {
        let plan: Plan = plan?;
        let destination = plan.record.destination.clone();
        if given.contains(&destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {destination}")));
        }
        given.push(destination.clone());
        plans.insert(destination, plan);
    }
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        let target = bind::check_target(target).map_err(|reason| {
            Error::invalid(format!("invalid volume specification: '{target}': {reason}"))
        })?;
        let shadowed = host_config.tmpfs.contains_key(&target)
            || host_config.mounts.iter().any(|mount| mount.target == target);
        if !plans.contains_key(&target) && !shadowed {
            let bind = Bind { target: target.clone(), ..Bind::default() };
            plans.insert(target, short(bind)?);
        }
    }
    Ok(plans)
}

fn from_bind(bind: Bind) -> Plan {
    let is_bind = bind.is_host_path();
    let kind = if is_bind { "bind" } else { "volume" };
    let propagation = match (is_bind, bind.propagation.is_empty()) {
        (true, true) => "rprivate".to_owned(),
        _ => bind.propagation.clone(),
    };
    let spec = Mount {
        kind: kind.to_owned(),
        source: bind.source.clone(),
        target: bind.target.clone(),
        read_only: bind.read_only,
        ..Mount::default()
    };
    let record = MountRecord {
        source: if is_bind { bind.source.clone() } else { String::new() },
        destination: bind.target,
        rw: !bind.read_only,
        name: if is_bind { String::new() } else { bind.source },
        driver: if is_bind { String::new() } else { "local".to_owned() },
        kind: kind.to_owned(),
        relabel: if bind.mode.is_empty() && !is_bind { "z".to_owned() } else { bind.mode },
        propagation,
        id: String::new(),
        spec,
        skip_mountpoint_creation: false,
    };
    Plan { record, labels: None, driver_options: None, copy: !is_bind && !bind.no_copy }
}

/// A `--mount`; tmpfs is no mount point of its own and is left to [`tmpfs_mounts`].
fn from_mount(mount: &Mount) -> Option<Result<Plan>> {
    checked_mount(mount).transpose()
}

fn checked_mount(mount: &Mount) -> Result<Option<Plan>> {
    let invalid = |reason: &str| {
        Err(Error::invalid(format!("invalid mount config for type {:?}: {reason}", mount.kind)))
    };
    if mount.target.is_empty() {
        return invalid("field Target must not be empty");
    }
    let target = match bind::check_target(&mount.target) {
        Ok(target) => target,
        Err(reason) => return invalid(&reason),
    };
    let options = [
        ("bind", "BindOptions", mount.bind_options.is_some()),
        ("volume", "VolumeOptions", mount.volume_options.is_some()),
        ("image", "ImageOptions", mount.image_options.is_some()),
        ("tmpfs", "TmpfsOptions", mount.tmpfs_options.is_some()),
    ];
    let foreign = options.iter().find(|(kind, _, given)| *given && *kind != mount.kind);
    if let Some((_, field, _)) = foreign {
        return invalid(&format!("field {field} must not be specified"));
    }
    match mount.kind.as_str() {
        "bind" => checked_bind(mount, target).map(Some),
        "volume" => checked_volume(mount, target).map(Some),
        "tmpfs" if mount.source.is_empty() => Ok(None),
        "tmpfs" => invalid("field Source must not be specified"),
        _ => invalid("mount type unknown"),
    }
}

fn checked_bind(mount: &Mount, target: String) -> Result<Plan> {
    let invalid = |reason: &str| {
        Err(Error::invalid(format!("invalid mount config for type \"bind\": {reason}")))
    };
    if mount.source.is_empty() {
        return invalid("field Source must not be empty");
    }
    if !mount.source.starts_with('/') {
        return invalid(&format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.source
        ));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let source = bind::clean(&mount.source);
    if !options.create_mountpoint && !Path::new(&source).exists() {
        return invalid(&format!("bind source path does not exist: {source}"));
    }
    let propagation = match options.propagation.as_str() {
        "" => "rprivate".to_owned(),
        word @ ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => {
            word.to_owned()
        }
        word => return invalid(&format!("invalid propagation mode: {word}")),
    };
    let conflict = match (mount.read_only, &options) {
        (false, options) if options.read_only_non_recursive => "!ReadOnly && ReadOnlyNonRecursive",
        (false, options) if options.read_only_force_recursive => {
            "!ReadOnly && ReadOnlyForceRecursive"
        }
        (true, options) if options.read_only_non_recursive && options.read_only_force_recursive => {
            "ReadOnlyNonRecursive && ReadOnlyForceRecursive"
        }
        _ => "",
    };
    if !conflict.is_empty() {
        return Err(Error::invalid(format!("mount options conflict: {conflict}")));
    }
    let record = MountRecord {
        source,
        destination: target,
        rw: !mount.read_only,
        kind: "bind".to_owned(),
        propagation,
        spec: mount.clone(),
        skip_mountpoint_creation: !options.create_mountpoint,
        ..MountRecord::default()
    };
    Ok(Plan { record, labels: None, driver_options: None, copy: false })
}

fn checked_volume(mount: &Mount, target: String) -> Result<Plan> {
    let options = mount.volume_options.clone().unwrap_or_default();
    let nameless = mount.source.is_empty();
    let reason = match options.subpath.as_str() {
        "" if nameless && mount.read_only => {
            "must not set ReadOnly mode when using anonymous volumes"
        }
        "" => "",
        _ if nameless => "must not set Subpath when using anonymous volumes",
        path if is_local(path) => "",
        _ => "subpath must be a relative path within the volume",
    };
    if !reason.is_empty() {
        let message = format!("invalid mount config for type \"volume\": {reason}");
        return Err(Error::invalid(message));
    }
    let driver = options.driver_config.unwrap_or_default();
    check_driver(&driver.name)?;
    let record = MountRecord {
        destination: target,
        rw: !mount.read_only,
        name: mount.source.clone(),
        driver: "local".to_owned(),
        kind: "volume".to_owned(),
        relabel: "z".to_owned(),
        spec: mount.clone(),
        ..MountRecord::default()
    };
    let labels = (!options.labels.is_empty()).then_some(options.labels);
    let driver_options = (!driver.options.is_empty()).then_some(driver.options);
    Ok(Plan { record, labels, driver_options, copy: !options.no_copy })
}

/// A relative path that doesn't climb out of where it starts.
fn is_local(path: &str) -> bool {
    let mut depth = 0_i32;
    !path.starts_with('/')
        && path.split('/').all(|name| {
            depth += match name {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            depth >= 0
        })
}

/// Where a mount's content is on the host. What is mounted of a volume must lie inside it, wherever
/// the links lead that containers have put there.
///
/// # Errors
/// There is no such path in the volume, or it leads out.
pub(crate) fn source(record: &MountRecord) -> Result<PathBuf> {
    let source = PathBuf::from(&record.source);
    let options = record.spec.volume_options.as_ref();
    let Some(subpath) = options.map(|options| &options.subpath).filter(|path| !path.is_empty())
    else {
        return Ok(source);
    };
    let failed = || format!("cannot access path {}", source.join(subpath).display());
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let volume = rustix::fs::open(&source, flags, Mode::empty()).context(failed)?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let place = rustix::fs::openat2(&volume, subpath.as_str(), flags, Mode::empty(), inside)
        .map_err(|errno| Error::invalid(failed()).with_source(errno))?;
    std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd())).context(failed)
}

/// How inspect and list show the mounts.
pub(crate) fn mount_points(records: &BTreeMap<String, MountRecord>) -> Vec<MountPoint> {
    records
        .values()
        .map(|record| MountPoint {
            kind: record.kind.clone(),
            name: record.name.clone(),
            source: record.source.clone(),
            destination: record.destination.clone(),
            driver: record.driver.clone(),
            mode: record.relabel.clone(),
            rw: record.rw,
            propagation: record.propagation.clone(),
        })
        .collect()
}

/// The mounts as the runtime does them: parents before what lies below them.
pub(crate) fn runtime_mounts(
    records: &BTreeMap<String, MountRecord>,
    host_config: &HostConfig,
) -> Result<Vec<spec::Mount>> {
    let recursive = has_recursive_attributes(&rustix::system::uname().release().to_string_lossy());
    let binds = records.values().map(|record| runtime_bind(record, recursive));
    let mut mounts: Vec<spec::Mount> = binds.collect::<Result<_>>()?;
    mounts.extend(tmpfs_mounts(host_config));
    mounts.sort_by_key(|mount| mount.destination.components().count());
    Ok(mounts)
}

/// `mount_setattr` came with Linux 5.12.
fn has_recursive_attributes(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    matches!((major, minor), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 12))
}

/// A read-only mount is so with everything below, where the kernel has it; forced, the runtime fails
/// where it hasn't.
fn runtime_bind(record: &MountRecord, recursive_attributes: bool) -> Result<spec::Mount> {
    let options = record.spec.bind_options.clone().unwrap_or_default();
    let recursive = if options.non_recursive { "bind" } else { "rbind" };
    let mut words = vec![recursive.to_owned()];
    if !record.rw {
        let everything = options.read_only_force_recursive
            || (recursive_attributes && !options.read_only_non_recursive);
        words.push(if everything { "rro" } else { "ro" }.to_owned());
    }
    let propagation =
        if record.propagation.is_empty() { "rprivate" } else { record.propagation.as_str() };
    words.push(propagation.to_owned());
    Ok(spec::Mount {
        kind: "bind".to_owned(),
        source: source(record)?,
        destination: PathBuf::from(&record.destination),
        options: words,
    })
}

/// `--mount type=tmpfs`.
fn tmpfs_mounts(host_config: &HostConfig) -> impl Iterator<Item = spec::Mount> {
    host_config.mounts.iter().filter(|mount| mount.kind == "tmpfs").map(|mount| {
        let given = mount.tmpfs_options.clone().unwrap_or_default();
        let mut options = ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
        if given.size_bytes > 0 {
            options.push(format!("size={}", given.size_bytes));
        }
        if given.mode != 0 {
            options.push(format!("mode={:o}", given.mode));
        }
        if mount.read_only {
            options.push("ro".to_owned());
        }
        spec::Mount {
            kind: "tmpfs".to_owned(),
            source: PathBuf::from("tmpfs"),
            destination: PathBuf::from(bind::clean(&mount.target)),
            options,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_api::container::{BindOptions, VolumeDriverConfig, VolumeOptions};

    fn host_config(binds: &[&str], mounts: &[Mount]) -> HostConfig {
        HostConfig {
            binds: Some(binds.iter().map(|bind| (*bind).to_owned()).collect()),
            mounts: mounts.to_vec(),
            ..HostConfig::default()
        }
    }

    fn mount(kind: &str, source: &str, target: &str) -> Mount {
        Mount {
            kind: kind.into(),
            source: source.into(),
            target: target.into(),
            ..Mount::default()
        }
    }

    fn volume(source: &str, subpath: &str, read_only: bool) -> Mount {
        let options = VolumeOptions { subpath: subpath.into(), ..VolumeOptions::default() };
        let volume_options = Some(options);
        Mount { read_only, volume_options, ..mount("volume", source, "/y") }
    }

    #[test]
    fn a_subpath_never_leads_out_of_its_volume() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("its path");
        let at = root.join("_data");
        std::fs::create_dir_all(at.join("sub/dir")).expect("mkdir");
        std::fs::create_dir(root.join("outside")).expect("mkdir");
        for (link, target) in [("in", "sub/dir"), ("out", "../outside"), ("etc", "/etc")] {
            std::os::unix::fs::symlink(target, at.join(link)).expect("symlink");
        }
        let resolve = |subpath: &str| {
            let spec = volume("vol", subpath, false);
            let host = at.display().to_string();
            source(&MountRecord { source: host, spec, ..MountRecord::default() })
        };
        assert_eq!(resolve("").expect("whole"), at);
        assert_eq!(resolve("sub/./dir").expect("a directory"), at.join("sub/dir"));
        assert_eq!(resolve("in").expect("a link inside"), at.join("sub/dir"));
        for bad in ["out", "etc", "etc/passwd", "nosuch", "../outside"] {
            let error = resolve(bad).expect_err(bad);
            assert!(error.to_string().starts_with("cannot access path"), "{error}");
        }
    }

    #[test]
    fn volume_drivers_and_options_that_are_not_there_are_refused() {
        let with = |name: &str, option: Option<&str>| {
            let options = option.map(|key| (key.to_owned(), "x".to_owned())).into_iter().collect();
            let driver_config = Some(VolumeDriverConfig { name: name.into(), options });
            let volume_options = Some(VolumeOptions { driver_config, ..VolumeOptions::default() });
            let mount = Mount { volume_options, ..mount("volume", "vol", "/y") };
            plan(&Config::default(), &host_config(&[], &[mount]), Vec::new())
        };
        with("local", None).expect("the only driver");
        assert_eq!(
            with("nosuch", None).expect_err("driver").to_string(),
            "error looking up volume plugin nosuch: plugin \"nosuch\" not found"
        );
        let plans = with("", Some("type")).expect("checked when the volume is made");
        assert_eq!(plans["/y"].driver_options, Some([("type".into(), "x".into())].into()));
        let plans = |driver: &str, binds: &[&str]| {
            let volume_driver = driver.to_owned();
            let host_config = HostConfig { volume_driver, ..host_config(binds, &[]) };
            plan(&Config::default(), &host_config, Vec::new())
        };
        plans("nosuch", &["/tmp:/t"]).expect("no volume, no driver");
        plans("local", &["v:/v"]).expect("the only driver");
        assert_eq!(
            plans("nosuch", &["v:/v"]).expect_err("driver").to_string(),
            "error looking up volume plugin nosuch: plugin \"nosuch\" not found"
        );
    }

    #[test]
    fn binds_and_volumes_look_as_docker_shows_them() {
        let host_config = host_config(&["vol1:/data", "/tmp:/hosttmp:ro"], &[]);
        let plans = plan(&Config::default(), &host_config, Vec::new()).expect("valid");
        let volume = &plans["/data"].record;
        assert_eq!((volume.kind.as_str(), volume.relabel.as_str()), ("volume", "z"));
        assert!(plans["/data"].copy && volume.rw && volume.propagation.is_empty());
        let bind = &plans["/hosttmp"].record;
        assert_eq!((bind.relabel.as_str(), bind.propagation.as_str()), ("ro", "rprivate"));
        assert!(!bind.rw);
    }

    #[test]
    fn what_the_user_mounts_shadows_the_images_volumes() {
        let config = Config {
            volumes: Some([("/data".to_owned(), davit_api::lenient::Empty)].into()),
            ..Config::default()
        };
        let plans = plan(&config, &host_config(&["/tmp:/data"], &[]), Vec::new()).expect("valid");
        assert_eq!(plans["/data"].record.kind, "bind");
        let plans = plan(&config, &HostConfig::default(), Vec::new()).expect("valid");
        assert_eq!(plans["/data"].record.kind, "volume");
    }

    #[test]
    fn bad_mounts_are_refused_in_dockers_words() {
        for (host_config, message) in [
            (host_config(&["/tmp:/b", "/usr:/b"], &[]), "Duplicate mount point: /b"),
            (
                host_config(&[], &[mount("bind", "/nosuch/x", "/y")]),
                "invalid mount config for type \"bind\": bind source path does not exist: /nosuch/x",
            ),
            (
                host_config(&[], &[mount("bind", "/tmp", "")]),
                "invalid mount config for type \"bind\": field Target must not be empty",
            ),
            (
                host_config(&[], &[volume("", "sub", true)]),
                "invalid mount config for type \"volume\": must not set Subpath when using \
                 anonymous volumes",
            ),
            (
                host_config(&[], &[volume("", "", true)]),
                "invalid mount config for type \"volume\": must not set ReadOnly mode when using \
                 anonymous volumes",
            ),
            (
                host_config(&[], &[volume("vol", "a/../../b", false)]),
                "invalid mount config for type \"volume\": subpath must be a relative path within \
                 the volume",
            ),
            (
                host_config(&[], &[mount("nosuch", "", "/y")]),
                "invalid mount config for type \"nosuch\": mount type unknown",
            ),
            (
                host_config(&[], &[mount("tmpfs", "/src", "/y")]),
                "invalid mount config for type \"tmpfs\": field Source must not be specified",
            ),
            (
                host_config(&[], &[mount("tmpfs", "", "y")]),
                "invalid mount config for type \"tmpfs\": invalid mount path: 'y' mount path must be \
                 absolute",
            ),
        ] {
            let error = plan(&Config::default(), &host_config, Vec::new()).expect_err(message);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn read_only_binds_are_so_with_everything_below() {
        let with = |read_only, non_recursive, force| {
            let options = BindOptions {
                read_only_non_recursive: non_recursive,
                read_only_force_recursive: force,
                ..BindOptions::default()
            };
            let bind_options = Some(options);
            let mount = Mount { read_only, bind_options, ..mount("bind", "/tmp", "/a") };
            plan(&Config::default(), &host_config(&[], &[mount]), Vec::new())
        };
        let words = |plans: Result<BTreeMap<String, Plan>>, kernel| {
            runtime_bind(&plans.expect("valid")["/a"].record, kernel).expect("a source").options
        };
        assert_eq!(words(with(true, false, false), true), ["rbind", "rro", "rprivate"]);
        assert_eq!(words(with(true, false, false), false), ["rbind", "ro", "rprivate"]);
        assert_eq!(words(with(true, true, false), true), ["rbind", "ro", "rprivate"]);
        assert_eq!(words(with(true, false, true), false), ["rbind", "rro", "rprivate"]);
        let short = plan(&Config::default(), &host_config(&["/tmp:/a:ro"], &[]), Vec::new());
        assert_eq!(words(short, true), ["rbind", "rro", "rprivate"]);
        for (plans, conflict) in [
            (with(false, true, false), "!ReadOnly && ReadOnlyNonRecursive"),
            (with(false, false, true), "!ReadOnly && ReadOnlyForceRecursive"),
            (with(true, true, true), "ReadOnlyNonRecursive && ReadOnlyForceRecursive"),
        ] {
            let error = plans.expect_err(conflict);
            assert_eq!(error.to_string(), format!("mount options conflict: {conflict}"));
        }
        for (release, has) in
            [("5.11.22", false), ("5.12.0-rc1", true), ("6.1.0-13-amd64", true), ("x", false)]
        {
            assert_eq!(has_recursive_attributes(release), has, "{release}");
        }
    }

    #[test]
    fn parents_are_mounted_first() {
        let host_config = host_config(&["/tmp:/a/b/c", "/tmp:/a"], &[mount("tmpfs", "", "/a/b")]);
        let plans = plan(&Config::default(), &host_config, Vec::new()).expect("valid");
        let records = plans.into_iter().map(|(key, plan)| (key, plan.record)).collect();
        let order: Vec<_> = runtime_mounts(&records, &host_config)
            .expect("sources")
            .iter()
            .map(|mount| mount.destination.display().to_string())
            .collect();
        assert_eq!(order, ["/a", "/a/b", "/a/b/c"]);
    }
}
