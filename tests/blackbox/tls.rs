//! TLS: certificate authorities of one's own, HTTP/2, and what a certificate that is not trusted leads to.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use tokio_rustls::TlsAcceptor;

use crate::support::{Output, World, run_to_end};

/// Terminates TLS in front of a sandbox, as a proxy does.
struct Terminator {
    port: u16,
    /// The protocols that were negotiated with each client.
    agreed: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl Terminator {
    /// Starts in front of the world's sandbox; the certificate for `localhost` lies in `ca.pem` beside the watched folder.
    fn start(world: &World, protocols: &[&[u8]]) -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(world.dir.path().join("ca.pem"), own.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            builder.unwrap().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let agreed = Arc::<Mutex<Vec<_>>>::default();
        let behind = world.access.api_url.strip_prefix("http://").unwrap().split('/').next().unwrap().parse().unwrap();
        let take = take(listener, TlsAcceptor::from(Arc::new(config)), behind, Arc::clone(&agreed));
        world.runtime.spawn(take);
        Self { port, agreed }
    }

    /// Runs the binary against this server.
    fn run(&self, world: &World, prefix: &str, ca_file: Option<&str>, arguments: &[&str]) -> Output {
        let url = format!("https://localhost:{}{prefix}", self.port);
        let mut command = world.command();
        command.env("ASTRAN_BACKUP_API_URL", &url).env("ASTRAN_BACKUP_AUTH_URL", &url).args(arguments);
        if let Some(ca_file) = ca_file {
            command.args(["--ca-file", ca_file]);
        }
        run_to_end(&mut command)
    }

    fn agreed(&self) -> Vec<Option<Vec<u8>>> {
        self.agreed.lock().unwrap().clone()
    }
}

async fn take(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    behind: SocketAddr,
    agreed: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, agreed) = (acceptor.clone(), Arc::clone(&agreed));
        tokio::spawn(async move {
            // A client that does not trust the certificate leaves here.
            let Ok(mut outside) = acceptor.accept(socket).await else { return };
            agreed.lock().unwrap().push(outside.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
            let mut inside = tokio::net::TcpStream::connect(behind).await.unwrap();
            // In whatever way either side ends.
            tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok();
        });
    }
}

#[test]
fn content_goes_over_http_1_small_calls_over_http_2_and_an_own_authority_is_trusted_where_named() {
    let world = World::new();
    for file in 0..20 {
        world.put(file.to_string(), vec![7; 50_000]);
    }
    let terminator = Terminator::start(&world, &[b"h2", b"http/1.1"]);
    let output = terminator.run(&world, "", Some("ca.pem"), &["watch", "watched", "--once", "--settle", "50ms"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 20);
    let agreed = terminator.agreed();
    let connections = |protocol: &[u8]| agreed.iter().filter(|agreed| agreed.as_deref() == Some(protocol)).count();
    assert!(connections(b"h2") >= 1, "{agreed:?}");
    assert_eq!(connections(b"h2") + connections(b"http/1.1"), agreed.len(), "{agreed:?}");
    // No more than one for each upload.
    assert!((1..=20).contains(&connections(b"http/1.1")), "{agreed:?}");
}

#[test]
fn content_goes_over_http_2_where_the_service_speaks_nothing_else() {
    let world = World::new();
    for file in 0..20 {
        world.put(file.to_string(), vec![7; 50_000]);
    }
    let terminator = Terminator::start(&world, &[b"h2"]);
    let output = terminator.run(&world, "", Some("ca.pem"), &["watch", "watched", "--once", "--settle", "50ms"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 20);
    let output = terminator.run(&world, "", Some("ca.pem"), &["get", "/HR_Backup/7", "-o", "again"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(std::fs::read(world.dir.path().join("again")).unwrap(), vec![7; 50_000]);
}

#[test]
fn http_1_is_spoken_where_the_service_knows_nothing_else() {
    let world = World::new();
    world.put("file", "content");
    let terminator = Terminator::start(&world, &[]);
    let output = terminator.run(&world, "", Some("ca.pem"), &["push", "watched"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/file").unwrap(), b"content");
    assert!(terminator.agreed().iter().all(Option::is_none));
}

#[test]
fn an_untrusted_certificate_ends_with_5_and_names_the_setting() {
    let world = World::new();
    let terminator = Terminator::start(&world, &[]);
    let output = terminator.run(&world, "", None, &["ls"]);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.stderr.contains("certificate") && output.stderr.contains("ca_file"), "{output:?}");
    assert!(terminator.agreed().is_empty(), "nothing was sent");
}

#[test]
fn a_path_in_front_of_the_addresses_is_kept() {
    let world = World::with(|options| options.prefix = "/behind/a%20proxy".into());
    world.put("file", "content");
    assert_eq!(world.run(["push", "watched"]).code, Some(0));
    let terminator = Terminator::start(&world, &[b"h2"]);
    let output = terminator.run(&world, "/behind/a%20proxy/", Some("ca.pem"), &["ls", "/HR_Backup"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("file"), "{output:?}");
}

#[test]
fn a_password_is_never_sent_in_the_clear_to_another_machine() {
    let world = World::new();
    let output = run_to_end(world.command().env("ASTRAN_BACKUP_AUTH_URL", "http://auth.example.com").args(["ls"]));
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("https"), "{output:?}");
}
