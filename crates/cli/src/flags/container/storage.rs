//! Volumes, bind mounts, tmpfs and the root file system.

use clap::Args;
use davit_api::container::{Config, HostConfig, Mount};
use davit_api::lenient::Empty;

use crate::failure::Failure;
use crate::flags::text::key_value;
use crate::flags::values;

#[derive(Debug, Args)]
pub(super) struct StorageFlags {
    /// Mount, as comma-separated key=value
    #[arg(long, value_name = "mount", value_parser = super::mount::parse)]
    mount: Vec<Mount>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = values::bytes)]
    shm_size: Option<i64>,
    /// Option of the storage driver, key=value
    #[arg(long)]
    storage_opt: Vec<String>,
    /// Mount a tmpfs, path[:options]
    #[arg(long)]
    tmpfs: Vec<String>,
    /// Bind mount or volume, [source:]path[:options]
    #[arg(long, short)]
    volume: Vec<String>,
    /// Driver of the volumes made for this container
    #[arg(long)]
    volume_driver: Option<String>,
    /// Mount the volumes of another container, name[:ro]
    #[arg(long)]
    volumes_from: Vec<String>,
}

impl StorageFlags {
    pub(super) fn apply(
        &self,
        config: &mut Config,
        host_config: &mut HostConfig,
    ) -> Result<(), Failure> {
        let mut binds: Vec<String> = Vec::new();
        let mut anonymous = std::collections::BTreeMap::new();
        for specification in &self.volume {
            match volume(specification)? {
                Volume::Anonymous(path) => {
                    anonymous.insert(path, Empty);
                }
                Volume::Bind(bind) if binds.contains(&bind) => {}
                Volume::Bind(bind) => binds.push(bind),
            }
        }
        config.volumes = Some(anonymous);
        host_config.binds = (!binds.is_empty()).then_some(binds);
        host_config.mounts = self.mount.clone();
        host_config.volume_driver = self.volume_driver.clone().unwrap_or_default();
        host_config.volumes_from =
            (!self.volumes_from.is_empty()).then(|| self.volumes_from.clone());
        host_config.readonly_rootfs = self.read_only;
        host_config.shm_size = self.shm_size.unwrap_or(0);
        for text in &self.tmpfs {
            let (path, options) = text.split_once(':').unwrap_or((text, ""));
            host_config.tmpfs.insert(path.to_owned(), options.to_owned());
        }
        for text in &self.storage_opt {
            if !text.contains('=') {
                return Err(Failure::new("invalid storage option"));
            }
            let (key, value) = key_value(text);
            host_config.storage_opt.insert(key, value);
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
enum Volume {
    Anonymous(String),
    Bind(String),
}

/// `path`, or `source:path[:options]` with a source in the current directory made absolute.
fn volume(specification: &str) -> Result<Volume, Failure> {
    let Some((source, rest)) = specification.split_once(':') else {
        if specification.is_empty() {
            return Err(Failure::new("invalid empty volume spec"));
        }
        return Ok(Volume::Anonymous(specification.to_owned()));
    };
    if rest.matches(':').count() > 1 {
        return Err(Failure::new(format!("invalid spec: {specification}: too many colons")));
    }
    if source.is_empty() || rest.is_empty() {
        return Err(Failure::new(format!(
            "invalid spec: {specification}: empty section between colons"
        )));
    }
    Ok(Volume::Bind(format!("{}:{rest}", super::mount::absolute(source)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_anonymous_named_or_bound() {
        let here = std::env::current_dir().expect("there is one").display().to_string();
        let bind = |text: &str| Some(Volume::Bind(text.to_owned()));
        let table = [
            ("/anon", Some(Volume::Anonymous("/anon".to_owned()))),
            ("/a:/b", bind("/a:/b")),
            ("vol:/c:ro,nocopy", bind("vol:/c:ro,nocopy")),
            ("./rel:/b", bind(&format!("{here}/rel:/b"))),
            (".:/b", bind(&format!("{here}:/b"))),
            ("", None),
            ("/a:/b:c:d", None),
            ("/a:", None),
        ];
        for (text, expected) in table {
            assert_eq!(volume(text).ok(), expected, "{text}");
        }
    }
}
