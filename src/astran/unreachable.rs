//! Why a request failed below HTTP (name, connection, TLS, proxy), in words for the person who mends that. What failed is told by the
//! types in the error's chain, never by its texts.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use hyper_util::client::proxy::matcher::Matcher;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use url::{Host, Url};

use super::error_excerpt::one_line;
use super::http::is_loopback;
use crate::budget;
use crate::measure::utc;

/// What a failed request says to people: what failed, and what to do about it. Of its address it names the host.
pub(super) fn describe(error: &reqwest::Error) -> String {
    describe_with(error, server)
}

/// The same, for an address that may be secret.
pub(super) fn describe_unnamed(error: &reqwest::Error) -> String {
    describe_with(error, |_| "the server".to_owned())
}

fn describe_with(error: &reqwest::Error, server: fn(&Url) -> String) -> String {
    if error.is_builder() {
        // Nothing was sent: the client itself can't be made.
        return innermost(error);
    }
    if !error.is_connect() {
        return broken_off(error);
    }
    let server = error.url().map_or_else(|| "the server".to_owned(), server);
    Unreachable { server, proxy: error.url().and_then(proxy), cause: Cause::of(error) }.to_string()
}

/// The errors of a chain, the outermost first. An I/O error does not count the error that it wraps among its sources.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let next = |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|wrapped| wrapped as &'a (dyn Error + 'static)),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), next)
}

/// The whole chain on one line, for the log at level debug.
pub(super) fn whole_chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    // The outermost text of reqwest names the address, whose query may be secret.
    for error in chain(error).skip(1) {
        let text = error.to_string();
        // Errors that wrap another may repeat its text.
        if !texts.iter().any(|before| before.contains(&text)) {
            texts.push(text);
        }
    }
    one_line(&texts.join(": "))
}

/// The text of the error that caused all others.
fn innermost(error: &(dyn Error + 'static)) -> String {
    one_line(&chain(error).last().map(ToString::to_string).unwrap_or_default())
}

/// A connection was there, and the request or its answer failed.
fn broken_off(error: &reqwest::Error) -> String {
    for error in chain(error) {
        if let Some(http) = error.downcast_ref::<hyper::Error>() {
            if http.is_incomplete_message() {
                return "the server closed the connection before its answer was complete".to_owned();
            }
            if http.is_parse() {
                return "what answers there does not speak HTTP; are the address and its port right?".to_owned();
            }
        }
        if error.downcast_ref::<io::Error>().is_some_and(|io| is_closed(io.kind())) {
            return "the connection was cut; is the network steady, and does a firewall or proxy end connections?"
                .to_owned();
        }
    }
    format!("the request failed ({})", innermost(error))
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
    )
}

/// There is no connection to a server.
#[derive(Debug)]
struct Unreachable {
    /// Its host, with the port where the address names one.
    server: String,
    /// The proxy that stands before it by this process's environment.
    proxy: Option<String>,
    cause: Cause,
}

/// What made the connection fail.
#[derive(Debug)]
enum Cause {
    Name,
    Refused,
    TimedOut,
    NoRoute,
    Forbidden,
    Closed,
    Certificate(CertificateError),
    NoTls,
    TlsDisagreement,
    /// Something else, in the words of the library.
    Other(String),
}

impl Cause {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_dns() {
            return Self::Name;
        }
        // An error of TLS says more than the I/O error that wraps it.
        let tls = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>());
        let io = || chain(error).filter_map(|error| error.downcast_ref::<io::Error>());
        match tls {
            Some(tls) => Self::of_tls(tls),
            None if error.is_timeout() => Self::TimedOut,
            None => io().find_map(|io| Self::of_io(io.kind())).unwrap_or_else(|| Self::Other(innermost(error))),
        }
    }

    fn of_io(kind: ErrorKind) -> Option<Self> {
        Some(match kind {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => Self::NoRoute,
            ErrorKind::PermissionDenied => Self::Forbidden,
            kind if is_closed(kind) => Self::Closed,
            _ => return None,
        })
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::Certificate(error.clone()),
            rustls::Error::InvalidMessage(_) => Self::NoTls,
            _ => Self::TlsDisagreement,
        }
    }

    /// Whether the connection failed on the way to the proxy, where there is one: TLS is spoken with the server behind it.
    fn is_before_tls(&self) -> bool {
        !matches!(self, Self::Certificate(_) | Self::NoTls | Self::TlsDisagreement)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, proxy, cause } = self;
        match (proxy, cause) {
            (Some(proxy), Cause::Other(_)) => write!(
                f,
                "can't reach {server}: the proxy {proxy} does not connect to it; does the proxy allow this host, and does it want a name \
                 and a password (HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT)?"
            ),
            // Nothing was sent to the server: the connection to the proxy failed, or the proxy closed it.
            (Some(proxy), cause) if cause.is_before_tls() => {
                write!(f, "can't reach the proxy {proxy} (HTTPS_PROXY), which stands before {server}: {cause}")
            }
            (Some(proxy), cause) => write!(f, "can't reach {server} through the proxy {proxy}: {cause}"),
            (None, cause) => write!(f, "can't reach {server}: {cause}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => {
                "the name can't be resolved; is it right, and does this machine have a network and a name server (DNS)?"
            }
            Self::Refused => "the connection is refused; does a server run there, and are the address and its port right?",
            Self::TimedOut => {
                "no connection came about in time; is the address right, and does a firewall stand in between, or a proxy that this \
                 machine must use (HTTPS_PROXY)?"
            }
            Self::NoRoute => "no network leads there; is this machine's network up (cable, VPN), and the address right?",
            Self::Forbidden => "this machine does not allow the connection; see its firewall",
            Self::Closed => {
                "the connection was closed while it was set up; is the port right, and does a firewall or proxy stand in between?"
            }
            Self::Certificate(error) => return certificate(error, f),
            Self::NoTls => "no TLS is spoken there; are the address and its port right?",
            Self::TlsDisagreement => {
                "no encrypted connection can be agreed on (TLS 1.2 or 1.3); is the port right, and does a proxy stand in between?"
            }
            Self::Other(text) => text,
        })
    }
}

/// What is wrong with the server's certificate.
fn certificate(error: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let renew = "have it renewed, and see that this machine's clock is right";
    match error {
        // An authority that was made anew has the old name and another key: its signature does not fit the certificate of the old one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => f.write_str(
            "the server's certificate is from an authority that this machine does not trust; if that authority is your own, name its \
             certificate in service.ca_file (--ca-file)",
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            write!(f, "the server's certificate expired on {}; {renew}", date(*not_after))
        }
        CertificateError::Expired => write!(f, "the server's certificate has expired; {renew}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            write!(f, "the server's certificate is not valid before {}; is this machine's clock right?", date(*not_before))
        }
        CertificateError::NotValidYet => f.write_str("the server's certificate is not valid yet; is this machine's clock right?"),
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            write!(f, "the server's certificate is for {}; is the address right?", names(presented))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            f.write_str("the server's certificate is for another name; is the address right?")
        }
        CertificateError::Revoked => f.write_str("the server's certificate was revoked; have it replaced"),
        _ => f.write_str("the server's certificate can't be used for a server; have it replaced (with -v the log says what is wrong)"),
    }
}

fn date(time: UnixTime) -> String {
    utc(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

/// The names of a certificate, as rustls writes them (`DnsName("a.example")`), without that.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| one_line(name.split('"').nth(1).unwrap_or(name));
    let mut names: Vec<_> = presented.iter().take(budget::NAMES_BESIDE).map(plain).collect();
    if presented.len() > names.len() {
        names.push("others".to_owned());
    }
    names.join(", ")
}

/// The host of an address, with the port where the address names one.
fn server(url: &Url) -> String {
    let host = match url.host() {
        Some(Host::Ipv6(ip)) => format!("[{ip}]"),
        Some(host) => host.to_string(),
        None => "the server".to_owned(),
    };
    url.port().map_or(host.clone(), |port| format!("{host}:{port}"))
}

/// The proxy for an address, by the variables that the HTTP client reads too. Its name and password are left out.
fn proxy(url: &Url) -> Option<String> {
    if is_loopback(url) {
        return None;
    }
    let proxy = Matcher::from_env().intercept(&url.as_str().parse().ok()?)?;
    let authority = proxy.uri().authority()?;
    Some(authority.as_str().rsplit('@').next().unwrap_or_default().to_owned())
}
