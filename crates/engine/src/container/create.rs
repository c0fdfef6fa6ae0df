//! `POST /containers/create`: check, decide, make the layer, the volumes and the records.
//!
//! When it has answered, the container survives a power failure. Until then everything made is taken
//! away again on any error.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use davit_api::Time;
use davit_api::container::{
    Config, CreateRequest, CreateResponse, EndpointSettings, HostConfig, NetworkingConfig,
};
use davit_image::Image;
use davit_types::{ContainerId, Context, Error, Platform, Result};

use super::merge::{self, Defaults};
use super::mounts::{self, Plan};
use super::record::{EndpointRecord, MountRecord, NetworkRecord, Record, Snapshot};
use super::root::{VolumeMounts, make_directories, with_stopped_root};
use super::{Container, State, blocking, detached, validate};
use crate::engine::Inner;
use crate::store::{self, Durability};
use crate::volume::Wanted;
use crate::{Engine, error, names, network, random};

impl Engine {
    /// Creates a container.
    ///
    /// # Errors
    /// Invalid settings, an unknown image (404, and only then), a name that is taken.
    pub async fn create_container(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        body: CreateRequest,
    ) -> Result<CreateResponse> {
        let inner = Arc::clone(self.inner());
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let platform = platform.filter(|text| !text.is_empty()).map(Platform::parse).transpose()?;
        detached(blocking_create(inner, name, platform, body)).await
    }
}

async fn blocking_create(
    inner: Arc<Inner>,
    name: Option<String>,
    platform: Option<Platform>,
    body: CreateRequest,
) -> Result<CreateResponse> {
    blocking(move || create(&inner, name.as_deref(), platform.as_ref(), body)).await
}

fn create(
    inner: &Arc<Inner>,
    name: Option<&str>,
    platform: Option<&Platform>,
    body: CreateRequest,
) -> Result<CreateResponse> {
    let CreateRequest { mut config, mut host_config, networking_config } = body;
    let checked_name = name.map(names::check).transpose()?;
    let mut warnings = validate::check(&config, &host_config, cpus())?;
    validate::discard_unknown_limits(inner.layout.is_v2(), &mut host_config, &mut warnings);
    validate::check_cpusets(&host_config.resources, &online("cpu"), &online("node"))?;
    let image = inner.images.resolve(&config.image)?;
    check_platform(&image, platform, &config.image, &mut warnings)?;
    merge::merge_image(&mut config, &image.config.config);
    warnings.extend(ignored(&config));
    let (path, args) = merge::command(&config)?;
    let defaults = Defaults { config: &inner.config, cgroup_v2: inner.layout.is_v2() };
    merge::fill_defaults(&mut host_config, &defaults);
    check_cgroup_parent(inner, &host_config.resources.cgroup_parent)?;
    check_runtime(inner, &host_config.runtime)?;
    resolve_donors(inner, &mut host_config)?;
    let links = network::links::resolve(inner, &host_config)?;

    let id = random::id()?;
    let mut undo = Undo { inner, id: &id, name: None, layer: false, volumes: Vec::new() };
    undo.name = Some(reserve_name(inner, checked_name, &id)?);
    let name = undo.name.clone().unwrap_or_default();
    fill_hostname(&mut config, &host_config, &id);
    let plans = mounts::plan(&config, &host_config, inherited(inner, &host_config)?)?;
    inner.images.create_container_layer(&id, &image)?;
    undo.layer = true;
    let mount_points = make_volumes(inner, &mut undo, &plans)?;
    prepare_root(inner, &id, &config, &plans, &mount_points)?;
    let record = Record {
        stream_config: davit_api::lenient::Empty,
        state: State::default(),
        id: id.clone(),
        created: Time::now(),
        managed: false,
        path,
        args,
        image: image.id.to_string(),
        image_manifest: Some(crate::image::descriptor(&image.manifest)),
        network_settings: network_record(&host_config, &config, &networking_config),
        log_path: String::new(),
        name: format!("/{name}"),
        driver: crate::image::DRIVER.to_owned(),
        os: "linux".to_owned(),
        image_platform: crate::image::platform(&image.platform),
        restart_count: 0,
        has_been_started_before: false,
        has_been_manually_stopped: false,
        mount_points,
        secret_references: None,
        config_references: None,
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        seccomp_profile: String::new(),
        no_new_privileges: false,
        writable_cgroups: None,
        hostname_path: String::new(),
        hosts_path: String::new(),
        shm_path: String::new(),
        resolv_conf_path: String::new(),
        local_log_cache_meta: super::record::LogCacheRecord::default(),
        links,
        networks_left: false,
        davit_sandbox: None,
        config,
    };
    let container = Container::new(
        Snapshot { record, host_config },
        &inner.config.data_root,
        &inner.config.exec_root,
    );
    write_records(inner, &container)?;
    inner.publish(&container.snapshot(), "create", &[]);
    inner.containers.insert(Arc::new(container));
    undo.done();
    Ok(CreateResponse { id: id.to_string(), warnings })
}

fn cpus() -> i64 {
    std::thread::available_parallelism().map_or(1, |count| count.get().try_into().unwrap_or(1))
}

/// The host's processors (`cpu`) or memory nodes (`node`) that are there, such as `0-3`; empty when
/// the kernel doesn't tell.
fn online(kind: &str) -> String {
    std::fs::read_to_string(format!("/sys/devices/system/{kind}/online"))
        .map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

/// A warning for each thing that is asked for and not done.
fn ignored(config: &Config) -> Vec<String> {
    let test = config.healthcheck.as_ref().and_then(|health| health.test.first());
    let has_check = test.is_some_and(|kind| kind != "NONE");
    [(has_check, "Health checks are not supported; this container's health check is ignored.")]
        .into_iter()
        .filter(|(is_asked, _)| *is_asked)
        .map(|(_, warning)| warning.to_owned())
        .collect()
}

fn check_platform(
    image: &Image,
    wanted: Option<&Platform>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if wanted.is_some_and(|wanted| wanted.rank(&image.platform).is_none()) {
        let wanted = wanted.map(ToString::to_string).unwrap_or_default();
        return Err(Error::not_found(format!(
            "image with reference {name} was found but does not provide the specified platform \
             ({wanted})"
        )));
    }
    let host = Platform::host();
    if wanted.is_none() && host.rank(&image.platform).is_none() {
        warnings.push(format!(
            "The requested image's platform ({}) does not match the detected host platform ({host}) \
             and no specific platform was requested",
            image.platform
        ));
    }
    Ok(())
}

/// systemd's cgroups are named by slices.
fn check_cgroup_parent(inner: &Inner, parent: &str) -> Result<()> {
    if !inner.config.systemd_cgroups || parent.is_empty() {
        return Ok(());
    }
    if davit_sys::cgroup::Scope::parse(&format!("{parent}:docker:x"), "").is_err() {
        return Err(Error::invalid(
            "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"",
        ));
    }
    Ok(())
}

/// The built-in runtime answers to the names of Docker's default.
fn check_runtime(inner: &Inner, name: &str) -> Result<()> {
    let built_in = ["runc", "io.containerd.runc.v2", inner.config.default_runtime.as_str()];
    if built_in.contains(&name) || inner.config.runtimes.contains_key(name) {
        return Ok(());
    }
    Err(Error::invalid(format!("unknown or invalid runtime name: {name}")))
}

/// `container:<name>` becomes `container:<id>`. An unknown donor is deliberately not a 404: clients
/// take that for a missing image.
fn resolve_donors(inner: &Inner, host_config: &mut HostConfig) -> Result<()> {
    let modes =
        [&mut host_config.network_mode, &mut host_config.pid_mode, &mut host_config.ipc_mode];
    for mode in modes {
        if let Some(name) = mode.strip_prefix("container:") {
            let donor = inner
                .containers
                .find(name)
                .map_err(|cause| cause.with_kind(davit_types::Kind::InvalidParameter))?;
            *mode = format!("container:{}", donor.id);
        }
    }
    Ok(())
}

fn reserve_name(inner: &Inner, name: Option<&str>, id: &ContainerId) -> Result<String> {
    if let Some(name) = name {
        inner.containers.reserve(name, id)?;
        return Ok(name.to_owned());
    }
    for _ in 0..6 {
        let name = names::generate(random::number()?);
        if inner.containers.reserve(&name, id).is_ok() {
            return Ok(name);
        }
    }
    inner.containers.reserve(id.short(), id)?;
    Ok(id.short().to_owned())
}

fn fill_hostname(config: &mut Config, host_config: &HostConfig, id: &ContainerId) {
    if config.hostname.is_empty() {
        config.hostname = if host_config.network_mode == "host" || host_config.uts_mode == "host" {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        } else {
            id.short().to_owned()
        };
    }
}

/// The mounts of `--volumes-from`.
fn inherited(inner: &Inner, host_config: &HostConfig) -> Result<Vec<MountRecord>> {
    let mut records = Vec::new();
    for spec in host_config.volumes_from.iter().flatten() {
        let (name, mode) = spec.split_once(':').unwrap_or((spec, "rw"));
        if !matches!(mode, "rw" | "ro" | "z" | "Z") {
            return Err(Error::internal(format!("invalid mode: {mode}")));
        }
        let donor = inner
            .containers
            .find(name)
            .map_err(|cause| cause.with_kind(davit_types::Kind::InvalidParameter))?;
        records.extend(donor.snapshot().record.mount_points.values().cloned().map(|mut record| {
            record.rw &= mode != "ro";
            record
        }));
    }
    Ok(records)
}

/// Makes the volumes that are missing, and completes the records with where they are.
fn make_volumes(
    inner: &Inner,
    undo: &mut Undo<'_>,
    plans: &BTreeMap<String, Plan>,
) -> Result<BTreeMap<String, MountRecord>> {
    let mut records = BTreeMap::new();
    for (destination, plan) in plans {
        let mut record = plan.record.clone();
        record.id = random::id()?.to_string();
        if record.is_volume() {
            let (volume, new) = inner.volumes.create(&Wanted {
                name: &record.name,
                labels: plan.labels.as_ref(),
                options: plan.driver_options.as_ref(),
                holder: Some(undo.id.as_str()),
            })?;
            if new {
                undo.volumes.push(volume.name.clone());
                crate::volume::publish(inner, "create", &volume.name, BTreeMap::new());
            }
            record.name.clone_from(&volume.name);
            record.source = inner.volumes.mountpoint(&volume.name).display().to_string();
        }
        records.insert(destination.clone(), record);
    }
    Ok(records)
}

/// What needs the root mounted: fresh volumes are filled with what the image has there, and the
/// working directory is made.
fn prepare_root(
    inner: &Inner,
    id: &ContainerId,
    config: &Config,
    plans: &BTreeMap<String, Plan>,
    records: &BTreeMap<String, MountRecord>,
) -> Result<()> {
    let copies: Vec<&MountRecord> = records
        .values()
        .filter(|record| record.is_volume() && plans[&record.destination].copy)
        // What is not there before it is mounted says nothing of what is then.
        .filter(|record| crate::volume::is_empty(Path::new(&record.source)))
        .collect();
    let directory = Path::new(&config.working_dir);
    let has_directory = !config.working_dir.is_empty() && directory != Path::new("/");
    if copies.is_empty() && !has_directory {
        return Ok(());
    }
    let layer = inner.images.container_layer(id)?;
    let overlaid = VolumeMounts::of(inner, copies.iter().copied());
    with_stopped_root(&layer, &BTreeMap::new(), &VolumeMounts::default(), |root| {
        for record in copies {
            crate::volume::fill(root, record, || overlaid.mount_at(Path::new(&record.source)))?;
        }
        if has_directory {
            make_directories(root, directory, 0o755).map_err(|cause| match cause.kind() {
                std::io::ErrorKind::NotADirectory => Error::internal(format!(
                    "Cannot mkdir: {} is not a directory",
                    directory.display()
                )),
                _ => Error::internal(format!("Cannot mkdir: {}", directory.display()))
                    .with_source(cause),
            })?;
        }
        Ok(())
    })
}

/// The networks, under the names they are given by, with what the user wants of the endpoints.
fn network_record(
    host_config: &HostConfig,
    config: &Config,
    wanted: &NetworkingConfig,
) -> NetworkRecord {
    let mode = host_config.network_mode.as_str();
    if mode.starts_with("container:") {
        return NetworkRecord::default();
    }
    let name = if config.network_disabled { "none" } else { mode };
    let settings: EndpointSettings = wanted
        .endpoints_config
        .get(name)
        .or_else(|| wanted.endpoints_config.get("default"))
        .cloned()
        .unwrap_or_default();
    let mut networks: BTreeMap<String, EndpointRecord> = wanted
        .endpoints_config
        .iter()
        .filter(|(key, _)| *key != "default" && *key != name && is_private(name))
        .map(|(key, settings)| (key.clone(), EndpointRecord::wanted(settings.clone())))
        .collect();
    networks.insert(name.to_owned(), EndpointRecord::wanted(settings));
    NetworkRecord { networks, ..NetworkRecord::default() }
}

/// Whether a network can be one of several.
fn is_private(name: &str) -> bool {
    !matches!(name, "host" | "none")
}

/// Writes both records into a directory made for them. One that the daemon itself would remove
/// after a power failure need not survive it.
fn write_records(inner: &Inner, container: &Container) -> Result<()> {
    let snapshot = container.snapshot();
    let durability =
        if snapshot.is_auto_remove() { Durability::Relaxed } else { Durability::Durable };
    let failed = || format!("create {}", container.directory.display());
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o710).create(&container.directory).context(failed)?;
    builder.create(container.directory.join("mounts")).context(failed)?;
    container.save_host_config(Durability::Relaxed)?;
    container.save(durability)?;
    if durability == Durability::Durable {
        let host_config = container.directory.join("hostconfig.json");
        std::fs::File::open(host_config).and_then(|file| file.sync_all()).context(failed)?;
        store::sync_directory(&inner.config.data_root.join("containers"))?;
    }
    Ok(())
}

/// Takes away what was made for a container that could not be completed.
struct Undo<'a> {
    inner: &'a Inner,
    id: &'a ContainerId,
    name: Option<String>,
    layer: bool,
    volumes: Vec<String>,
}

impl Undo<'_> {
    fn done(mut self) {
        (self.name, self.layer) = (None, false);
        self.volumes.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.inner.volumes.let_go(self.id.as_str());
        let Some(name) = &self.name else { return };
        let mut results = Vec::new();
        if self.layer {
            results.push(self.inner.images.remove_container_layer(self.id));
        }
        for volume in &self.volumes {
            let (inner, trash) = (self.inner, self.inner.trash());
            // Somebody else may have begun to use it; then it stays.
            match inner.volumes.remove(volume, &trash, || inner.users_of_volume(volume)) {
                Err(cause) if cause.kind() == davit_types::Kind::Conflict => {}
                removed => results.push(removed),
            }
        }
        let directory = self.inner.config.data_root.join("containers").join(self.id.as_str());
        if directory.exists() {
            results.push(std::fs::remove_dir_all(&directory).context(|| "delete its records"));
        }
        self.inner.containers.release(name);
        for failure in results.into_iter().filter_map(Result::err) {
            tracing::warn!(id = %self.id, error = %error::chain(&failure), "undo a failed create");
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_api::container::HealthConfig;

    use super::*;

    #[test]
    fn what_is_not_done_is_said() {
        let check = |test: &[&str]| {
            let test = test.iter().map(|word| (*word).to_owned()).collect();
            let healthcheck = Some(HealthConfig { test, ..HealthConfig::default() });
            ignored(&Config { healthcheck, ..Config::default() }).len()
        };
        assert_eq!((check(&["CMD", "true"]), check(&["NONE"]), check(&[])), (1, 0, 0));
        assert!(ignored(&Config::default()).is_empty());
    }
}
