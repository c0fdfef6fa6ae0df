//! Values that Docker's CLI takes and refuses, with its texts.

use super::*;

#[test]
fn sizes() {
    let good = [
        ("512", 512),
        ("10m", 10 << 20),
        ("10M", 10 << 20),
        ("1.5g", 3 << 29),
        ("4.5gib", 4_831_838_208),
        ("1kb", 1024),
        ("7b", 7),
        ("1 k", 1024),
    ];
    for (text, expected) in good {
        assert_eq!(bytes(text), Ok(expected), "{text}");
    }
    for (text, reason) in [
        ("xx", "invalid size: 'xx'"),
        ("-1", "invalid size: '-1'"),
        ("10x", "invalid suffix: 'x'"),
        ("", "invalid size: ''"),
    ] {
        assert_eq!(bytes(text), Err(reason.to_owned()), "{text}");
    }
    assert_eq!(swap_bytes("-1"), Ok(-1));
}

#[test]
fn numbers() {
    assert_eq!(integer("-5"), Ok(-5));
    assert_eq!(integer("x"), Err("strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()));
    assert_eq!(
        small_unsigned("99999"),
        Err("strconv.ParseUint: parsing \"99999\": value out of range".to_owned())
    );
    assert_eq!(
        boolean("foo"),
        Err("strconv.ParseBool: parsing \"foo\": invalid syntax".to_owned())
    );
    assert_eq!(
        (cpus("1.5"), cpus(".5"), cpus("2")),
        (Ok(1_500_000_000), Ok(500_000_000), Ok(2_000_000_000))
    );
    assert_eq!(cpus("abc"), Err("failed to parse abc as a rational number".to_owned()));
    assert_eq!(cpus("0.0000000001"), Err("value is too precise".to_owned()));
}

#[test]
fn durations() {
    assert_eq!(duration("1m30s"), Ok(90_000_000_000));
    assert_eq!(duration("-1s"), Ok(-1_000_000_000));
    assert_eq!(duration("1"), Err("time: missing unit in duration \"1\"".to_owned()));
    assert_eq!(duration("1x"), Err("time: unknown unit \"x\" in duration \"1x\"".to_owned()));
    assert_eq!(duration("x"), Err("time: invalid duration \"x\"".to_owned()));
}

#[test]
fn ulimits() {
    let limit = |name: &str, soft, hard| Ok(Ulimit { name: name.to_owned(), hard, soft });
    assert_eq!(ulimit("nofile=1024:2048"), limit("nofile", 1024, 2048));
    assert_eq!(ulimit("nproc=10"), limit("nproc", 10, 10));
    assert_eq!(ulimit("core=-1"), limit("core", -1, -1));
    let bad = [
        ("x", "invalid ulimit argument: x"),
        ("foo=4", "invalid ulimit type: foo"),
        ("nofile=5:4", "ulimit soft limit must be less than or equal to hard limit: 5 > 4"),
    ];
    for (text, reason) in bad {
        assert_eq!(ulimit(text), Err(reason.to_owned()), "{text}");
    }
}

#[test]
fn names_and_addresses() {
    for (text, expected) in [
        ("a:1.2.3.4", "a:1.2.3.4"),
        ("b=host-gateway", "b:host-gateway"),
        ("c:[::1]", "c:::1"),
        ("d=::1", "d:::1"),
    ] {
        assert_eq!(extra_host(text).as_deref(), Ok(expected), "{text}");
    }
    assert_eq!(extra_host("foo"), Err("bad format for add-host: \"foo\"".to_owned()));
    assert_eq!(extra_host("a:foo"), Err("invalid IP address in add-host: \"foo\"".to_owned()));
    assert_eq!(ip("foo"), Err("IP address is not correctly formatted: foo".to_owned()));
    assert_eq!(dns_search("a b"), Err("a b is not a valid domain".to_owned()));
    assert_eq!(dns_search("x.example").as_deref(), Ok("x.example"));
    assert_eq!(environment("=x"), Err("invalid environment variable: =x".to_owned()));
    assert_eq!(label(""), Err("invalid label '': empty name".to_owned()));
    assert_eq!(link("a::b"), Err("bad format for links: a::b".to_owned()));
    assert_eq!(sysctl("a=b"), Err("sysctl 'a=b' is not allowed".to_owned()));
    assert_eq!(standard_stream("STDIN").as_deref(), Ok("stdin"));
    assert_eq!(device_cgroup_rule("c 1:3 rwm").as_deref(), Ok("c 1:3 rwm"));
    assert_eq!(device_cgroup_rule("foo"), Err("invalid device cgroup format 'foo'".to_owned()));
}

#[test]
fn block_devices() {
    assert_eq!(
        weight_device("/dev/sda:200"),
        Ok(WeightDevice { path: "/dev/sda".to_owned(), weight: 200 })
    );
    assert_eq!(weight_device("foo"), Err("bad format: foo".to_owned()));
    assert_eq!(
        weight_device("/dev/sda:5"),
        Err("invalid weight for device: /dev/sda:5".to_owned())
    );
    assert_eq!(
        throttle_bps("/dev/sda:1mb"),
        Ok(ThrottleDevice { path: "/dev/sda".to_owned(), rate: 1 << 20 })
    );
    assert_eq!(throttle_bps("foo:1"), Err("bad format for device path: foo:1".to_owned()));
    assert_eq!(
        throttle_iops("/dev/sda:5"),
        Ok(ThrottleDevice { path: "/dev/sda".to_owned(), rate: 5 })
    );
    assert!(
        throttle_iops("/dev/sda:x")
            .is_err_and(|reason| reason.ends_with("Number must be a positive integer"))
    );
}
