//! How connections to the service are made.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, redirect};
use url::{Host, Url};

use super::client_config::Timeouts;
use super::error::ClientError;
use crate::budget;

/// The HTTP clients for the API.
///
/// Content goes over HTTP/1.1, each transfer on a connection of its own. In HTTP/2 all uploads share one connection, and the server's
/// flow-control windows, often no more than 64 KiB to 1 MiB, limit all of them together to one window in each round trip.
#[derive(Debug)]
pub(super) struct ApiClients {
    /// For calls whose requests and answers are small: HTTP/2 where the service offers it.
    small: Client,
    /// For content: HTTP/1.1 only.
    content: Client,
    /// The service has refused HTTP/1.1.
    http1_refused: AtomicBool,
}

/// A client for one kind of call.
pub(super) struct ApiClient<'a> {
    pub(super) http: &'a Client,
    /// The client speaks nothing but HTTP/1.1.
    pub(super) http1_only: bool,
}

impl ApiClients {
    pub(super) fn new(ca_file: Option<&Path>, address: &Url, timeouts: &Timeouts) -> Result<Self, ClientError> {
        let small = || client(ca_file, address, timeouts, Versions::All);
        let content = || client(ca_file, address, timeouts, Versions::Http1);
        let (small, content) = if address.scheme() == "http" {
            // HTTP/1.1 is spoken anyway, and one pool of connections is enough.
            let http = small()?;
            (http.clone(), http)
        } else {
            // Side by side, because reading the system's certificates takes some milliseconds each time.
            let (small, content) = std::thread::scope(|scope| {
                let content = scope.spawn(content);
                (small(), content.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            });
            (small?, content?)
        };
        Ok(Self { small, content, http1_refused: AtomicBool::new(false) })
    }

    /// The client for calls whose requests and answers are small.
    pub(super) fn small(&self) -> ApiClient<'_> {
        ApiClient { http: &self.small, http1_only: false }
    }

    /// The client for content.
    pub(super) fn content(&self) -> ApiClient<'_> {
        if self.http1_refused.load(Ordering::Relaxed) {
            return self.small();
        }
        ApiClient { http: &self.content, http1_only: true }
    }

    /// The service has refused HTTP/1.1: content goes over HTTP/2 from now on.
    pub(super) fn refuse_http1(&self) {
        if !self.http1_refused.swap(true, Ordering::Relaxed) {
            tracing::info!("the service speaks HTTP/2 only, so content goes over HTTP/2, which may be slower");
        }
    }
}

/// The versions of HTTP that a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    All,
    Http1,
}

/// An HTTP client for one of the service's two addresses. A loopback address is never reached through a proxy of the environment: a
/// login over plain http would hand it the password.
pub(super) fn client(
    ca_file: Option<&Path>,
    address: &Url,
    timeouts: &Timeouts,
    versions: Versions,
) -> Result<Client, ClientError> {
    // Fails only where a provider is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let extra = ca_file.map(certificates).transpose()?.unwrap_or_default();
    let base = || {
        let base = if is_loopback(address) { base(timeouts).no_proxy() } else { base(timeouts) };
        if versions == Versions::Http1 { base.http1_only() } else { base }
    };
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
        client(Some(ca_file), &Url::parse("https://r.api.example").unwrap(), &Timeouts::default(), Versions::All)
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
        assert!(!error.to_string().contains("request"), "no request was made: {error}");
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
