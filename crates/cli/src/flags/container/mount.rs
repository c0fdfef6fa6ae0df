//! `--mount key=value,...`

use std::path::Path;

use davit_api::container::{
    BindOptions, ImageOptions, Mount, TmpfsOptions, VolumeDriverConfig, VolumeOptions,
};

use crate::failure::Failure;
use crate::flags::text::{comma_separated, key_value};
use crate::flags::values;

/// Reads one `--mount`.
pub(super) fn parse(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    for field in comma_separated(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("readonly" | "ro", None) => mount.read_only = true,
            ("volume-nocopy", None) => volume(&mut mount).no_copy = true,
            ("bind-create-src", None) => bind(&mut mount).create_mountpoint = true,
            ("bind-nonrecursive", None) => bind(&mut mount).non_recursive = true,
            (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            (key, Some(value)) => set(&mut mount, key, value, &field)?,
        }
    }
    check(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Mount, key: &str, value: &str, field: &str) -> Result<(), String> {
    let truth = |name: &str| {
        values::boolean(value).map_err(|_| format!("invalid value for {name}: {value}"))
    };
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = absolute(value).map_err(|failure| failure.text)?,
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "readonly" | "ro" => mount.read_only = truth(key)?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = truth(key)?,
        "bind-create-src" => bind(mount).create_mountpoint = truth(key)?,
        "bind-recursive" => recursive(bind(mount), value)?,
        "volume-subpath" => volume(mount).subpath = value.to_owned(),
        "volume-nocopy" => {
            volume(mount).no_copy = values::boolean(value)
                .map_err(|_| format!("invalid value for volume-nocopy: {value}"))?;
        }
        "volume-label" => {
            let (key, value) = key_value(value);
            volume(mount).labels.insert(key, value);
        }
        "volume-driver" => driver(mount).name = value.to_owned(),
        "volume-opt" => {
            let (key, value) = key_value(value);
            driver(mount).options.insert(key, value);
        }
        "image-subpath" => {
            mount.image_options.get_or_insert_with(ImageOptions::default).subpath =
                value.to_owned();
        }
        "tmpfs-size" => {
            tmpfs(mount).size_bytes =
                values::bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            tmpfs(mount).mode = u32::from_str_radix(value, 8)
                .map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn recursive(options: &mut BindOptions, value: &str) -> Result<(), String> {
    match value {
        "enabled" => {}
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
    }
    Ok(())
}

fn check(mount: &Mount) -> Result<(), String> {
    if mount.kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    let mixed = [
        ("volume", mount.volume_options.is_some()),
        ("image", mount.image_options.is_some()),
        ("bind", mount.bind_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ];
    if let Some((name, _)) = mixed.iter().find(|(name, has)| *has && *name != mount.kind) {
        return Err(format!("cannot mix '{name}-*' options with mount type '{}'", mount.kind));
    }
    let Some(bind) = &mount.bind_options else { return Ok(()) };
    if bind.read_only_non_recursive && !mount.read_only {
        return Err(
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"
                .to_owned(),
        );
    }
    if bind.read_only_force_recursive {
        if !mount.read_only {
            return Err("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".to_owned());
        }
        if bind.propagation != "rprivate" {
            return Err("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".to_owned());
        }
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_with(BindOptions::default)
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_with(VolumeOptions::default)
}

fn driver(mount: &mut Mount) -> &mut VolumeDriverConfig {
    volume(mount).driver_config.get_or_insert_with(VolumeDriverConfig::default)
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default)
}

/// A source that is given relative to the current directory as an absolute path; anything else as it is.
pub(super) fn absolute(source: &str) -> Result<String, Failure> {
    if source != "." && source != ".." && !source.starts_with("./") && !source.starts_with("../") {
        return Ok(source.to_owned());
    }
    let here = std::env::current_dir()?;
    let mut clean = here.clone();
    for part in Path::new(source).components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    Ok(clean.display().to_string())
}
