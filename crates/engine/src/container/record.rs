//! What is kept about a container: `config.v2.json` and `hostconfig.json`, in Docker's format.
//!
//! Inspect, logs, the restart policy and recovery all read these. Parsing is strict: a record that
//! lacks a field is bad and is put aside, not half understood.

use std::collections::BTreeMap;

use davit_api::Time;
use davit_api::container::{Config, EndpointSettings, HostConfig, Mount, PortMap};
use davit_api::image::{Descriptor, Platform};
use davit_api::lenient::Empty;
use davit_network::Sandbox;
use davit_types::ContainerId;
use serde::{Deserialize, Serialize};

use super::state::State;

/// `config.v2.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Record {
    #[serde(default)]
    pub(crate) stream_config: Empty,
    pub(crate) state: State,
    #[serde(rename = "ID")]
    pub(crate) id: ContainerId,
    pub(crate) created: Time,
    #[serde(default)]
    pub(crate) managed: bool,
    /// Program.
    pub(crate) path: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// The image's configuration merged in.
    pub(crate) config: Config,
    /// Image ID.
    pub(crate) image: String,
    /// Manifest the container was made from.
    #[serde(default)]
    pub(crate) image_manifest: Option<Descriptor>,
    pub(crate) network_settings: NetworkRecord,
    pub(crate) log_path: String,
    /// With its leading slash.
    pub(crate) name: String,
    pub(crate) driver: String,
    #[serde(rename = "OS")]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) image_platform: Platform,
    pub(crate) restart_count: u32,
    pub(crate) has_been_started_before: bool,
    pub(crate) has_been_manually_stopped: bool,
    /// By destination.
    pub(crate) mount_points: BTreeMap<String, MountRecord>,
    #[serde(default)]
    pub(crate) secret_references: Option<Empty>,
    #[serde(default)]
    pub(crate) config_references: Option<Empty>,
    #[serde(default)]
    pub(crate) mount_label: String,
    #[serde(default)]
    pub(crate) process_label: String,
    #[serde(default)]
    pub(crate) app_armor_profile: String,
    #[serde(default)]
    pub(crate) seccomp_profile: String,
    #[serde(default)]
    pub(crate) no_new_privileges: bool,
    #[serde(default)]
    pub(crate) writable_cgroups: Option<bool>,
    pub(crate) hostname_path: String,
    pub(crate) hosts_path: String,
    #[serde(default)]
    pub(crate) shm_path: String,
    pub(crate) resolv_conf_path: String,
    #[serde(default)]
    pub(crate) local_log_cache_meta: LogCacheRecord,
    /// Ours: the ids of the containers it links to on the default bridge, by alias.
    #[serde(default)]
    pub(crate) links: BTreeMap<String, String>,
    /// Ours: it was disconnected from its last network, and starts without any.
    #[serde(default)]
    pub(crate) networks_left: bool,
    /// Ours: the network sandbox as the network crate gave it, for recovery.
    #[serde(default)]
    pub(crate) davit_sandbox: Option<Sandbox>,
}

/// Part of the format; nothing caches logs here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogCacheRecord {
    have_notify_enabled: bool,
}

/// `NetworkSettings` of `config.v2.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkRecord {
    #[serde(rename = "SandboxID")]
    pub(crate) sandbox_id: String,
    pub(crate) sandbox_key: String,
    /// By name of the network.
    pub(crate) networks: BTreeMap<String, EndpointRecord>,
    pub(crate) service: Option<Empty>,
    /// Published ports while it runs.
    pub(crate) ports: PortMap,
    pub(crate) has_swarm_endpoint: bool,
}

/// An endpoint, with what Docker keeps beside the API's fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    #[serde(flatten)]
    pub(crate) settings: EndpointSettings,
    #[serde(rename = "IPAMOperational", default)]
    pub(crate) ipam_operational: bool,
    #[serde(rename = "DesiredMacAddress", default)]
    pub(crate) desired_mac_address: String,
}

impl EndpointRecord {
    /// What the user wants; the address asked for is kept apart from the one given.
    pub(crate) fn wanted(mut settings: EndpointSettings) -> Self {
        let desired_mac_address = std::mem::take(&mut settings.mac_address);
        Self { settings, desired_mac_address, ..Self::default() }
    }
}

/// A mount beyond the default ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MountRecord {
    /// Path on the host.
    pub(crate) source: String,
    pub(crate) destination: String,
    #[serde(rename = "RW")]
    pub(crate) rw: bool,
    /// Of the volume; empty for a bind.
    pub(crate) name: String,
    /// `local` for a volume; empty for a bind.
    pub(crate) driver: String,
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// The mode as written, `z` for a volume without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) relabel: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) propagation: String,
    #[serde(rename = "ID", default, skip_serializing_if = "String::is_empty")]
    pub(crate) id: String,
    /// As it was asked for.
    pub(crate) spec: Mount,
    pub(crate) skip_mountpoint_creation: bool,
}

impl MountRecord {
    /// It is an anonymous or named volume.
    pub(crate) fn is_volume(&self) -> bool {
        self.kind == "volume"
    }
}

/// Both records at one moment; readers share it and never wait.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// `config.v2.json`.
    pub(crate) record: Record,
    /// `hostconfig.json`.
    pub(crate) host_config: HostConfig,
}

impl Snapshot {
    /// The name without its slash.
    pub(crate) fn name(&self) -> &str {
        self.record.name.trim_start_matches('/')
    }

    /// Removed by the daemon when it ends.
    pub(crate) fn is_auto_remove(&self) -> bool {
        self.host_config.auto_remove
    }

    /// Attributes of the container's events.
    pub(crate) fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.record.config.labels.clone().unwrap_or_default();
        attributes.insert("image".to_owned(), self.record.config.image.clone());
        attributes.insert("name".to_owned(), self.name().to_owned());
        attributes
    }

    /// Names of the volumes it uses.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = &str> {
        self.record
            .mount_points
            .values()
            .filter(|mount| mount.is_volume())
            .map(|mount| mount.name.as_str())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A container that was never started, from nothing but its id and name.
    pub(crate) fn snapshot(id: &str, name: &str) -> Snapshot {
        let text = format!(
            r#"{{"State":{{}},"ID":"{id}","Created":"2026-11-23T13:18:00.860612464Z","Path":"sh",
            "Args":[],"Config":{{"Image":"busybox","Labels":{{"l":"v"}}}},"Image":"sha256:0",
            "NetworkSettings":{{}},"LogPath":"","Name":"/{name}","Driver":"overlayfs","OS":"linux",
            "RestartCount":0,"HasBeenStartedBefore":false,"HasBeenManuallyStopped":false,
            "MountPoints":{{"/data":{{"Source":"/v/_data","Destination":"/data","RW":true,
            "Name":"vv","Driver":"local","Type":"volume","Relabel":"z","ID":"1",
            "Spec":{{"Type":"volume","Source":"vv","Target":"/data"}},
            "SkipMountpointCreation":false}}}},"HostnamePath":"","HostsPath":"",
            "ResolvConfPath":""}}"#
        );
        let record = serde_json::from_str(&text).expect("a record");
        Snapshot { record, host_config: HostConfig::default() }
    }

    #[test]
    fn a_record_has_dockers_keys_and_reads_back() {
        let snapshot = snapshot(&"ab".repeat(32), "web");
        let text = serde_json::to_string(&snapshot.record).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("reads back"), snapshot.record);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for key in [
            "StreamConfig",
            "State",
            "ID",
            "Created",
            "Managed",
            "Path",
            "Args",
            "Config",
            "Image",
            "ImageManifest",
            "NetworkSettings",
            "LogPath",
            "Name",
            "Driver",
            "OS",
            "ImagePlatform",
            "RestartCount",
            "HasBeenStartedBefore",
            "HasBeenManuallyStopped",
            "MountPoints",
            "SecretReferences",
            "ConfigReferences",
            "MountLabel",
            "ProcessLabel",
            "AppArmorProfile",
            "SeccompProfile",
            "NoNewPrivileges",
            "WritableCgroups",
            "HostnamePath",
            "HostsPath",
            "ShmPath",
            "ResolvConfPath",
            "LocalLogCacheMeta",
        ] {
            assert!(value.get(key).is_some(), "{key} is missing");
        }
        assert_eq!(value["State"]["StartedAt"], "0001-01-01T00:00:00Z");
        assert_eq!(value["State"]["OOMKilled"], false);
        assert_eq!(snapshot.volumes().collect::<Vec<_>>(), ["vv"]);
        assert_eq!(snapshot.event_attributes()["name"], "web");
    }

    #[test]
    fn half_a_record_is_refused() {
        assert!(serde_json::from_str::<Record>(r#"{"ID":"abc","State":{}}"#).is_err());
    }
}
