//! How connections to the service are made.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, redirect};
use url::{Host, Url};

use super::Timeouts;
use super::error::{Error, describe};
use crate::config::Service;

/// Servers close idle connections after 20 s and more; a request that meets the closing gets no answer, and an upload
/// without an answer must be looked up.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// An HTTP client for the service.
pub(super) fn client(service: &Service, timeouts: &Timeouts) -> Result<Client, Error> {
    // Fails where one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let extra = service.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
    if is_local(&service.api_url) && is_local(&service.auth_url) {
        // No TLS and no proxy on the way to this machine itself; reading the system's certificates would take longer than
        // a small upload.
        return build(base(timeouts).no_proxy().tls_certs_only([]));
    }
    match build(base(timeouts).tls_certs_merge(extra.iter().cloned())) {
        // A small container has no certificates of its own: the configured ones will do.
        Err(_) if !extra.is_empty() => build(base(timeouts).tls_certs_only(extra)),
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
        .pool_idle_timeout(POOL_IDLE)
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

/// Whether an address is plain http to this machine.
fn is_local(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
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

    #[test]
    fn a_bad_ca_file_is_named() {
        let missing = Path::new("/nonexistent/ca.pem");
        let error = client(&service(Some(missing)), &Timeouts::default()).unwrap_err();
        assert!(matches!(error, Error::CaFile { .. }) && error.to_string().contains("/nonexistent/ca.pem"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let error = client(&service(Some(file.path())), &Timeouts::default()).unwrap_err();
        assert!(matches!(error, Error::CaEmpty { .. }), "{error}");
        file.write_all(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
        let error = client(&service(Some(file.path())), &Timeouts::default()).unwrap_err();
        assert!(matches!(error, Error::CaBroken { .. }), "{error}");
    }

    #[test]
    fn only_plain_http_to_this_machine_is_local() {
        for (url, local) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]/x", true),
            ("http://LOCALHOST", true),
            ("https://localhost", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap()), local, "{url}");
        }
    }
}
