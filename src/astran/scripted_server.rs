//! A local HTTP server for the unit tests. A script decides what it does with each request, down to the bytes: it can also do what no
//! real server would.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

use super::{Client, ClientConfig, Credentials, Timeouts, UserCredentials};
use crate::secret::Source;

pub(super) const PASSWORD: &str = "pass word+&hidden";

/// A request that the server received.
#[derive(Debug, Clone)]
pub(super) struct RecordedRequest {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl RecordedRequest {
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

/// What the script has the server do.
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

/// Called with a request and all requests before it.
type Script = dyn FnMut(&RecordedRequest, &[RecordedRequest]) -> Reply + Send;

/// A running server; it stops when it is dropped.
pub(super) struct ScriptedServer {
    pub(super) url: Url,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ScriptedServer {
    /// Starts a server with a script.
    pub(super) async fn start(
        script: impl FnMut(&RecordedRequest, &[RecordedRequest]) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (requests, script) = (Arc::default(), Arc::new(Mutex::new(Box::new(script) as Box<Script>)));
        let task = tokio::spawn({
            let requests = Arc::clone(&requests);
            async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(socket, Arc::clone(&requests), Arc::clone(&script)));
                }
            }
        });
        Self { url, requests, task }
    }

    /// Starts a server that grants the token `t1`; the script decides about all other requests.
    pub(super) async fn with_login(mut script: impl FnMut(&RecordedRequest) -> Reply + Send + 'static) -> Self {
        Self::start(move |request, _| if request.is_token() { tokens("t1", "r1") } else { script(request) }).await
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn count(&self, which: impl Fn(&RecordedRequest) -> bool) -> usize {
        self.requests().iter().filter(|request| which(request)).count()
    }

    pub(super) fn client(&self) -> Client {
        self.client_with(Timeouts::default())
    }

    pub(super) fn client_with(&self, timeouts: Timeouts) -> Client {
        Client::new(ClientConfig { timeouts, ..config(&self.url) }).unwrap()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The configuration of a client of the server at this address.
pub(super) fn config(url: &Url) -> ClientConfig {
    let password = Source::Given(SecretString::from(PASSWORD.to_owned()));
    ClientConfig {
        realm: "r".into(),
        api_url: url.clone(),
        auth_url: url.clone(),
        content_type: "application/octet-stream".into(),
        ca_file: None,
        credentials: Credentials {
            client_id: "c".into(),
            client_secret: None,
            user: Some(UserCredentials { username: "u".into(), password }),
        },
        timeouts: Timeouts::default(),
        refused_logins: None,
    }
}

async fn serve<S>(mut socket: S, requests: Arc<Mutex<Vec<RecordedRequest>>>, script: Arc<Mutex<Box<Script>>>)
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut socket, &mut buffer).await {
        let reply = {
            let mut earlier = requests.lock().unwrap();
            let reply = script.lock().unwrap()(&request, &earlier);
            earlier.push(request);
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

async fn read_request<S: AsyncReadExt + Unpin>(socket: &mut S, buffer: &mut Vec<u8>) -> Option<RecordedRequest> {
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
    Some(RecordedRequest { method, target, headers, body })
}

/// Starts a server behind TLS, under the name `localhost`. Returns its port.
pub(super) async fn tls(
    acceptor: tokio_rustls::TlsAcceptor,
    script: impl FnMut(&RecordedRequest, &[RecordedRequest]) -> Reply + Send + 'static,
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
