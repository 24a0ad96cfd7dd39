//! What a person reads where the service can't be reached; each failure is really caused.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use insta::assert_snapshot;
use rcgen::{CertificateParams, date_time_ymd};
use url::Url;

use super::tls::acceptor_of;
use crate::astran::scripted_server::{Reply, ScriptedServer, config, json, tls};
use crate::astran::{Client, ClientConfig, Timeouts};

/// What is said of an address, with the port as `PORT`.
async fn said(url: &str, change: impl FnOnce(ClientConfig) -> ClientConfig) -> String {
    let url = Url::parse(url).unwrap();
    let why = Client::new(change(config(&url))).unwrap().reach_api().await.result.unwrap_err();
    url.port().map_or(why.clone(), |port| why.replace(&port.to_string(), "PORT"))
}

/// What is said of a server for `localhost` whose certificate is like this; it is trusted where `is_trusted`.
async fn said_of(certificate: &CertificateParams, is_trusted: bool) -> String {
    let (acceptor, own) = acceptor_of(certificate, &[]);
    let mut others = CertificateParams::new(["other.example".to_owned()]).unwrap();
    others.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    let (_, other) = acceptor_of(&others, &[]);
    let port = tls(acceptor, |_, _| json(200, "{}")).await;
    let ca_file = if is_trusted { own.path() } else { other.path() }.to_owned();
    said(&format!("https://localhost:{port}"), |config| ClientConfig { ca_file: Some(ca_file), ..config }).await
}

/// The address of a server that does this with each connection, on a thread of its own.
fn server(scheme: &str, mut answer: impl FnMut(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(&mut answer));
    format!("{scheme}://localhost:{}", address.port())
}

#[tokio::test]
async fn no_server_at_the_address() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_snapshot!(said(&format!("http://{closed}"), |config| config).await, @"can't reach 127.0.0.1:PORT: the connection is refused; does a server run there, and are the address and its port right?");
    assert_snapshot!(said("https://nosuch.invalid", |config| config).await, @"can't reach nosuch.invalid: the name can't be resolved; is it right, and does this machine have a network and a name server (DNS)?");
    let timeouts = Timeouts { connect: Duration::from_millis(100), ..Timeouts::default() };
    let mut held = Vec::new();
    let silent = server("https", move |stream| held.push(stream));
    assert_snapshot!(said(&silent, |config| ClientConfig { timeouts, ..config }).await, @"can't reach localhost:PORT: no connection came about in time; is the address right, and does a firewall stand in between, or a proxy that this machine must use (HTTPS_PROXY)?");
}

#[tokio::test]
async fn a_server_that_is_another_one() {
    let garbage = server("http", |mut stream| {
        let _request = stream.read(&mut [0; 1000]).unwrap();
        stream.write_all(b"500 unknown command\r\n").unwrap();
    });
    assert_snapshot!(said(&garbage, |config| config).await, @"what answers there does not speak HTTP; are the address and its port right?");
    let plain = server("https", |mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    assert_snapshot!(said(&plain, |config| config).await, @"can't reach localhost:PORT: no TLS is spoken there; are the address and its port right?");
    assert_snapshot!(said(&server("https", drop), |config| config).await, @"can't reach localhost:PORT: the connection was closed while it was set up; is the port right, and does a firewall or proxy stand in between?");
    let hangs_up = ScriptedServer::start(|_, _| Reply::Close).await;
    assert_snapshot!(said(hangs_up.url.as_str(), |config| config).await, @"the server closed the connection before its answer was complete");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted() {
    let localhost = || CertificateParams::new(["localhost".to_owned()]).unwrap();
    assert_snapshot!(said_of(&localhost(), false).await, @"can't reach localhost:PORT: the server's certificate is from an authority that this machine does not trust; if that authority is your own, name its certificate in service.ca_file (--ca-file)");
    let mut expired = localhost();
    expired.not_after = date_time_ymd(2020, 2, 1);
    assert_snapshot!(said_of(&expired, true).await, @"can't reach localhost:PORT: the server's certificate expired on 2020-02-01T00:00:00Z; have it renewed, and see that this machine's clock is right");
    let mut early = localhost();
    early.not_before = date_time_ymd(2090, 2, 1);
    assert_snapshot!(said_of(&early, true).await, @"can't reach localhost:PORT: the server's certificate is not valid before 2090-02-01T00:00:00Z; is this machine's clock right?");
    let other = CertificateParams::new(["a.example".to_owned(), "b.example".to_owned()]).unwrap();
    assert_snapshot!(said_of(&other, true).await, @"can't reach localhost:PORT: the server's certificate is for a.example, b.example; is the address right?");
}
