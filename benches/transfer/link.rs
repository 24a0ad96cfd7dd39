//! The way to the service: TLS as a proxy in front of the service terminates it, near by or at a distance.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::support::World;

/// Bytes that are read or written in one go.
const PIECE: usize = 256 * 1024;
/// Pieces on their way through the delaying relay, each way. There is room for 25 ms at 10 GB/s: the relay does not limit the rate.
const UNDER_WAY: usize = 1024;

/// A TLS server that offers HTTP/2 and HTTP/1.1 and hands what it decrypts on to another server, which speaks both.
pub(crate) struct Link {
    pub(crate) url: String,
    pub(crate) ca_file: PathBuf,
    _runtime: Runtime,
}

impl Link {
    /// A link on which each byte takes `delay` longer, in both directions.
    pub(crate) fn start(world: &World, delay: Duration) -> Self {
        let sandbox = world.access.api_url.strip_prefix("http://").unwrap().parse().unwrap();
        Self::to(sandbox, world, delay)
    }

    /// The same to another server.
    pub(crate) fn to(server: SocketAddr, world: &World, delay: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca_file = world.dir.path().join("ca.pem");
        std::fs::write(&ca_file, own.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            builder.unwrap().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut outermost = runtime.block_on(terminate_tls(TlsAcceptor::from(Arc::new(config)), server));
        if !delay.is_zero() {
            outermost = runtime.block_on(relay_late(outermost, delay));
        }
        Self { url: format!("https://localhost:{}", outermost.port()), ca_file, _runtime: runtime }
    }

    /// Has the program take this link.
    pub(crate) fn lead(&self, command: &mut Command) {
        command.env("ASTRAN_BACKUP_API_URL", &self.url).env("ASTRAN_BACKUP_AUTH_URL", &self.url);
        command.env("ASTRAN_BACKUP_CA_FILE", &self.ca_file);
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

async fn terminate_tls(acceptor: TlsAcceptor, server: SocketAddr) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                socket.set_nodelay(true).unwrap();
                let mut outside = acceptor.accept(socket).await.unwrap();
                let mut inside = connect(server).await;
                // In whatever way either side ends.
                tokio::io::copy_bidirectional_with_sizes(&mut outside, &mut inside, PIECE, PIECE).await.ok();
            });
        }
    });
    address
}

/// Hands connections on to `behind`, each byte after `delay`.
async fn relay_late(behind: SocketAddr, delay: Duration) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((outside, _)) = listener.accept().await {
            outside.set_nodelay(true).unwrap();
            let (outside_reader, outside_writer) = outside.into_split();
            let (inside_reader, inside_writer) = connect(behind).await.into_split();
            tokio::spawn(copy_late(outside_reader, inside_writer, delay));
            tokio::spawn(copy_late(inside_reader, outside_writer, delay));
        }
    });
    address
}

/// Copies all bytes, each after `delay`, and then the end of the stream.
async fn copy_late(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, delay: Duration) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, bytes::Bytes)>(UNDER_WAY);
    tokio::spawn(async move {
        let mut buffer = bytes::BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            match from.read_buf(&mut buffer).await {
                Ok(1..) => {}
                // In whatever way the connection ends.
                Ok(0) | Err(_) => return,
            }
            if sender.send((Instant::now() + delay, buffer.split().freeze())).await.is_err() {
                return;
            }
        }
    });
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}
