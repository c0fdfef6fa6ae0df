//! Info and disk usage for older clients, and the two shapes of disk usage since 1.52.

use davit_api::ApiVersion;
use davit_api::container::Summary;
use davit_api::system::{DiskUsage, Info};
use davit_api::volume::Volume;
use serde_json::{Map, Value, json};

use super::images::summary;
use super::{Versioned, object, v};

/// Info.
pub(crate) fn info(info: &Info, version: ApiVersion) -> Versioned<'_, Info> {
    if version >= v(50) {
        return Versioned::Newest(info);
    }
    let mut document = object(info);
    document.insert("BridgeNfIptables".into(), json!(false));
    document.insert("BridgeNfIp6tables".into(), json!(false));
    if version < v(49) {
        document.remove("FirewallBackend");
        for (key, id) in [
            ("ContainerdCommit", &info.containerd_commit.id),
            ("RuncCommit", &info.runc_commit.id),
            ("InitCommit", &info.init_commit.id),
        ] {
            document.insert(key.into(), json!({"ID": id, "Expected": id}));
        }
    }
    if version < v(47)
        && let Some(Value::Object(registries)) = document.get_mut("RegistryConfig")
    {
        registries.insert("AllowNondistributableArtifactsCIDRs".into(), Value::Null);
        registries.insert("AllowNondistributableArtifactsHostnames".into(), Value::Null);
    }
    Versioned::Older(Value::Object(document))
}

/// Disk usage of the `wanted` kinds of objects, all if there are none. Clients before 1.52 know
/// only the lists; newer ones get both shapes, or with `verbose` only the new one.
pub(crate) fn disk_usage(
    usage: &DiskUsage,
    wanted: &[&str],
    verbose: bool,
    version: ApiVersion,
) -> Value {
    let wants = |kind: &str| wanted.is_empty() || wanted.contains(&kind);
    let mut document = Map::new();
    if version < v(52) || !verbose {
        document.insert("LayersSize".into(), json!(usage.layers_size));
        let list = |kind, value: Value| if wants(kind) { value } else { Value::Null };
        let images =
            usage.images.iter().map(|image| counted(summary(image, version), image.containers));
        document.insert("Images".into(), list("image", images.collect()));
        document.insert("Containers".into(), list("container", json!(usage.containers)));
        document.insert("Volumes".into(), list("volume", json!(usage.volumes)));
        document.insert("BuildCache".into(), list("build-cache", json!([])));
    }
    if version >= v(52) {
        let parts = [
            ("image", "ImageUsage", image_usage(usage)),
            ("container", "ContainerUsage", container_usage(&usage.containers)),
            ("volume", "VolumeUsage", volume_usage(&usage.volumes)),
            ("build-cache", "BuildCacheUsage", json!({})),
        ];
        for (_, key, value) in parts.into_iter().filter(|(kind, ..)| wants(kind)) {
            document.insert(key.into(), value);
        }
    }
    Value::Object(document)
}

/// Disk usage counts containers for every version.
fn counted(mut image: Value, containers: i64) -> Value {
    image["Containers"] = json!(containers);
    image
}

fn image_usage(usage: &DiskUsage) -> Value {
    let unused = usage.images.iter().filter(|image| image.containers == 0);
    let reclaimable = unused.map(|image| image.size - image.shared_size.max(0)).sum();
    let active = usage.images.iter().filter(|image| image.containers > 0).count();
    totals(json!(usage.images), usage.images.len(), active, usage.layers_size, reclaimable)
}

fn container_usage(containers: &[Summary]) -> Value {
    let size = |container: &Summary| container.size_rw.unwrap_or(0);
    let is_active = |container: &&Summary| {
        matches!(container.state.as_str(), "running" | "paused" | "restarting")
    };
    let total: i64 = containers.iter().map(size).sum();
    let used: i64 = containers.iter().filter(is_active).map(size).sum();
    let active = containers.iter().filter(is_active).count();
    totals(json!(containers), containers.len(), active, total, total - used)
}

fn volume_usage(volumes: &[Volume]) -> Value {
    let size = |volume: &Volume| volume.usage_data.as_ref().map_or(0, |usage| usage.size.max(0));
    let is_active =
        |volume: &&Volume| volume.usage_data.as_ref().is_some_and(|usage| usage.ref_count > 0);
    let total: i64 = volumes.iter().map(size).sum();
    let used: i64 = volumes.iter().filter(is_active).map(size).sum();
    let active = volumes.iter().filter(is_active).count();
    totals(json!(volumes), volumes.len(), active, total, total - used)
}

/// The new shape; zeros and empty lists are left out.
fn totals(items: Value, count: usize, active: usize, total: i64, reclaimable: i64) -> Value {
    let all = json!({
        "ActiveCount": active, "Items": items, "Reclaimable": reclaimable, "TotalCount": count,
        "TotalSize": total,
    });
    let Value::Object(mut all) = all else { return all };
    all.retain(|_, value| *value != json!(0) && *value != json!([]));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use davit_api::image::ImageSummary;
    use davit_api::system::RegistryConfig;

    use super::*;

    #[test]
    fn info_grows_old_keys() {
        let given = Info { registry_config: Some(RegistryConfig::default()), ..Default::default() };
        let at = |minor| serde_json::to_value(info(&given, v(minor))).expect("a document");
        let newest = at(56);
        assert!(newest.get("BridgeNfIptables").is_none());
        let old = at(46);
        assert_eq!(old["ContainerdCommit"], json!({"ID": "", "Expected": ""}));
        assert_eq!(old["BridgeNfIptables"], json!(false));
        assert!(old["RegistryConfig"].get("AllowNondistributableArtifactsCIDRs").is_some());
    }

    #[test]
    fn disk_usage_has_two_shapes() {
        let image = |containers, size| ImageSummary { containers, size, ..Default::default() };
        let usage = DiskUsage {
            layers_size: 30,
            images: vec![image(2, 10), image(0, 20)],
            ..Default::default()
        };
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        let old = ["BuildCache", "Containers", "Images", "LayersSize", "Volumes"];
        let older = disk_usage(&usage, &[], true, v(42));
        assert_eq!(keys(&older), old);
        assert_eq!(older["Images"][0]["Containers"], json!(2));
        let new = ["BuildCacheUsage", "ContainerUsage", "ImageUsage", "VolumeUsage"];
        let verbose = disk_usage(&usage, &[], true, v(52));
        assert_eq!(keys(&verbose), new);
        assert_eq!(verbose["BuildCacheUsage"], json!({}));
        let images = &verbose["ImageUsage"];
        assert_eq!((&images["Reclaimable"], &images["ActiveCount"]), (&json!(20), &json!(1)));
        assert_eq!((&images["TotalSize"], &images["TotalCount"]), (&json!(30), &json!(2)));
        assert_eq!(keys(&disk_usage(&usage, &[], false, v(52))).len(), 9);
        let some = disk_usage(&usage, &["volume"], true, v(52));
        assert_eq!(keys(&some), ["VolumeUsage"]);
    }
}
