//! Images for older clients.

use davit_api::ApiVersion;
use davit_api::image::{ImageInspect, ImageSummary};
use serde_json::{Map, Value, json};

use super::{Versioned, object, v};

/// The list of images.
pub(crate) fn images(
    images: &[ImageSummary],
    version: ApiVersion,
) -> Vec<Versioned<'_, ImageSummary>> {
    let versioned = |image| match version >= v(51) {
        true => Versioned::Newest(image),
        false => Versioned::Older(summary(image, version)),
    };
    images.iter().map(versioned).collect()
}

/// One line of the list.
pub(super) fn summary(image: &ImageSummary, version: ApiVersion) -> Value {
    let mut document = object(image);
    if version < v(51) {
        document.insert("Containers".into(), json!(-1));
    }
    if version < v(48) {
        document.remove("Descriptor");
    }
    if version < v(44) {
        document.insert("VirtualSize".into(), json!(image.size));
    }
    if version < v(43) && image.repo_tags.is_empty() {
        document.insert("RepoTags".into(), json!(["<none>:<none>"]));
        if image.repo_digests.is_empty() {
            document.insert("RepoDigests".into(), json!(["<none>@<none>"]));
        }
    }
    Value::Object(document)
}

/// Inspect of an image.
pub(crate) fn image(image: &ImageInspect, version: ApiVersion) -> Versioned<'_, ImageInspect> {
    if version >= v(52) {
        return Versioned::Newest(image);
    }
    let mut document = object(image);
    let empty = json!({"Author": "", "Comment": "", "DockerVersion": "", "Parent": ""});
    add_missing(&mut document, empty);
    document.insert("GraphDriver".into(), json!({"Data": null, "Name": "overlayfs"}));
    if let Some(Value::Object(config)) = document.get_mut("Config") {
        add_missing(config, old_config(version));
    }
    if version < v(48) {
        document.remove("Descriptor");
    }
    if version < v(45) {
        add_missing(&mut document, json!({"Container": "", "ContainerConfig": null}));
    }
    if version < v(44) {
        document.insert("VirtualSize".into(), json!(image.size));
    }
    Versioned::Older(Value::Object(document))
}

/// The zero values an image's configuration was written with.
fn old_config(version: ApiVersion) -> Value {
    let mut config = json!({
        "Cmd": null, "Entrypoint": null, "Env": null, "Labels": null, "OnBuild": null, "User": "",
        "Volumes": null, "WorkingDir": "",
    });
    // The parts of a container's configuration that make no sense for an image.
    let container_only = json!({
        "AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "",
        "Hostname": "", "Image": "", "OpenStdin": false, "StdinOnce": false, "Tty": false,
    });
    if version < v(50)
        && let Value::Object(config) = &mut config
    {
        add_missing(config, container_only);
    }
    config
}

fn add_missing(document: &mut Map<String, Value>, defaults: Value) {
    let Value::Object(defaults) = defaults else { return };
    for (key, value) in defaults {
        document.entry(key).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use davit_api::image::ImageConfig;

    use super::*;

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().expect("an object").keys().map(String::as_str).collect()
    }

    #[test]
    fn an_image_gets_its_old_zero_values_back() {
        let config = ImageConfig { cmd: vec!["sh".into()], ..Default::default() };
        let given = ImageInspect { config: Some(config), size: 7, ..Default::default() };
        let at = |minor| serde_json::to_value(image(&given, v(minor))).expect("a document");
        let newest = at(52);
        assert_eq!(keys(&newest["Config"]), ["Cmd"]);
        let old = at(51);
        let zeros =
            ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"];
        assert_eq!(keys(&old["Config"]), zeros);
        assert_eq!((&old["Config"]["Cmd"], &old["Parent"]), (&json!(["sh"]), &json!("")));
        assert!(old.get("Container").is_none());
        let older = at(44);
        assert_eq!(older["Config"]["AttachStdin"], json!(false));
        assert_eq!((&older["Container"], &older["ContainerConfig"]), (&json!(""), &Value::Null));
        assert_eq!(at(43)["VirtualSize"], json!(7));
    }

    #[test]
    fn the_list_counts_containers_from_1_51() {
        let given = ImageSummary { containers: 3, size: 9, ..Default::default() };
        assert_eq!(summary(&given, v(51))["Containers"], json!(3));
        let old = summary(&given, v(42));
        assert_eq!((&old["Containers"], &old["VirtualSize"]), (&json!(-1), &json!(9)));
        assert_eq!(old["RepoTags"], json!(["<none>:<none>"]));
        assert_eq!(summary(&given, v(43))["RepoTags"], json!([]));
    }
}
