//! Registry credentials from Docker's `config.json`, for the `X-Registry-Auth` header.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use davit_api::image::RegistryAuth;
use serde::Deserialize;

/// Docker Hub's name in `config.json`.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: String,
}

/// The header's value for `registry`, if there are credentials for it.
pub(crate) fn registry_auth(registry: &str) -> Option<String> {
    let text = std::fs::read(config_folder()?.join("config.json")).ok()?;
    let config: ConfigFile = serde_json::from_slice(&text).ok()?;
    header(&config, registry)
}

fn config_folder() -> Option<PathBuf> {
    let named =
        std::env::var_os("DOCKER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))
}

fn header(config: &ConfigFile, registry: &str) -> Option<String> {
    let host = |key: &str| {
        let bare = key.trim_start_matches("https://").trim_start_matches("http://");
        bare.split('/').next().unwrap_or(bare).to_owned()
    };
    let key = if registry == "docker.io" { HUB } else { registry };
    let exact = config.auths.get(key);
    let entry = exact.or_else(|| {
        config.auths.iter().find(|(name, _)| host(name) == registry).map(|(_, entry)| entry)
    })?;
    let decoded = STANDARD.decode(&entry.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = decoded
        .as_deref()
        .and_then(|pair| pair.split_once(':'))
        .map(|(name, word)| (name.to_owned(), word.trim_end_matches('\0').to_owned()))
        .unwrap_or_default();
    if username.is_empty() && entry.identitytoken.is_empty() {
        return None;
    }
    let auth = RegistryAuth {
        username,
        password,
        server_address: key.to_owned(),
        identity_token: entry.identitytoken.clone(),
        ..RegistryAuth::default()
    };
    Some(URL_SAFE.encode(serde_json::to_vec(&auth).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_registry() {
        let json = r#"{"auths":{"reg:5000":{"auth":"dTpw"},"https://index.docker.io/v1/":{"auth":"aDp4"},"empty":{}}}"#;
        let config: ConfigFile = serde_json::from_str(json).expect("good JSON");
        let decode = |registry: &str| {
            let bytes = URL_SAFE.decode(header(&config, registry)?).expect("base64");
            let auth: RegistryAuth = serde_json::from_slice(&bytes).expect("JSON");
            Some((auth.username, auth.password, auth.server_address))
        };
        let found = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(decode("reg:5000"), found("u", "p", "reg:5000"));
        assert_eq!(decode("docker.io"), found("h", "x", HUB));
        assert_eq!(decode("empty"), None);
        assert_eq!(decode("other"), None);
    }
}
