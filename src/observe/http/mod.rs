//! `[daemon] listen`: metrics and readiness over plain HTTP, for those who watch the daemon.
//!
//! It only reads what others count and know, and whatever clients do, it is the clients' own loss: each has one request and
//! a few seconds, and the oldest makes room for the newest. Nothing here is ever waited for by an upload.

mod answer;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::budget;
use crate::exit::{Exit, Fatal};
use crate::observe::health::Health;
use crate::observe::metrics::Metrics;

/// Before connections are taken again after that has failed: for want of descriptors mostly, and uploads come first.
const PAUSE: Duration = Duration::from_secs(1);

/// Who listens, and does not answer yet.
#[derive(Debug)]
pub struct Monitor(TcpListener);

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Answering(#[allow(dead_code, reason = "its end is what it is kept for")] JoinSet<()>);

/// What is told.
#[derive(Debug)]
struct Told {
    health: Health,
    metrics: Metrics,
    allowed_hosts: Vec<String>,
}

impl Monitor {
    /// Takes the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, Fatal> {
        TcpListener::bind(address).await.map(Self).map_err(|error| {
            let (why, mend) = reason(&error);
            let message = format!("listen = \"{address}\" in [daemon] can't be used: {why}; {mend}");
            Fatal::new(Exit::Usage, message)
        })
    }

    /// Answers from now on.
    pub fn start(self, health: Health, metrics: Metrics, allowed_hosts: Vec<String>) -> Answering {
        match self.0.local_addr() {
            Ok(address) if !address.ip().is_loopback() => tracing::warn!(
                "metrics and readiness are at http://{address}/metrics and /readyz, for everybody who can reach this machine"
            ),
            Ok(address) => tracing::info!("metrics and readiness are at http://{address}/metrics and /readyz"),
            Err(error) => tracing::warn!("metrics and readiness are at an address that can't be told: {error}"),
        }
        let mut answering = JoinSet::new();
        answering.spawn(listen(self.0, Arc::new(Told { health, metrics, allowed_hosts })));
        Answering(answering)
    }
}

fn reason(error: &io::Error) -> (String, &'static str) {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ("something else listens there already".into(), "end that, or give another port, or take the key out")
        }
        io::ErrorKind::AddrNotAvailable => {
            ("it is no address of this machine".into(), "give one, such as 127.0.0.1:9464, or take the key out")
        }
        _ => (error.to_string(), "give another address, or take the key out"),
    }
}

async fn listen(listener: TcpListener, told: Arc<Told>) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A panic ends its connection, and nothing else.
                while connections.try_join_next().is_some() {}
                oldest_first.retain(|connection| !connection.is_finished());
                if oldest_first.len() >= budget::MONITOR_CONNECTIONS
                    && let Some(oldest) = oldest_first.pop_front()
                {
                    oldest.abort();
                }
                oldest_first.push_back(connections.spawn(serve(stream, Arc::clone(&told))));
            }
            Err(error) => {
                tracing::debug!("a connection to the metrics can't be taken: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, told: Arc<Told>) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        // What is no text is no name either.
        let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
        let answer = if answer::is_for_us(host, &told.allowed_hosts) {
            answer::answer(request.method(), request.uri().path(), &told.health, &told.metrics)
        } else {
            answer::not_for_us()
        };
        std::future::ready(Ok::<_, Infallible>(answer))
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

    async fn started() -> (SocketAddr, Answering) {
        let monitor = Monitor::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = monitor.0.local_addr().unwrap();
        let health = Health::default();
        (address, monitor.start(health.clone(), Metrics::new(&health), vec!["monitor.example".into()]))
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn one_request_is_answered_and_the_connection_is_over() {
        let (address, _answering) = started().await;
        let answer = get(address, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("alive\n"), "{answer}");
    }

    /// Regression: a page of another site could read it through the browser of somebody on this machine.
    #[tokio::test]
    async fn a_request_for_another_sites_name_is_refused() {
        let (address, _answering) = started().await;
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
    async fn who_says_nothing_or_never_ends_his_request_is_dropped() {
        let (address, _answering) = started().await;
        for said in ["", "GET /metrics HTTP/1.1\r\nHost: "] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let start = Instant::now();
            // Cut, with or without a word.
            stream.read_to_end(&mut Vec::new()).await.ok();
            assert!(start.elapsed() <= budget::MONITOR_CONNECTION + Duration::from_millis(1), "{:?}", start.elapsed());
        }
    }

    #[tokio::test]
    async fn any_number_of_silent_clients_keeps_nobody_from_an_answer() {
        let (address, _answering) = started().await;
        let start = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..4 * budget::MONITOR_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 OK\r\n"));
        // The first of them made room.
        assert_eq!(silent[0].read(&mut [0]).await.unwrap_or_default(), 0);
        assert!(start.elapsed() < budget::MONITOR_CONNECTION, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_request_with_a_body_or_a_head_without_end_or_of_nonsense_harms_nobody() {
        let (address, _answering) = started().await;
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8 * budget::MONITOR_HEAD));
        for said in [&long, "\0\u{1}\r\n\r\n", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nx"]
        {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{said:.50}");
        }
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_or_not_ours_is_a_usage_error_that_says_so() {
        let (taken, _answering) = started().await;
        for (address, why) in [(taken, "something else"), ("192.0.2.1:9464".parse().unwrap(), "no address of this")] {
            let fatal = Monitor::bind(address).await.unwrap_err();
            assert_eq!(fatal.exit, Exit::Usage);
            assert!(fatal.message.contains(&address.to_string()) && fatal.message.contains(why), "{fatal}");
        }
    }
}
