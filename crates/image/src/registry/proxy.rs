//! Proxies on the way to registries.

use davit_types::{Context as _, Error, Result};
use reqwest::{ClientBuilder, NoProxy, Proxy, Url};

/// Reached without a proxy, whatever is configured.
const OWN: &str = "localhost,127.0.0.0/8,::1";

/// Addresses of proxies; empty is none.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: String,
    /// For HTTPS.
    pub https: String,
    /// Hosts, domains and networks reached without one, comma-separated; `*` is all.
    pub none: String,
}

/// Leaves credentials out.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [http, https] = [&self.http, &self.https].map(|proxy| without_credentials(proxy));
        write!(f, "Proxies(http {http:?}, https {https:?}, none {:?})", self.none)
    }
}

impl Proxies {
    /// Makes `builder` use them.
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder> {
        // What the environment says has been read already.
        builder = builder.no_proxy();
        for (address, rule) in [
            (&self.http, Proxy::http as fn(Url) -> reqwest::Result<Proxy>),
            (&self.https, Proxy::https),
        ] {
            if let Some(url) = parse(address)? {
                let proxy = rule(url).context(|| "set the proxy")?;
                let none = NoProxy::from_string(&format!("{OWN},{}", self.none));
                builder = builder.proxy(proxy.no_proxy(none));
            }
        }
        Ok(builder)
    }

    /// Checks the addresses.
    pub(super) fn check(&self) -> Result<()> {
        parse(&self.http).and(parse(&self.https)).map(drop)
    }
}

/// An address without a scheme is an HTTP proxy's.
fn parse(address: &str) -> Result<Option<Url>> {
    if address.is_empty() {
        return Ok(None);
    }
    let full = if address.contains("://") { address.into() } else { format!("http://{address}") };
    let shown = without_credentials(address);
    let url = Url::parse(&full).context(|| format!("invalid proxy: {shown:?}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        let why = "must be an http or https address";
        return Err(Error::invalid(format!("invalid proxy: {shown:?} {why}")));
    }
    Ok(Some(url))
}

/// A proxy's address as it may be shown: with `xxxxx` for user and password.
pub fn without_credentials(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            let separator = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{separator}xxxxx:xxxxx@{host}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_addresses_are_refused_without_their_password() {
        for bad in ["ftp://u:secret@x", "http://u:secret@", "http://[x"] {
            let proxies = Proxies { https: bad.to_owned(), ..Proxies::default() };
            let error = format!("{:#}", proxies.check().expect_err(bad));
            assert!(error.contains("invalid proxy") && !error.contains("secret"), "{error}");
        }
        let bare = Proxies { http: "proxy:3128".to_owned(), ..Proxies::default() };
        bare.check().expect("an HTTP proxy");
        assert_eq!(without_credentials("http://u:p@h:1"), "http://xxxxx:xxxxx@h:1");
        assert_eq!(without_credentials("u:p@h:1"), "xxxxx:xxxxx@h:1");
        assert_eq!(without_credentials("http://h:1"), "http://h:1");
        let shown = format!("{:?}", Proxies { http: "http://u:p@h".to_owned(), ..bare });
        assert!(!shown.contains("u:p"), "{shown}");
    }
}
