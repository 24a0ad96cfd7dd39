//! A service for the tests that does as a script says, down to the bytes: also what no HTTP server would do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

use super::{Client, Timeouts};
use crate::config::{Grant, Login, Service};
use crate::secret::Source;

pub(super) const PASSWORD: &str = "pass word+&hidden";

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn is_token(&self) -> bool {
        self.target.ends_with("/protocol/openid-connect/token")
    }

    pub(super) fn form(&self) -> HashMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(super) fn bearer(&self) -> &str {
        self.headers.get("authorization").map_or("", |v| v.strip_prefix("Bearer ").unwrap_or(v))
    }
}

/// What the script wants done.
pub(super) enum Reply {
    Json(u16, String),
    Raw(String),
    /// Reads the request whole, then hangs up.
    Close,
    /// Never answers.
    Hang,
    /// A head, then a byte of body every ten milliseconds, for ever: never silent, never done.
    Drip,
    /// Answers once the permit comes.
    After(Arc<tokio::sync::Notify>, String),
}

pub(super) fn json(status: u16, body: &str) -> Reply {
    Reply::Json(status, body.to_owned())
}

/// A token answer.
pub(super) fn tokens(access: &str, refresh: &str) -> Reply {
    Reply::Json(200, granted(access, refresh))
}

pub(super) fn granted(access: &str, refresh: &str) -> String {
    format!(
        r#"{{"access_token":"{access}","expires_in":300,"refresh_expires_in":1800,"refresh_token":"{refresh}","token_type":"Bearer"}}"#
    )
}

type Script = dyn FnMut(&Seen, &[Seen]) -> Reply + Send;

/// The service under way.
pub(super) struct Fake {
    pub(super) url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    /// A service that answers as the script says; it is given the request and all before it.
    pub(super) async fn start(script: impl FnMut(&Seen, &[Seen]) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (seen, script) = (Arc::default(), Arc::new(Mutex::new(Box::new(script) as Box<Script>)));
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(socket, Arc::clone(&seen), Arc::clone(&script)));
                }
            }
        });
        Self { url, seen, task }
    }

    /// A service that grants `t1` and leaves the rest to the script.
    pub(super) async fn with_login(mut script: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::start(move |seen, _| if seen.is_token() { tokens("t1", "r1") } else { script(seen) }).await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self, what: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|s| what(s)).count()
    }

    pub(super) fn client(&self) -> Client {
        self.client_with(Timeouts::default())
    }

    pub(super) fn client_with(&self, timeouts: Timeouts) -> Client {
        Client::with_timeouts(&service(&self.url), &login(), timeouts).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn service(url: &Url) -> Service {
    Service {
        realm: "r".into(),
        api_url: url.clone(),
        auth_url: url.clone(),
        content_type: "application/octet-stream".into(),
        ca_file: None,
    }
}

pub(super) fn login() -> Login {
    let password = Source::Given(SecretString::from(PASSWORD.to_owned()));
    let grant = Grant::Password { username: "u".into(), password };
    Login { client_id: "c".into(), client_secret: None, grant }
}

async fn serve<S>(mut socket: S, all: Arc<Mutex<Vec<Seen>>>, script: Arc<Mutex<Box<Script>>>)
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut socket, &mut buffer).await {
        let reply = {
            let mut all = all.lock().unwrap();
            let reply = script.lock().unwrap()(&seen, &all);
            all.push(seen);
            reply
        };
        let text = match reply {
            Reply::Json(status, body) => response(status, &body),
            Reply::Raw(text) => text,
            Reply::Close => return,
            Reply::Hang => std::future::pending().await,
            Reply::Drip => return drip(&mut socket).await,
            Reply::After(permit, body) => {
                permit.notified().await;
                response(200, &body)
            }
        };
        if socket.write_all(text.as_bytes()).await.is_err() || text.contains("Connection: close") {
            return;
        }
    }
}

async fn drip(socket: &mut (impl AsyncWriteExt + Unpin)) {
    let mut piece = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
    while socket.write_all(piece.as_bytes()).await.is_ok() {
        piece = " ";
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub(super) fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn read_request<S: AsyncReadExt + Unpin>(socket: &mut S, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |v| v.parse().unwrap());
    while buffer.len() < head_end + length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Some(Seen { method, target, headers, body })
}

/// The same service behind TLS, under `localhost`. Returns its port.
pub(super) async fn tls(
    acceptor: tokio_rustls::TlsAcceptor,
    script: impl FnMut(&Seen, &[Seen]) -> Reply + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Arc::new(Mutex::new(Box::new(script) as Box<Script>));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
            tokio::spawn(async move {
                if let Ok(socket) = acceptor.accept(socket).await {
                    serve(socket, Arc::default(), script).await;
                }
            });
        }
    });
    port
}
