//! Registry credentials from Docker's `config.json` and credential helpers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use davit_api::image::RegistryAuth;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};

/// Docker Hub's name in `config.json`.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// The user name that helpers give with a token instead of a password.
const TOKEN_USER: &str = "<token>";

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: String,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// The header's value for `registry`, if there are credentials for it.
pub(crate) fn registry_auth(registry: &str) -> Outcome<Option<String>> {
    let Ok(path) = path() else { return Ok(None) };
    let config = match read(&path) {
        Ok(config) => config,
        Err(failure) => {
            writeln!(std::io::stderr(), "WARNING: Error loading config file: {}", failure.text)?;
            return Ok(None);
        }
    };
    let key = key(registry);
    let found = match config.helper(key) {
        Some(helper) => helped(helper, key)?,
        None => config.stored(key),
    };
    let Some(auth) = found else { return Ok(None) };
    let text = serde_json::to_vec(&auth).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Some(URL_SAFE.encode(text)))
}

/// The credentials kept under `key`.
pub(crate) fn find(key: &str) -> Outcome<Option<RegistryAuth>> {
    let config = read(&path()?)?;
    match config.helper(key) {
        Some(helper) => helped(helper, key),
        None => Ok(config.stored(key)),
    }
}

/// Keeps credentials: with the helper that is configured, else in the file. Says whether they lie
/// in the file as they are.
pub(crate) fn keep(auth: &RegistryAuth) -> Outcome<bool> {
    let path = path()?;
    let key = &auth.server_address;
    let has_token = !auth.identity_token.is_empty();
    if let Some(helper) = read(&path)?.helper(key) {
        let (user, secret) = match has_token {
            true => (TOKEN_USER, &auth.identity_token),
            false => (auth.username.as_str(), &auth.password),
        };
        let entry = json!({ "ServerURL": key, "Username": user, "Secret": secret });
        ask(helper, "store", &entry.to_string())?;
        return change(&path, |auths| {
            auths.insert(key.clone(), json!({}));
        })
        .map(|()| false);
    }
    let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
    let mut entry = json!({ "auth": pair });
    if has_token {
        entry["auth"] = STANDARD.encode(format!("{}:", auth.username)).into();
        entry["identitytoken"] = auth.identity_token.clone().into();
    }
    change(&path, |auths| {
        auths.insert(key.clone(), entry);
    })
    .map(|()| true)
}

/// Forgets the credentials under `key`. Says whether there were any.
pub(crate) fn forget(key: &str) -> Outcome<bool> {
    let path = path()?;
    let config = read(&path)?;
    let known = config.auths.contains_key(key);
    let helped = match config.helper(key) {
        Some(helper) => helped(helper, key)?.is_some() && ask(helper, "erase", key).is_ok(),
        None => false,
    };
    if known {
        change(&path, |auths| {
            auths.remove(key);
        })?;
    }
    Ok(known || helped)
}

/// Under which name the credentials of a registry are kept.
pub(crate) fn key(registry: &str) -> &str {
    match registry {
        "" | "docker.io" | "index.docker.io" => HUB,
        other => other,
    }
}

fn path() -> Outcome<PathBuf> {
    let named =
        std::env::var_os("DOCKER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let folder = named.or_else(home);
    Ok(folder
        .ok_or_else(|| Failure::new("neither DOCKER_CONFIG nor HOME is set"))?
        .join("config.json"))
}

fn read(path: &Path) -> Outcome<ConfigFile> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ConfigFile::default()),
        Err(error) => Err(Failure::new(format!("read {}: {error}", path.display()))),
    }
}

/// Changes `auths` and leaves the rest of the file as it is.
fn change(path: &Path, act: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Outcome<()> {
    let failed = |error: std::io::Error| Failure::new(format!("write {}: {error}", path.display()));
    let text = std::fs::read(path).unwrap_or_else(|_| b"{}".to_vec());
    let mut document: Value = serde_json::from_slice(&text)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    if !document["auths"].is_object() {
        document["auths"] = json!({});
    }
    if let Some(auths) = document["auths"].as_object_mut() {
        act(auths);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let temporary = path.with_extension(format!("json.{}", std::process::id()));
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, tabs);
    serde::Serialize::serialize(&document, &mut writer)
        .map_err(|error| Failure::new(error.to_string()))?;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    file.and_then(|mut file| file.write_all(&text)).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

impl ConfigFile {
    /// The helper that has the credentials under `key`.
    fn helper(&self, key: &str) -> Option<&str> {
        let own = self.helpers.get(key).or_else(|| self.helpers.get(&host(key)));
        own.or(Some(&self.store)).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn stored(&self, key: &str) -> Option<RegistryAuth> {
        let exact = self.auths.get(key);
        let entry = exact.or_else(|| {
            self.auths.iter().find(|(name, _)| host(name) == key).map(|(_, entry)| entry)
        })?;
        let decoded =
            STANDARD.decode(&entry.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) = decoded
            .as_deref()
            .and_then(|pair| pair.split_once(':'))
            .map(|(name, word)| (name.to_owned(), word.trim_end_matches('\0').to_owned()))
            .unwrap_or_default();
        if username.is_empty() && entry.identitytoken.is_empty() {
            return None;
        }
        Some(RegistryAuth {
            username,
            password,
            server_address: key.to_owned(),
            identity_token: entry.identitytoken.clone(),
            ..RegistryAuth::default()
        })
    }
}

fn host(key: &str) -> String {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    bare.split('/').next().unwrap_or(bare).to_owned()
}

fn helped(helper: &str, key: &str) -> Outcome<Option<RegistryAuth>> {
    let answer = match ask(helper, "get", key) {
        Ok(answer) => answer,
        Err(failure) if failure.text.contains("credentials not found") => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let found: Helped = serde_json::from_slice(&answer)
        .map_err(|error| Failure::new(format!("docker-credential-{helper}: {error}")))?;
    let mut auth = RegistryAuth { server_address: key.to_owned(), ..RegistryAuth::default() };
    if found.username == TOKEN_USER {
        auth.identity_token = found.secret;
    } else {
        (auth.username, auth.password) = (found.username, found.secret);
    }
    Ok(Some(auth))
}

/// Runs a credential helper; its standard output is the answer.
fn ask(helper: &str, verb: &str, input: &str) -> Outcome<Vec<u8>> {
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| {
        Failure::new(format!("error getting credentials - err: exec: {program:?}: {error}"))
    };
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has failed, which its status says.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(Failure::new(format!("error getting credentials - err: {}, out: `{said}`", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_registry() {
        let json = r#"{"auths":{"reg:5000":{"auth":"dTpw"},"https://index.docker.io/v1/":{"auth":"aDp4"},"empty":{}},
            "credHelpers":{"gcr.io":"gcloud"}}"#;
        let config: ConfigFile = serde_json::from_str(json).expect("good JSON");
        let decode = |registry: &str| {
            let auth = config.stored(key(registry))?;
            Some((auth.username, auth.password, auth.server_address))
        };
        let found = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(decode("reg:5000"), found("u", "p", "reg:5000"));
        assert_eq!(decode("docker.io"), found("h", "x", HUB));
        assert_eq!(decode("empty"), None);
        assert_eq!(decode("other"), None);
        assert_eq!((config.helper("gcr.io"), config.helper("reg:5000")), (Some("gcloud"), None));
    }

    #[test]
    fn changing_the_file_keeps_what_else_is_in_it() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("new/config.json");
        change(&path, |auths| drop(auths.insert("a".to_owned(), json!({ "auth": "x" }))))
            .expect("new");
        let mut document: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        document["psFormat"] = "table".into();
        std::fs::write(&path, document.to_string()).expect("write");
        change(&path, |auths| drop(auths.remove("a"))).expect("change");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, "{\n\t\"auths\": {},\n\t\"psFormat\": \"table\"\n}");
    }
}
