//! A relay between the program and a server, which delays, stands still, cuts connections, or loses answers.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A relay on a port of its own. Its threads end with the process.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    to: String,
    /// One way, in microseconds.
    delay: AtomicU64,
    /// Nothing passes, in either direction, and no connection ends: a network that is cut in two.
    is_partitioned: AtomicBool,
    /// What the server says is thrown away.
    loses_answers: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A relay to this server, which lets everything pass at first.
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inner = Arc::new(Inner {
            to: server.to_owned(),
            delay: AtomicU64::new(0),
            is_partitioned: AtomicBool::new(false),
            loses_answers: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let proxy = Self { address: listener.local_addr().unwrap(), inner };
        let accepting = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accepting.relay(client);
            }
        });
        proxy
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on each byte takes this long, in each direction.
    pub fn delay(&self, one_way: Duration) {
        self.inner.delay.store(u64::try_from(one_way.as_micros()).unwrap(), Ordering::Relaxed);
    }

    pub fn partition(&self, is_partitioned: bool) {
        self.inner.is_partitioned.store(is_partitioned, Ordering::Relaxed);
    }

    pub fn lose_answers(&self, loses_answers: bool) {
        self.inner.loses_answers.store(loses_answers, Ordering::Relaxed);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        for stream in self.inner.open.lock().unwrap().drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    fn relay(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.inner.to) else { return };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        self.inner.open.lock().unwrap().extend(both);
        self.copy(client.try_clone().unwrap(), server.try_clone().unwrap(), false);
        self.copy(server, client, true);
    }

    /// Copies one direction, in two threads: one reads, one writes what is due.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let (chunks, due) = mpsc::channel::<(Instant, Vec<u8>)>();
        let reading = Arc::clone(&self.inner);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let delay = Duration::from_micros(reading.delay.load(Ordering::Relaxed));
                let is_lost = is_answer && reading.loses_answers.load(Ordering::Relaxed);
                if !is_lost && chunks.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
        });
        let writing = Arc::clone(&self.inner);
        thread::spawn(move || {
            for (at, chunk) in due {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                while writing.is_partitioned.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                if to.write_all(&chunk).is_err() {
                    break;
                }
            }
            to.shutdown(Shutdown::Both).ok();
        });
    }
}
