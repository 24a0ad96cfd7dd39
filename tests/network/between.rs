//! A small server between the program and the sandbox: it passes requests on, or does what the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{World, run_to_end};

/// A request as received.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path with the query.
    pub(crate) path: String,
    /// All lines before the body.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn is_login(&self) -> bool {
        self.path.ends_with("/token")
    }

    pub(crate) fn is_upload(&self) -> bool {
        self.method == "POST" && self.path.contains("/children?")
    }

    pub(crate) fn is_listing(&self) -> bool {
        self.method == "GET" && self.path.contains("/children")
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim())
    }

    fn read(from: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(from);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let mut words = head.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut request = Self { method, path, head, body: Vec::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }
}

/// What happens to a request: it is passed on, or the test answers it on this connection.
pub(crate) enum Done {
    HandOn,
    Answered,
}

type Meddle = dyn Fn(&Request, &mut TcpStream) -> Done + Send + Sync;

/// The running server; it ends with the test's process.
pub(crate) struct Between {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    honest: Arc<AtomicBool>,
}

impl Between {
    /// Starts in front of a world's sandbox.
    pub(crate) fn start(
        world: &World,
        meddle: impl Fn(&Request, &mut TcpStream) -> Done + Send + Sync + 'static,
    ) -> Self {
        let sandbox = sandbox_of(world);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, meddle): (Arc<Mutex<Vec<Request>>>, Arc<Meddle>) = (Arc::default(), Arc::new(meddle));
        let (seen, honest) = (Arc::clone(&requests), Arc::new(AtomicBool::new(false)));
        let is_honest = Arc::clone(&honest);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (seen, meddle) = (Arc::clone(&seen), Arc::clone(&meddle));
                let honest = is_honest.load(Ordering::SeqCst);
                std::thread::spawn(move || {
                    if honest {
                        serve(client, sandbox, &seen, &|_, _| Done::HandOn);
                    } else {
                        serve(client, sandbox, &seen, &*meddle);
                    }
                });
            }
        });
        Self { address, requests, honest }
    }

    /// Runs the binary through this server, which passes all requests on; the run must succeed.
    #[track_caller]
    pub(crate) fn honestly(&self, world: &World, arguments: &[&str]) {
        self.honest.store(true, Ordering::SeqCst);
        let ended = run_to_end(self.command(world).args(arguments));
        self.honest.store(false, Ordering::SeqCst);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The binary, with this server as the service.
    pub(crate) fn command(&self, world: &World) -> Command {
        let mut command = world.command();
        for variable in ["ASTRAN_BACKUP_API_URL", "ASTRAN_BACKUP_AUTH_URL"] {
            command.env(variable, format!("http://{}", self.address));
        }
        command
    }
}

/// The address of a world's sandbox.
pub(crate) fn sandbox_of(world: &World) -> SocketAddr {
    world.access.api_url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Serves one request on each connection; the test decides about each.
fn serve(mut client: TcpStream, sandbox: SocketAddr, seen: &Mutex<Vec<Request>>, meddle: &Meddle) {
    client.set_nodelay(true).unwrap();
    let Some(request) = Request::read(&client) else { return };
    seen.lock().unwrap().push(request.clone());
    if matches!(meddle(&request, &mut client), Done::HandOn) {
        // The client may be gone already, which is fine.
        client.write_all(&hand_on(sandbox, &request)).ok();
    }
}

/// Sends a request to the sandbox; returns its answer.
pub(crate) fn hand_on(sandbox: SocketAddr, request: &Request) -> Vec<u8> {
    let mut service = TcpStream::connect(sandbox).unwrap();
    let head = request.head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    service.write_all(head.as_bytes()).unwrap();
    service.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    service.read_to_end(&mut answer).unwrap();
    answer
}

/// Writes a whole answer.
pub(crate) fn answer(to: &mut TcpStream, status: &str, content_type: &str, body: &[u8]) -> Done {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    // The client may leave before it has read all.
    to.write_all(head.as_bytes()).and_then(|()| to.write_all(body)).ok();
    Done::Answered
}

/// Writes an answer with JSON.
pub(crate) fn json(to: &mut TcpStream, status: &str, body: &str) -> Done {
    answer(to, status, "application/json", body.as_bytes())
}
