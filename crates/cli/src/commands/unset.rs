//! The fields of containers and images that have no value in an answer, and print in templates as Go's
//! nil of their type: Docker's client evaluates templates on structs, which have all their fields.

use crate::output::template::Value;

/// What the fields named after it print as when they are nil.
type Fields = &'static [(&'static str, &'static [&'static str])];

const CONTAINER: Fields = &[
    ("[]", &["Args", "ExecIDs", "Mounts"]),
    ("<nil>", &["SizeRw", "SizeRootFs", "ImageManifestDescriptor", "Storage"]),
];

const IMAGE: Fields = &[("[]", &["RepoTags", "RepoDigests"])];

const STATE: Fields = &[("<nil>", &["Health"])];

const CONFIG: Fields = &[
    ("[]", &["Env", "Cmd", "Entrypoint", "OnBuild", "Shell"]),
    ("map[]", &["ExposedPorts", "Volumes", "Labels"]),
    ("<nil>", &["Healthcheck"]),
];

const CONTAINER_CONFIG: Fields = &[("<nil>", &["StopTimeout"])];

const NETWORK_SETTINGS: Fields = &[("map[]", &["Ports", "Networks"])];

const HOST_CONFIG: Fields = &[
    (
        "[]",
        &[
            "Binds",
            "BlkioDeviceReadBps",
            "BlkioDeviceReadIOps",
            "BlkioDeviceWriteBps",
            "BlkioDeviceWriteIOps",
            "BlkioWeightDevice",
            "CapAdd",
            "CapDrop",
            "DeviceCgroupRules",
            "DeviceRequests",
            "Devices",
            "Dns",
            "DnsOptions",
            "DnsSearch",
            "ExtraHosts",
            "GroupAdd",
            "Links",
            "MaskedPaths",
            "Mounts",
            "ReadonlyPaths",
            "SecurityOpt",
            "Ulimits",
            "VolumesFrom",
        ],
    ),
    ("map[]", &["Annotations", "PortBindings", "StorageOpt", "Sysctls", "Tmpfs"]),
    ("<nil>", &["Init", "MemorySwappiness", "OomKillDisable", "PidsLimit"]),
];

/// Marks what is unset in a container's or image's document; any other is left as it is.
pub(super) fn mark(document: &mut Value) {
    if document.field("HostConfig").is_some() {
        fill(document, CONTAINER);
        let parts = [
            ("State", STATE),
            ("Config", CONFIG),
            ("Config", CONTAINER_CONFIG),
            ("HostConfig", HOST_CONFIG),
            ("NetworkSettings", NETWORK_SETTINGS),
        ];
        for (name, fields) in parts {
            fill_part(document, name, fields);
        }
    } else if document.field("RootFS").is_some() {
        fill(document, IMAGE);
        fill_part(document, "Config", CONFIG);
    }
}

fn fill_part(document: &mut Value, name: &str, fields: Fields) {
    let Value::Map(entries) = document else { return };
    if let Some((_, part)) = entries.iter_mut().find(|(key, _)| key == name) {
        fill(part, fields);
    }
}

fn fill(part: &mut Value, fields: Fields) {
    let Value::Map(entries) = part else { return };
    for (prints, names) in fields {
        for name in *names {
            match entries.iter_mut().find(|(key, _)| key == name) {
                Some((_, value @ Value::Null)) => *value = Value::Unset { prints, omitted: false },
                Some(_) => {}
                None => entries.push(((*name).to_owned(), Value::Unset { prints, omitted: true })),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::template::Template;

    #[test]
    fn unset_fields_print_as_gos_and_stay_out_of_json() {
        let json = br#"{"ExecIDs":null,"State":{"Pid":1},"Config":{"Labels":{"a":"b"}},"HostConfig":{"Binds":null}}"#;
        let mut document = Value::parse(json).expect("JSON");
        mark(&mut document);
        let render = |text: &str| {
            Template::parse(text).and_then(|t| t.render(&document)).map_err(|failure| failure.text)
        };
        for (template, expected) in [
            ("{{.HostConfig.Sysctls}}{{.HostConfig.Tmpfs}}", "map[]map[]"),
            ("{{.ExecIDs}}{{.HostConfig.Binds}}", "[][]"),
            ("{{.State.Health}} {{if .State.Health}}yes{{else}}no{{end}}", "<nil> no"),
            ("{{len .ExecIDs}}{{len .HostConfig.Sysctls}}{{range .ExecIDs}}x{{end}}", "00"),
            ("{{index .HostConfig.Sysctls \"a\"}}{{.Config.Labels}}", "map[a:b]"),
            ("{{json .HostConfig}}{{json .ExecIDs}}", "{\"Binds\":null}null"),
            ("{{json .State}}{{.State}}", "{\"Pid\":1}map[Pid:1]"),
        ] {
            assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
        }
        assert!(render("{{.HostConfig.Nope}}").is_err());
        assert_eq!(document.json().as_bytes(), json);
    }
}
