//! `--publish` and `--expose`: ports and ranges, host side and container side.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use davit_api::container::{PortBinding, PortMap};

use crate::flags::text::comma_separated;

/// One `--publish`, spread over its range: the container's port with its protocol, and where it goes.
pub(super) fn publish(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let text = short_form(text)?;
    let (text, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports.to_owned(), protocol.to_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    let (host_ip, host, container) = split(&text);
    let host_ip = address(host_ip)?;
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let container_ports =
        range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let host_ports = match host {
        "" => None,
        _ => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let count = container_ports.clone().count();
    if let Some(ports) = &host_ports
        && ports.clone().count() != count
        && count != 1
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    Ok(container_ports
        .enumerate()
        .map(|(at, port)| {
            let host_port = match &host_ports {
                None => String::new(),
                // One container port may get any one of several host ports.
                Some(ports) if count == 1 && ports.start() != ports.end() => {
                    format!("{}-{}", ports.start(), ports.end())
                }
                Some(ports) => (usize::from(*ports.start()) + at).to_string(),
            };
            (format!("{port}/{protocol}"), PortBinding { host_ip: host_ip.clone(), host_port })
        })
        .collect())
}

/// `published=8080,target=80,protocol=tcp` as `8080:80/tcp`; the short form as it is.
fn short_form(text: &str) -> Result<String, String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let (mut published, mut target, mut protocol) =
        (String::new(), String::new(), "tcp".to_owned());
    for field in comma_separated(text)? {
        let Some((key, value)) = field.split_once('=').filter(|(_, value)| !value.is_empty())
        else {
            return Err(format!(
                "invalid publish opts format (should be name=value but got '{field}')"
            ));
        };
        match key {
            "published" => published = value.to_owned(),
            "target" => target = value.to_owned(),
            "protocol" => protocol = value.to_owned(),
            "mode" => {}
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// `[ip:][host:]container`, where the address may have colons itself.
fn split(text: &str) -> (&str, &str, &str) {
    match text.rsplit_once(':') {
        None => ("", "", text),
        Some((before, container)) => match before.rsplit_once(':') {
            None => ("", before, container),
            Some((ip, host)) => (ip, host, container),
        },
    }
}

fn address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok(bare.to_owned())
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |text: &str| crate::flags::values::small_unsigned(text);
    let (start, end) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((start, end)) => (number(start)?, number(end)?),
    };
    if end < start {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok(start..=end)
}

/// One `--expose`, spread over its range.
pub(super) fn expose(text: &str) -> Result<Vec<String>, String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let ports = range(ports)
        .map_err(|reason| format!("invalid range format for --expose: {text}, error: {reason}"))?;
    let protocol = protocol.to_lowercase();
    Ok(ports.map(|port| format!("{port}/{protocol}")).collect())
}

/// Puts a binding into a map.
pub(super) fn bind(map: &mut PortMap, port: String, binding: PortBinding) {
    map.entry(port).or_default().get_or_insert_with(Vec::new).push(binding);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_spreads_ranges() {
        type Published<'a> = &'a [(&'a str, &'a str, &'a str)];
        let table: [(&str, Published<'_>); 12] = [
            ("8080:80", &[("80/tcp", "", "8080")]),
            ("80", &[("80/tcp", "", "")]),
            (":80", &[("80/tcp", "", "")]),
            ("0:80", &[("80/tcp", "", "0")]),
            ("127.0.0.1:8080:80/udp", &[("80/udp", "127.0.0.1", "8080")]),
            ("127.0.0.1::80", &[("80/tcp", "127.0.0.1", "")]),
            ("[::1]:8080:80", &[("80/tcp", "::1", "8080")]),
            ("::1:80:80", &[("80/tcp", "::1", "80")]),
            ("8000-8001:80-81/TCP", &[("80/tcp", "", "8000"), ("81/tcp", "", "8001")]),
            ("8000-8010:80", &[("80/tcp", "", "8000-8010")]),
            ("80-81", &[("80/tcp", "", ""), ("81/tcp", "", "")]),
            ("published=80,target=90", &[("90/tcp", "", "80")]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected
                .iter()
                .map(|(port, host_ip, host_port)| {
                    let binding = PortBinding {
                        host_ip: (*host_ip).to_owned(),
                        host_port: (*host_port).to_owned(),
                    };
                    ((*port).to_owned(), binding)
                })
                .collect();
            assert_eq!(publish(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_ports_are_refused_in_dockers_words() {
        let table = [
            ("99999:80", "invalid hostPort: 99999"),
            ("1.2.3.4:80", "invalid hostPort: 1.2.3.4"),
            ("a:80:80", "invalid IP address: a"),
            ("80:8a", "invalid containerPort: 8a"),
            (
                "80-90:80-85",
                "invalid ranges specified for container and host Ports: 80-85 and 80-90",
            ),
            ("80/xxx", "invalid proto: xxx"),
            ("", "no port specified: <empty>"),
            ("80:", "no port specified: 80:<empty>"),
        ];
        for (text, reason) in table {
            assert_eq!(publish(text), Err(reason.to_owned()), "{text}");
        }
        let reason = "invalid range format for --expose: 80-x, error: strconv.ParseUint: parsing \"x\": invalid syntax";
        assert_eq!(expose("80-x"), Err(reason.to_owned()));
        assert_eq!(expose("100-101/udp"), Ok(vec!["100/udp".to_owned(), "101/udp".to_owned()]));
    }
}
