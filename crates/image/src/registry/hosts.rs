//! How each registry is reached: mirrors, plain HTTP, certificates, credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use davit_types::{Context as _, Error, Result};
use reqwest::Url;
use serde::Deserialize;

use super::proxy::Proxies;
use crate::image::RegistryAuth;

/// What the daemon knows of registries.
#[derive(Debug, Clone, Default)]
pub struct RegistryHosts {
    /// Registries (host, host:port or CIDR) spoken to by plain HTTP, besides loopback.
    pub insecure: Vec<String>,
    /// Mirrors of Docker Hub, asked before it.
    pub hub_mirrors: Vec<String>,
    /// Rules by registry, such as `docker.io` or `ghcr.io`.
    pub rules: BTreeMap<String, RegistryRule>,
    /// Directories with a folder per registry: `*.crt` are its authorities, `*.cert` with `*.key`
    /// show who asks.
    pub certificates: Vec<PathBuf>,
    /// Proxies on the way.
    pub proxies: Proxies,
}

/// How one registry is reached.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistryRule {
    /// Addresses asked before the registry itself, in this order.
    pub mirrors: Vec<String>,
    /// Beginnings of repository names and what mirrors have in their place.
    pub rewrite: BTreeMap<String, String>,
    /// Spoken to by plain HTTP.
    pub insecure: bool,
    /// A file of certificate authorities to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// User name for requests that bring no credentials.
    pub username: String,
    /// Its password.
    pub password: String,
}

/// Leaves the secrets out.
impl fmt::Debug for RegistryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryRule(mirrors {:?}, rewrite {:?})", self.mirrors, self.rewrite)
    }
}

/// Certificates for one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles {
    pub(super) authorities: Vec<PathBuf>,
    /// Certificate and key.
    pub(super) identities: Vec<(PathBuf, PathBuf)>,
}

impl RegistryHosts {
    /// Checks what can be checked before a registry is asked.
    ///
    /// # Errors
    /// A mirror or proxy that is no http(s) address, or a file of authorities that is not there.
    pub fn check(&self) -> Result<()> {
        let of_rules = self.rules.values().flat_map(|rule| &rule.mirrors);
        for mirror in self.hub_mirrors.iter().chain(of_rules) {
            let url = Url::parse(mirror).context(|| format!("invalid mirror: {mirror:?}"))?;
            if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
                let why = "must be an http or https address";
                return Err(Error::invalid(format!("invalid mirror: {mirror:?} {why}")));
            }
        }
        self.proxies.check()?;
        for (registry, rule) in &self.rules {
            if let Some(ca) = rule.ca.as_ref().filter(|ca| !ca.is_file()) {
                let ca = ca.display();
                return Err(Error::invalid(format!("rule for {registry}: no file {ca}")));
            }
        }
        Ok(())
    }

    /// All that is spoken to by plain HTTP.
    pub(super) fn plain(&self) -> Vec<String> {
        let rules = self.rules.iter().filter(|(_, rule)| rule.insecure);
        self.insecure.iter().cloned().chain(rules.map(|(name, _)| name.clone())).collect()
    }

    /// Mirrors of a registry and the repository's name there.
    pub(super) fn mirrors(&self, registry: &str, repository: &str) -> Vec<(String, String)> {
        let rule = self.rules.get(registry);
        let hub = self.hub_mirrors.iter().filter(|_| registry == "docker.io");
        let own = rule.iter().flat_map(|rule| &rule.mirrors);
        let rewritten = rule
            .into_iter()
            .flat_map(|rule| &rule.rewrite)
            .filter_map(|(from, to)| {
                Some((from.len(), to.clone() + repository.strip_prefix(from)?))
            })
            .max_by_key(|(length, _)| *length)
            .map_or_else(|| repository.to_owned(), |(_, name)| name);
        own.map(|mirror| (mirror.clone(), rewritten.clone()))
            .chain(hub.map(|mirror| (mirror.clone(), repository.to_owned())))
            .collect()
    }

    /// Credentials for a host that the request brought none for.
    pub(super) fn credentials(&self, host: &str) -> Option<RegistryAuth> {
        let rule = self.rules.get(host).filter(|rule| !rule.username.is_empty())?;
        Some(RegistryAuth {
            username: rule.username.clone(),
            password: rule.password.clone(),
            server_address: host.to_owned(),
            ..RegistryAuth::default()
        })
    }

    pub(super) fn tls_files(&self, host: &str) -> Result<TlsFiles> {
        let mut files = TlsFiles::default();
        files.authorities.extend(self.rules.get(host).and_then(|rule| rule.ca.clone()));
        for directory in &self.certificates {
            let directory = directory.join(host);
            if directory.is_dir() {
                files.add(&directory)?;
            }
        }
        Ok(files)
    }
}

impl TlsFiles {
    fn add(&mut self, directory: &Path) -> Result<()> {
        let place = || format!("read {}", directory.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).context(place)? {
            found.push(entry.context(place)?.path());
        }
        found.sort();
        for path in found {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.push(path),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.is_file() {
                        let (path, key) = (path.display(), key.display());
                        return Err(Error::invalid(format!("missing key {key} for {path}")));
                    }
                    self.identities.push((path, key));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_in_order_under_their_own_names() {
        let json = r#"{"docker.io":{"mirrors":["https://m/x"],"rewrite":{"library/":"hub/","":"all/"}},
            "ghcr.io":{"mirrors":["http://g"],"username":"u","password":"p","insecure":true}}"#;
        let hosts = RegistryHosts {
            hub_mirrors: vec!["https://h".to_owned()],
            rules: serde_json::from_str(json).expect("rules"),
            ..RegistryHosts::default()
        };
        hosts.check().expect("good");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            hosts.mirrors("docker.io", "library/nginx"),
            [pair("https://m/x", "hub/nginx"), pair("https://h", "library/nginx")]
        );
        assert_eq!(hosts.mirrors("ghcr.io", "a/b"), [pair("http://g", "a/b")]);
        assert!(hosts.mirrors("quay.io", "a/b").is_empty());
        assert_eq!(hosts.credentials("ghcr.io").expect("auth").username, "u");
        assert_eq!(hosts.plain(), ["ghcr.io"]);
        for bad in ["ftp://x", "nonsense"] {
            let hosts = RegistryHosts { hub_mirrors: vec![bad.to_owned()], ..hosts.clone() };
            hosts.check().expect_err(bad);
        }
        serde_json::from_str::<RegistryRule>(r#"{"mirors":[]}"#).expect_err("a misspelt key");
    }
}
