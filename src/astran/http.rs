//! How connections to the service are made.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, redirect};
use url::{Host, Url};

use super::Timeouts;
use super::error::{Error, describe};
use crate::budget;
use crate::config::Service;

/// An HTTP client for one of the service's two addresses. A proxy of the environment never gets what is meant for this machine
/// itself: a login over plain http would hand it the password.
pub(super) fn client(service: &Service, address: &Url, timeouts: &Timeouts) -> Result<Client, Error> {
    // Fails where one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let extra = service.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
    let base = || if is_loopback(address) { base(timeouts).no_proxy() } else { base(timeouts) };
    if is_loopback(address) && address.scheme() == "http" {
        // Reading the system's certificates would take longer than a small upload.
        return build(base().tls_certs_only([]));
    }
    match build(base().tls_certs_merge(extra.iter().cloned())) {
        // A small container has no certificates of its own: the configured ones will do.
        Err(_) if !extra.is_empty() => build(base().tls_certs_only(extra)),
        other => other,
    }
}

/// No pings over HTTP/2: on a slow line they queue behind the content and would end an upload that moves.
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

fn build(builder: ClientBuilder) -> Result<Client, Error> {
    builder.build().map_err(|e| Error::Http(describe(&e)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let pem = std::fs::read(path).map_err(|source| Error::CaFile { path: path.to_owned(), source })?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|e| Error::CaBroken { path: path.to_owned(), reason: describe(&e) })?;
    if found.is_empty() { Err(Error::CaEmpty { path: path.to_owned() }) } else { Ok(found) }
}

/// Whether an address is this machine itself.
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

    fn service(ca_file: Option<&Path>) -> Service {
        Service {
            realm: "r".into(),
            api_url: Url::parse("https://r.api.example").unwrap(),
            auth_url: Url::parse("https://r.auth.example").unwrap(),
            content_type: "application/octet-stream".into(),
            ca_file: ca_file.map(Path::to_owned),
        }
    }

    fn client_of(service: &Service) -> Result<Client, Error> {
        client(service, &service.api_url, &Timeouts::default())
    }

    #[test]
    fn a_bad_ca_file_is_named() {
        let missing = Path::new("/nonexistent/ca.pem");
        let error = client_of(&service(Some(missing))).unwrap_err();
        assert!(matches!(error, Error::CaFile { .. }) && error.to_string().contains("/nonexistent/ca.pem"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let error = client_of(&service(Some(file.path()))).unwrap_err();
        assert!(matches!(error, Error::CaEmpty { .. }), "{error}");
        file.write_all(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
        let error = client_of(&service(Some(file.path()))).unwrap_err();
        assert!(matches!(error, Error::CaBroken { .. }), "{error}");
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
