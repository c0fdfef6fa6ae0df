//! Round trips of container documents: key sets, order, `null` and leniency.

use super::*;

#[test]
fn host_config_writes_every_key_docker_writes_in_its_order() {
    let text = serde_json::to_string(&HostConfig::default()).expect("serialises");
    let keys = [
        "Binds",
        "ContainerIDFile",
        "LogConfig",
        "NetworkMode",
        "PortBindings",
        "RestartPolicy",
        "AutoRemove",
        "VolumeDriver",
        "VolumesFrom",
        "ConsoleSize",
        "CapAdd",
        "CapDrop",
        "CgroupnsMode",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "ExtraHosts",
        "GroupAdd",
        "IpcMode",
        "Cgroup",
        "Links",
        "OomScoreAdj",
        "PidMode",
        "Privileged",
        "PublishAllPorts",
        "ReadonlyRootfs",
        "SecurityOpt",
        "UTSMode",
        "UsernsMode",
        "ShmSize",
        "Runtime",
        "Isolation",
        "CpuShares",
        "Memory",
        "NanoCpus",
        "CgroupParent",
        "BlkioWeight",
        "BlkioWeightDevice",
        "BlkioDeviceReadBps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteIOps",
        "CpuPeriod",
        "CpuQuota",
        "CpuRealtimePeriod",
        "CpuRealtimeRuntime",
        "CpusetCpus",
        "CpusetMems",
        "Devices",
        "DeviceCgroupRules",
        "DeviceRequests",
        "MemoryReservation",
        "MemorySwap",
        "MemorySwappiness",
        "OomKillDisable",
        "PidsLimit",
        "Ulimits",
        "CpuCount",
        "CpuPercent",
        "IOMaximumIOps",
        "IOMaximumBandwidth",
        "MaskedPaths",
        "ReadonlyPaths",
    ];
    let mut rest = text.as_str();
    for key in keys {
        let quoted = format!("\"{key}\":");
        let at = rest.find(&quoted).unwrap_or_else(|| panic!("{key} is missing or out of order"));
        rest = &rest[at + quoted.len()..];
    }
    assert!(text.contains(r#""VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null"#));
    assert!(!text.contains("Tmpfs") && !text.contains("Mounts"));
}

#[test]
fn a_create_request_is_read_leniently() {
    let text = r#"{"Image":"busybox","Cmd":"true","Entrypoint":null,"Hostname":null,"Tty":null,
        "Nonsense":{"a":[1]},"ExposedPorts":{"80/tcp":null},"Volumes":{"/v":{}},
        "HostConfig":{"PortBindings":{"80/tcp":null,"81/tcp":[{"HostPort":"8081"}]},
            "RestartPolicy":{"Name":"sometimes"},"Memory":null,"NetworkMode":null,
            "Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"ConsoleSize":null,"LogConfig":null},
        "NetworkingConfig":{"EndpointsConfig":null}}"#;
    let request: CreateRequest = serde_json::from_str(text).expect("lenient");
    assert_eq!(request.config.cmd, Some(vec!["true".to_owned()]));
    assert_eq!(request.config.entrypoint, None);
    assert!(request.config.exposed_ports.contains_key("80/tcp"));
    assert_eq!(request.host_config.restart_policy.name, "sometimes");
    let ports = request.host_config.port_bindings.expect("given");
    assert_eq!(ports["80/tcp"], None);
    assert_eq!(ports["81/tcp"].as_ref().expect("given")[0].host_port, "8081");
    assert_eq!(request.host_config.resources.ulimits.expect("given")[0].hard, 2);
    assert_eq!(request.networking_config, NetworkingConfig::default());
}

#[test]
fn an_empty_body_is_the_default() {
    let request: CreateRequest = serde_json::from_str("{}").expect("lenient");
    assert_eq!(request, CreateRequest::default());
}

#[test]
fn config_keeps_null_apart_from_empty() {
    let text = r#"{"Hostname":"h","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":[],"Cmd":null,"Image":"i","Volumes":null,"WorkingDir":"","Entrypoint":[],"Labels":{}}"#;
    let config: Config = serde_json::from_str(text).expect("valid");
    assert_eq!(serde_json::to_string(&config).expect("serialises"), text);
}

#[test]
fn an_endpoint_has_the_keys_of_inspect() {
    let text = r#"{"IPAMConfig":null,"Links":null,"Aliases":null,"DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"172.17.0.1","IPAddress":"172.17.0.2","MacAddress":"","IPPrefixLen":16,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}"#;
    let endpoint: EndpointSettings = serde_json::from_str(text).expect("valid");
    assert_eq!(serde_json::to_string(&endpoint).expect("serialises"), text);
}

#[test]
fn a_first_sample_has_an_empty_sample_before() {
    let text = serde_json::to_value(Stats::default()).expect("serialises");
    let before = r#"{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}}"#;
    assert_eq!(text["precpu_stats"].to_string(), before);
    assert_eq!(text["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(text["storage_stats"].to_string(), "{}");
}

#[test]
fn a_list_line_keeps_dockers_port_keys() {
    let port = Port { ip: "::".into(), private_port: 80, public_port: 8080, kind: "tcp".into() };
    let text = serde_json::to_string(&port).expect("serialises");
    assert_eq!(text, r#"{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}"#);
    let bare = Port { private_port: 80, kind: "tcp".into(), ..Port::default() };
    let text = serde_json::to_string(&bare).expect("serialises");
    assert_eq!(text, r#"{"PrivatePort":80,"Type":"tcp"}"#);
}
