//! A proxy from the environment gets no request to this machine itself: a login over plain http would give it the password.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{World, run_to_end};

/// A proxy that counts its connections.
fn trap() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (format!("http://{address}"), count)
}

/// docs/proxies.md lists these variables.
#[test]
fn a_service_elsewhere_is_reached_through_the_proxy_of_each_variable() {
    let world = World::new();
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let (proxy, connections) = trap();
        let mut command = world.command();
        for address in ["ASTRAN_BACKUP_API_URL", "ASTRAN_BACKUP_AUTH_URL"] {
            command.env(address, "https://service.example");
        }
        let ended = run_to_end(command.env(variable, &proxy).arg("ls"));
        assert_eq!(ended.code, Some(5), "{variable}: {ended:?}");
        assert!(connections.load(Ordering::SeqCst) > 0, "{variable}: {ended:?}");
    }
}

/// Regression: the password went to the proxy.
#[test]
fn requests_to_this_machine_go_to_no_proxy() {
    let (proxy, connections) = trap();
    let mut hosts = vec![("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("127.0.0.2", "127.0.0.2")];
    if UdpSocket::bind("[::1]:0").is_ok() {
        hosts.push(("[::1]", "[::1]"));
    }
    for (listen, host) in hosts {
        let world = World::with(|options| options.listen = format!("{listen}:0").parse().unwrap());
        let port = world.access.api_url.rsplit(':').next().unwrap().to_owned();
        for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"] {
            let mut command = world.command();
            for address in ["ASTRAN_BACKUP_API_URL", "ASTRAN_BACKUP_AUTH_URL"] {
                command.env(address, format!("http://{host}:{port}"));
            }
            let ended = run_to_end(command.env(variable, &proxy).arg("ls"));
            assert_eq!(ended.code, Some(0), "{host} {variable}: {ended:?}");
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}
