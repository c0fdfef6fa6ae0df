//! Flag values: numbers, sizes, durations and names, refused in the words of Docker's CLI.

use std::net::IpAddr;

use davit_api::container::{ThrottleDevice, Ulimit, WeightDevice};

/// A truth value as Go reads it.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A signed number as Go reads it.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error| number_error("ParseInt", text, &error))
}

/// A number of at most 16 bits.
pub(crate) fn small_unsigned(text: &str) -> Result<u16, String> {
    text.parse().map_err(|error| number_error("ParseUint", text, &error))
}

fn number_error(function: &str, text: &str, error: &std::num::ParseIntError) -> String {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let reason = match error.kind() {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {text:?}: {reason}")
}

/// A size in bytes: `512`, `10m`, `1.5g`, `4GiB`; every unit counts in steps of 1024.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end =
        text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(end + 1);
    let number: f64 = number.trim_end_matches(' ').parse().map_err(|_| invalid())?;
    if number < 0.0 || text.starts_with(['-', '+']) {
        return Err(invalid());
    }
    let wrong = || format!("invalid suffix: '{suffix}'");
    let lower = suffix.to_lowercase();
    let power = match lower.as_str() {
        "" | "b" => 0,
        _ => {
            let unit =
                lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
            match unit {
                "k" => 1,
                "m" => 2,
                "g" => 3,
                "t" => 4,
                "p" => 5,
                _ => return Err(wrong()),
            }
        }
    };
    Ok((number * 1024f64.powi(power)) as i64)
}

/// A size, or -1 for no limit.
pub(crate) fn swap_bytes(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// A number of CPUs, in billionths.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let unreadable = || format!("failed to parse {text} as a rational number");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) {
        return Err(unreadable());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| unreadable())? };
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| unreadable())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|nanos| nanos.checked_add(fraction))
        .map(|nanos| sign * nanos)
        .ok_or_else(unreadable)
}

/// A Go duration, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    if let Some(duration) = davit_api::time::parse_duration(text) {
        return i64::try_from(duration.as_nanos())
            .map_err(|_| format!("time: invalid duration {text:?}"));
    }
    let digits_end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map(|at| at + 1);
    let starts_as_number =
        text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    Err(match digits_end {
        Some(end) if end == text.len() && starts_as_number => {
            format!("time: missing unit in duration {text:?}")
        }
        Some(end) if starts_as_number => {
            format!("time: unknown unit {:?} in duration {text:?}", &text[end..])
        }
        _ => format!("time: invalid duration {text:?}"),
    })
}

/// `NAME=value` or `NAME`.
pub(crate) fn environment(text: &str) -> Result<String, String> {
    match text.split('=').next() {
        None | Some("") => Err(format!("invalid environment variable: {text}")),
        Some(_) => Ok(text.to_owned()),
    }
}

/// `key=value` or `key`, with a key.
pub(crate) fn label(text: &str) -> Result<String, String> {
    match text.split('=').next() {
        None | Some("") => Err(format!("invalid label '{text}': empty name")),
        Some(_) => Ok(text.to_owned()),
    }
}

/// One of the three standard streams.
pub(crate) fn standard_stream(text: &str) -> Result<String, String> {
    let stream = text.to_lowercase();
    match stream.as_str() {
        "stdin" | "stdout" | "stderr" => Ok(stream),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// An IP address.
pub(crate) fn ip(text: &str) -> Result<String, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// A DNS domain, or `.` for none at all.
pub(crate) fn dns_search(text: &str) -> Result<String, String> {
    let domain = text.trim();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_good =
        domain == "." || domain.strip_suffix('.').unwrap_or(domain).split('.').all(is_label);
    if is_good && !domain.is_empty() {
        Ok(domain.to_owned())
    } else {
        Err(format!("{domain} is not a valid domain"))
    }
}

/// `name:address` or `name=address`, the address possibly in brackets, as the daemon takes it: `name:address`.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let separated = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = separated.filter(|(name, _)| !name.is_empty()) else {
        return Err(format!("bad format for add-host: {text:?}"));
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

/// `container` or `container:alias`.
pub(crate) fn link(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if text.is_empty() || parts.len() > 2 {
        return Err(format!("bad format for links: {text}"));
    }
    Ok(text.to_owned())
}

/// `type[=soft[:hard]]` of one of the kernel's limits.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, values) =
        text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let parts: Vec<&str> = values.split(':').collect();
    let (soft, hard) = match parts.as_slice() {
        [both] => (integer(both)?, integer(both)?),
        [soft, hard] => (integer(soft)?, integer(hard)?),
        _ => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

/// `name=value` of a kernel parameter that belongs to a container's namespaces.
pub(crate) fn sysctl(text: &str) -> Result<String, String> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let is_allowed = text.split_once('=').is_some_and(|(name, _)| {
        NAMES.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
    });
    if is_allowed { Ok(text.to_owned()) } else { Err(format!("sysctl '{text}' is not allowed")) }
}

/// A rule of the devices cgroup, `c 1:3 rwm`.
pub(crate) fn device_cgroup_rule(text: &str) -> Result<String, String> {
    let is_number =
        |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let parts: Vec<&str> = text.split(' ').collect();
    let is_good = match parts.as_slice() {
        [kind, numbers, access] => {
            matches!(*kind, "a" | "b" | "c")
                && numbers
                    .split_once(':')
                    .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
                && (1..=3).contains(&access.len())
                && access.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid device cgroup format '{text}'"))
    }
}

/// `/dev/sda:200`
pub(crate) fn weight_device(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = device_pair(text, "bad format")?;
    let wrong = || format!("invalid weight for device: {text}");
    let weight: u16 = weight.parse().map_err(|_| wrong())?;
    if weight > 0 && !(10..=1000).contains(&weight) {
        return Err(wrong());
    }
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// `/dev/sda:1mb`
pub(crate) fn throttle_bps(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_pair(text, "bad format for device path")?;
    let rate = bytes(rate).map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. \
             Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate: rate.unsigned_abs() })
}

/// `/dev/sda:1000`
pub(crate) fn throttle_iops(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_pair(text, "bad format for device path")?;
    let rate = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. \
             Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

fn device_pair<'t>(text: &'t str, complaint: &str) -> Result<(&'t str, &'t str), String> {
    match text.split_once(':') {
        Some((path, value)) if path.starts_with("/dev/") => Ok((path, value)),
        Some(_) => Err(format!("bad format for device path: {text}")),
        None => Err(format!("{complaint}: {text}")),
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
