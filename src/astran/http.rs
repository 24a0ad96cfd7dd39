//! How connections to the service are made.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, redirect};
use url::{Host, Url};

use super::client_config::Timeouts;
use super::error::ClientError;
use crate::budget;

/// An HTTP client for one of the service's two addresses. A loopback address is never reached through a proxy of the environment: a
/// login over plain http would hand it the password.
pub(super) fn client(ca_file: Option<&Path>, address: &Url, timeouts: &Timeouts) -> Result<Client, ClientError> {
    // Fails only where a provider is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let extra = ca_file.map(certificates).transpose()?.unwrap_or_default();
    let base = || if is_loopback(address) { base(timeouts).no_proxy() } else { base(timeouts) };
    if is_loopback(address) && address.scheme() == "http" {
        // Reading the system's certificates would take longer than a small upload.
        return build(base().tls_certs_only([]));
    }
    match build(base().tls_certs_merge(extra.iter().cloned())) {
        // A small container has no certificates of its own: the configured ones are enough.
        Err(_) if !extra.is_empty() => build(base().tls_certs_only(extra)),
        other => other,
    }
}

/// No pings over HTTP/2: on a slow line they wait behind the content, and their timeout would end an upload that moves.
fn base(timeouts: &Timeouts) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("astran-backup/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(timeouts.connect)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(budget::POOL_IDLE)
        .pool_max_idle_per_host(1024)
}

fn build(builder: ClientBuilder) -> Result<Client, ClientError> {
    builder.build().map_err(ClientError::Http)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let pem = std::fs::read(path).map_err(|source| ClientError::CaFile { path: path.to_owned(), source })?;
    let found =
        Certificate::from_pem_bundle(&pem).map_err(|source| ClientError::CaBroken { path: path.to_owned(), source })?;
    if found.is_empty() { Err(ClientError::CaEmpty { path: path.to_owned() }) } else { Ok(found) }
}

/// Returns whether an address is this machine itself.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn client_with(ca_file: &Path) -> Result<Client, ClientError> {
        client(Some(ca_file), &Url::parse("https://r.api.example").unwrap(), &Timeouts::default())
    }

    #[test]
    fn a_bad_ca_file_is_named() {
        let missing = Path::new("/nonexistent/ca.pem");
        let error = client_with(missing).unwrap_err();
        assert!(matches!(error, ClientError::CaFile { .. }) && error.to_string().contains("/nonexistent/ca.pem"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let error = client_with(file.path()).unwrap_err();
        assert!(matches!(error, ClientError::CaEmpty { .. }), "{error}");
        file.write_all(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
        let error = client_with(file.path()).unwrap_err();
        assert!(matches!(error, ClientError::CaBroken { .. }), "{error}");
    }

    #[test]
    fn only_this_machine_itself_is_loopback() {
        for (url, local) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]/x", true),
            ("http://LOCALHOST", true),
            ("https://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), local, "{url}");
        }
    }
}
