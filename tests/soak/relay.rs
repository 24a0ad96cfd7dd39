//! A relay between the program and the store, which can fail as networks do. The store itself never stops, so at the end it knows all
//! that it took.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};

/// What happens to all open connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cut {
    /// Both sides are closed.
    Both,
    /// The program's side is closed; what was sent goes on to the store, which may store it seconds later.
    Client,
}

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
    cuts: broadcast::Sender<Cut>,
}

impl Relay {
    pub(crate) fn start(runtime: &Runtime, store: SocketAddr) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        let (cuts, _) = broadcast::channel(64);
        runtime.spawn(serve(listener, store, is_open, cuts.clone()));
        Self { address, open, cuts }
    }

    /// From now on nothing listens at the address, as if the service had stopped.
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
        self.cut(Cut::Both);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn cut(&self, cut: Cut) {
        // Without a connection nothing receives the message.
        self.cuts.send(cut).ok();
    }
}

async fn serve(first: TcpListener, store: SocketAddr, mut open: watch::Receiver<bool>, cuts: broadcast::Sender<Cut>) {
    let address = first.local_addr().unwrap();
    let mut listener = Some(first);
    loop {
        let here = match listener.take() {
            Some(here) => here,
            None => bind(address).await,
        };
        loop {
            tokio::select! {
                client = here.accept() => {
                    if let Ok((client, _)) = client {
                        tokio::spawn(relay(client, store, cuts.subscribe()));
                    }
                }
                closed = open.wait_for(|open| !open) => {
                    if closed.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
        drop(here);
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
    }
}

/// Binds the port again, with tries: another program's connection may have the port for a moment.
async fn bind(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn relay(mut client: TcpStream, store: SocketAddr, mut cuts: broadcast::Receiver<Cut>) {
    let Ok(mut upstream) = TcpStream::connect(store).await else { return };
    client.set_nodelay(true).ok();
    upstream.set_nodelay(true).ok();
    let cut = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut upstream) => return,
        cut = cuts.recv() => cut,
    };
    drop(client);
    if cut == Ok(Cut::Client) {
        // The store reads what is under way; its answer is dropped.
        let mut nowhere = tokio::io::sink();
        let reading = copy(&mut upstream, &mut nowhere);
        tokio::time::timeout(Duration::from_secs(10), reading).await.ok();
    }
    upstream.shutdown().await.ok();
}
