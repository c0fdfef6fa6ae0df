//! What older clients expect, made from the newest form. Pure: documents in, documents out.
//!
//! Each step names the version that dropped or brought a key; a client of an older version gets all
//! steps above its own.

mod images;
mod system;

use davit_api::ApiVersion;
use davit_api::container::{InspectResponse, Summary};
use davit_api::event::EventMessage;
use davit_api::network::Network;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(crate) use images::{image, images};
pub(crate) use system::{disk_usage, info};

const fn v(minor: u16) -> ApiVersion {
    ApiVersion(1, minor)
}

/// A document as the client's version has it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Versioned<'a, T> {
    /// As it is, keys in Docker's order.
    Newest(&'a T),
    /// With other keys, in alphabetical order, as Docker writes those.
    Older(Value),
}

/// `value` as a JSON object.
fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        other => unreachable!("API documents are objects, not {other:?}"),
    }
}

/// Inspect of a container.
pub(crate) fn inspect(
    container: &InspectResponse,
    version: ApiVersion,
) -> Versioned<'_, InspectResponse> {
    if version >= v(52) {
        return Versioned::Newest(container);
    }
    let mut document = object(container);
    document.remove("Storage");
    document.insert("GraphDriver".into(), json!({"Data": null, "Name": container.driver}));
    if version < v(48) {
        document.remove("ImageManifestDescriptor");
    }
    let bridge = container.network_settings.networks.get("bridge").cloned().unwrap_or_default();
    let legacy = json!({
        "EndpointID": bridge.endpoint_id,
        "Gateway": bridge.gateway,
        "GlobalIPv6Address": bridge.global_ipv6_address,
        "GlobalIPv6PrefixLen": bridge.global_ipv6_prefix_len,
        "IPAddress": bridge.ip_address,
        "IPPrefixLen": bridge.ip_prefix_len,
        "IPv6Gateway": bridge.ipv6_gateway,
        "MacAddress": bridge.mac_address,
    });
    if let (Some(Value::Object(settings)), Value::Object(legacy)) =
        (document.get_mut("NetworkSettings"), legacy)
    {
        settings.extend(legacy);
    }
    Versioned::Older(Value::Object(document))
}

/// The list of containers.
pub(crate) fn summaries(containers: &mut [Summary], version: ApiVersion) {
    for container in containers {
        if version < v(52) {
            container.health = None;
        }
        if version < v(48) {
            container.image_manifest_descriptor = None;
        }
    }
}

/// Inspect of a network.
pub(crate) fn network(network: &mut Network, version: ApiVersion) {
    if version < v(52) {
        network.status = None;
    }
}

/// An event.
pub(crate) fn event(event: &EventMessage, version: ApiVersion) -> Versioned<'_, EventMessage> {
    let has_legacy_keys = matches!(event.kind.as_str(), "container" | "image");
    if version >= v(52) || !has_legacy_keys {
        return Versioned::Newest(event);
    }
    let mut document = object(event);
    document.insert("id".into(), json!(event.actor.id));
    document.insert("status".into(), json!(event.action));
    if let Some(image) = event.actor.attributes.get("image").filter(|_| event.kind == "container") {
        document.insert("from".into(), json!(image));
    }
    Versioned::Older(Value::Object(document))
}

#[cfg(test)]
mod tests {
    use davit_api::container::{EndpointSettings, HealthSummary};
    use davit_api::image::Descriptor;

    use super::*;

    fn value(document: Versioned<'_, impl Serialize>) -> Value {
        serde_json::to_value(document).expect("API documents have string keys only")
    }

    fn container() -> InspectResponse {
        let mut container = InspectResponse { driver: "overlayfs".into(), ..Default::default() };
        container.storage = Some(Default::default());
        container.image_manifest_descriptor = Some(Descriptor::default());
        let endpoint = EndpointSettings {
            ip_address: "172.17.0.2".into(),
            ip_prefix_len: 16,
            ..Default::default()
        };
        container.network_settings.networks.insert("bridge".into(), endpoint);
        container
    }

    #[test]
    fn inspect_gets_the_default_bridges_address_on_top_before_1_52() {
        let new = value(inspect(&container(), v(52)));
        assert!(new.get("Storage").is_some() && new.get("GraphDriver").is_none());
        assert!(new["NetworkSettings"].get("IPAddress").is_none());
        let old = value(inspect(&container(), v(51)));
        assert_eq!(old["GraphDriver"], json!({"Data": null, "Name": "overlayfs"}));
        assert!(old.get("Storage").is_none() && old.get("ImageManifestDescriptor").is_some());
        let settings = &old["NetworkSettings"];
        assert_eq!(
            (&settings["IPAddress"], &settings["IPPrefixLen"]),
            (&json!("172.17.0.2"), &json!(16))
        );
        assert_eq!(
            (&settings["Gateway"], &settings["GlobalIPv6PrefixLen"]),
            (&json!(""), &json!(0))
        );
        assert!(value(inspect(&container(), v(47))).get("ImageManifestDescriptor").is_none());
    }

    #[test]
    fn the_list_has_health_from_1_52_and_the_manifest_from_1_48() {
        let summary = Summary {
            health: Some(HealthSummary::default()),
            image_manifest_descriptor: Some(Descriptor::default()),
            ..Default::default()
        };
        let keys = |version| {
            let mut list = [summary.clone()];
            summaries(&mut list, version);
            (list[0].health.is_some(), list[0].image_manifest_descriptor.is_some())
        };
        assert_eq!(
            [keys(v(52)), keys(v(51)), keys(v(47))],
            [(true, true), (false, true), (false, false)]
        );
    }

    #[test]
    fn old_events_repeat_id_and_status() {
        let mut message =
            EventMessage { kind: "container".into(), action: "die".into(), ..Default::default() };
        message.actor.id = "abc".into();
        message.actor.attributes.insert("image".into(), "busybox".into());
        let old = value(event(&message, v(51)));
        assert_eq!(
            (&old["id"], &old["status"], &old["from"]),
            (&json!("abc"), &json!("die"), &json!("busybox"))
        );
        assert!(value(event(&message, v(52))).get("id").is_none());
        message.kind = "network".into();
        assert!(value(event(&message, v(40))).get("status").is_none());
    }
}
