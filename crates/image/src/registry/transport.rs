//! Which registries are spoken to how: hosts, plain HTTP or TLS, and what a failed request says.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use davit_types::{Context as _, Error, Result};
use reqwest::Url;

use super::hosts::{RegistryHosts, TlsFiles};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// No byte for this long is a broken connection.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The address of a registry's API.
pub(super) fn base_url(registry: &str, insecure: &[String]) -> String {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let scheme = if is_plain(registry, insecure) { "http" } else { "https" };
    format!("{scheme}://{host}")
}

/// Whether `host[:port]` is spoken to without TLS.
pub(super) fn is_plain(authority: &str, insecure: &[String]) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    insecure.iter().any(|entry| {
        entry == authority
            || entry == host
            || address.is_some_and(|address| is_inside(address, entry))
    })
}

/// Whether `address` is in the network `a.b.c.d/n`.
fn is_inside(address: IpAddr, network: &str) -> bool {
    let parse = || {
        let (start, length) = network.split_once('/')?;
        let (start, length): (IpAddr, u32) = (start.parse().ok()?, length.parse().ok()?);
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let ((start, width), (address, other)) = (bits(start), bits(address));
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Some(width == other && length <= width && start & mask == address & mask)
    };
    parse().unwrap_or(false)
}

/// A client for one pull. HTTP/1.1 only: one HTTP/2 window would slow large layers down.
pub(super) fn client(plain: bool, host: &str, hosts: &RegistryHosts) -> Result<reqwest::Client> {
    // Two providers in one program would make the default ambiguous: name it.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else being first is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let client = if plain {
        // A host without CA certificates can still speak plain HTTP; should the registry send us to
        // an https address there, that fails for want of trust.
        let own = || hosts.proxies.apply(builder());
        match own()?.build() {
            Err(_) => own()?.tls_certs_only([]).build(),
            made => made,
        }
    } else {
        hosts.proxies.apply(with_files(builder(), &hosts.tls_files(host)?)?)?.build()
    };
    client.context(|| "make HTTP client")
}

/// Trusts the registry's own authorities too, and shows our certificate.
fn with_files(
    mut builder: reqwest::ClientBuilder,
    files: &TlsFiles,
) -> Result<reqwest::ClientBuilder> {
    let read = |path: &Path| std::fs::read(path).context(|| format!("read {}", path.display()));
    for path in &files.authorities {
        let found = reqwest::Certificate::from_pem_bundle(&read(path)?);
        let found = found.context(|| format!("certificates in {}", path.display()))?;
        builder = builder.tls_certs_merge(found);
    }
    for (certificate, key) in &files.identities {
        let pem = [read(key)?, read(certificate)?].concat();
        let identity = reqwest::Identity::from_pem(&pem);
        let place = || format!("certificate {}", certificate.display());
        builder = builder.identity(identity.context(place)?);
    }
    Ok(builder)
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("davit/", env!("CARGO_PKG_VERSION")))
}

/// What Docker says when a request got no answer.
pub(super) fn request_error(method: &str, url: &Url, error: &reqwest::Error) -> Error {
    let mut cause: &(dyn StdError + 'static) = error;
    let mut refused = false;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        refused |= cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    }
    let why = if refused {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        format!("dial tcp {host}:{port}: connect: connection refused")
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        cause.to_string()
    };
    Error::internal(format!("failed to do request: {method} \"{url}\": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_what_is_configured() {
        let insecure = ["reg.example:5000", "10.1.0.0/16", "other.example"].map(str::to_owned);
        for (authority, plain) in [
            ("localhost:5000", true),
            ("127.8.0.1", true),
            ("[::1]:5000", true),
            ("reg.example:5000", true),
            ("reg.example", false),
            ("other.example:1", true),
            ("10.1.200.3:80", true),
            ("10.2.0.1", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_plain(authority, &insecure), plain, "{authority}");
        }
        assert_eq!(base_url("docker.io", &[]), "https://registry-1.docker.io");
        assert_eq!(base_url("127.0.0.1:5", &[]), "http://127.0.0.1:5");
    }
}
