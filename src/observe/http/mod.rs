//! `[daemon] listen`: serves a page for people, metrics and readiness over plain HTTP.
//!
//! The listener only reads what other parts of the program count and check. Clients can harm only each other: each connection has one
//! request and a few seconds, and at the limit the oldest connection is closed for the newest. No upload ever waits for the listener.

mod answer;
mod page;
mod source;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::header::{ACCEPT, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use self::answer::{Answer, Asked};
pub use self::source::{Source, StatusText};
use crate::budget;
use crate::observe::health::Health;
use crate::observe::metrics::{self, Format, Metrics};

/// The pause after a connection could not be accepted. Mostly the process has no descriptors left, and uploads need them first.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The address can't be used. Nothing helps but another configuration: the caller shows the text to whoever started the program.
#[derive(Debug, thiserror::Error)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listen = \"{}\" in [daemon] can't be used: ", self.address)?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("something else listens there already; end that, or give another port, or take the key out")
            }
            io::ErrorKind::AddrNotAvailable => {
                f.write_str("it is no address of this machine; give one, such as 127.0.0.1:9464, or take the key out")
            }
            _ => write!(f, "{}; give another address, or take the key out", self.source),
        }
    }
}

/// The bound address; connections wait there until [`Listener::serve`].
#[derive(Debug)]
pub struct Listener(TcpListener);

/// The running server. Dropping it ends the server and its connections.
#[derive(Debug)]
pub struct Server {
    #[allow(dead_code, reason = "dropping it ends the task")]
    task: JoinSet<()>,
    state: Arc<State>,
}

impl Server {
    /// Answers to these names and shows this much from now on.
    pub(crate) fn set_access(&self, access: Access) {
        *self.state.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }
}

/// What the answers are made from.
#[derive(Debug)]
pub struct Sources {
    /// For `/readyz`.
    pub health: Health,
    /// For `/metrics`: what is counted.
    pub metrics: Metrics,
    /// For `/metrics`: what is so just now.
    pub look: Source<metrics::Look>,
    /// For the page.
    pub status: Source<StatusText>,
}

#[derive(Debug)]
struct State {
    sources: Sources,
    access: RwLock<Arc<Access>>,
    /// Whether the listener's address is on loopback.
    on_loopback: bool,
}

/// Under which names the listener answers, and what the page shows.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The names that a request's `Host` may hold besides addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Whether the page has the names of files, folders, users and hosts. Where it is `None`, requests from this machine get them: the
    /// address is on loopback, and no header tells of a proxy.
    pub page_names: Option<bool>,
}

impl Listener {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        TcpListener::bind(address).await.map(Self).map_err(|source| BindError { address, source })
    }

    /// Starts to answer requests.
    pub fn serve(self, sources: Sources, access: Access) -> Server {
        let address = self.0.local_addr();
        match &address {
            Ok(address) if !address.ip().is_loopback() => tracing::warn!(
                "metrics and readiness are at http://{address}/metrics and /readyz, and a page for people at /, for everybody who can reach \
                 this machine"
            ),
            Ok(address) => tracing::info!(
                "metrics and readiness are at http://{address}/metrics and /readyz, and a page for people at /"
            ),
            Err(error) => tracing::warn!("metrics and readiness are served, but the address can't be read: {error}"),
        }
        let on_loopback = address.is_ok_and(|address| address.ip().is_loopback());
        let mut task = JoinSet::new();
        let access = RwLock::new(Arc::new(access));
        let state = Arc::new(State { sources, access, on_loopback });
        task.spawn(accept_all(self.0, Arc::clone(&state)));
        Server { task, state }
    }
}

impl State {
    async fn answer<B>(&self, request: &hyper::Request<B>) -> Answer {
        // A header that is not text can't be an allowed name; `?` is none.
        let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
        let access = Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner));
        if !answer::is_for_us(host, &access.allowed_hosts) {
            return answer::misdirected();
        }
        let names = || access.page_names.unwrap_or(self.on_loopback && answer::is_direct(request.headers()));
        match answer::asked(request.method(), request.uri().path()) {
            Asked::Other => answer::not_found(),
            Asked::Change => answer::wrong_method(),
            Asked::Page => page::answer(names()),
            Asked::Status => {
                let text = self.sources.status.get().await;
                answer::status(text.map(|text| if names() { text.with_names } else { text.without_names }))
            }
            Asked::Metrics => {
                let accept = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
                let (format, look) = (Format::for_client(accept), self.sources.look.get().await);
                answer::metrics(&self.sources.metrics, look, format)
            }
            Asked::Readiness => answer::readiness(&self.sources.health.reasons(), &self.sources.health.notes()),
            Asked::Liveness => answer::liveness(),
        }
    }
}

async fn accept_all(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A connection that panicked ends alone: its result is dropped here with those of the finished ones.
                while connections.try_join_next().is_some() {}
                oldest_first.retain(|connection| !connection.is_finished());
                if oldest_first.len() >= budget::MONITOR_CONNECTIONS
                    && let Some(oldest) = oldest_first.pop_front()
                {
                    oldest.abort();
                }
                oldest_first.push_back(connections.spawn(serve_connection(stream, Arc::clone(&state))));
            }
            Err(error) => {
                tracing::debug!("a connection to the metrics can't be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.answer(&request).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(budget::MONITOR_HEAD);
    match timeout(budget::MONITOR_CONNECTION, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a connection to the metrics ended: {error}"),
        Err(_) => tracing::debug!("a connection to the metrics was cut after {:?}", budget::MONITOR_CONNECTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    async fn started() -> (SocketAddr, Server) {
        started_with(None).await
    }

    async fn started_with(page_names: Option<bool>) -> (SocketAddr, Server) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.0.local_addr().unwrap();
        let health = Health::default();
        let access = Access { allowed_hosts: vec!["monitor.example".into()], page_names };
        let status = Source::new(|| StatusText { with_names: "named".into(), without_names: "nameless".into() });
        let (metrics, look) = (Metrics::new(&health), Source::new(metrics::Look::default));
        (address, listener.serve(Sources { health, metrics, look, status }, access))
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        request(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    async fn request(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_connection_ends_after_one_answer() {
        let (address, _server) = started().await;
        let answer = get(address, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("alive\n"), "{answer}");
    }

    #[tokio::test]
    async fn names_are_shown_to_this_machine_alone_unless_configured_otherwise() {
        let direct = "GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let proxied = "GET /status.json HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
        let renamed = "GET /status.json HTTP/1.1\r\nHost: monitor.example\r\n\r\n";
        for (page_names, sent, expected) in [
            (None, direct, "\r\nnamed"),
            (None, proxied, "\r\nnameless"),
            (None, renamed, "\r\nnameless"),
            (Some(true), proxied, "\r\nnamed"),
            (Some(false), direct, "\r\nnameless"),
        ] {
            let (address, _server) = started_with(page_names).await;
            let answer = request(address, sent).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(
                answer.contains("cache-control: no-store") && answer.ends_with(expected),
                "{page_names:?} {sent}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn metrics_have_the_format_that_the_client_asks_for() {
        let (address, _server) = started().await;
        for (accept, kind, has_end) in [
            ("", "text/plain; version=0.0.4", false),
            ("Accept: */*\r\n", "text/plain; version=0.0.4", false),
            ("Accept: application/openmetrics-text;version=1.0.0\r\n", "application/openmetrics-text", true),
        ] {
            let answer = request(address, &format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n")).await;
            assert!(answer.contains(&format!("content-type: {kind}")), "{accept}: {answer}");
            assert_eq!(answer.ends_with("# EOF\n"), has_end, "{accept}: {answer}");
            assert!(answer.contains("\nastran_backup_config_last_reload_successful 1\n"), "{answer}");
        }
    }

    #[tokio::test]
    async fn head_has_the_headers_of_the_page_and_no_body() {
        let (address, _server) = started().await;
        let whole = get(address, "/").await;
        let head = request(address, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(
            whole.contains("</html>") && head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header) && whole.contains(header), "{header}: {head}");
        }
    }

    /// Regression: a page of any site could read the metrics through the browser of a person on this machine.
    #[tokio::test]
    async fn a_request_that_names_another_host_is_refused() {
        let (address, _server) = started().await;
        for (host, status) in [
            ("evil.example", "421"),
            ("localhost.evil.example:9464", "421"),
            ("", "421"),
            ("monitor.example:9464", "200"),
            ("LOCALHOST:9464", "200"),
            ("127.0.0.1:9464", "200"),
            ("[::1]:9464", "200"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.split(' ').nth(1), Some(status), "{host}: {answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_completes_its_request_is_dropped() {
        let (address, _server) = started().await;
        for sent in ["", "GET /metrics HTTP/1.1\r\nHost: "] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let start = Instant::now();
            // The connection is cut, with or without an answer.
            stream.read_to_end(&mut Vec::new()).await.ok();
            assert!(start.elapsed() <= budget::MONITOR_CONNECTION + Duration::from_millis(1), "{:?}", start.elapsed());
        }
    }

    #[tokio::test]
    async fn silent_clients_keep_no_other_client_from_its_answer() {
        let (address, _server) = started().await;
        let start = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..4 * budget::MONITOR_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 OK\r\n"));
        // The oldest connection was closed to make room.
        assert_eq!(silent[0].read(&mut [0]).await.unwrap_or_default(), 0);
        assert!(start.elapsed() < budget::MONITOR_CONNECTION, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn malformed_and_endless_requests_harm_no_other_client() {
        let (address, _server) = started().await;
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8 * budget::MONITOR_HEAD));
        for sent in [&long, "\0\u{1}\r\n\r\n", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nx"]
        {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{sent:.50}");
        }
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_or_not_ours_is_named_with_the_reason() {
        let (taken, _server) = started().await;
        for (address, why) in [(taken, "something else"), ("192.0.2.1:9464".parse().unwrap(), "no address of this")] {
            let error = Listener::bind(address).await.unwrap_err().to_string();
            assert!(error.contains(&address.to_string()) && error.contains(why), "{error}");
        }
    }
}
