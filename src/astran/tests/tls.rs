#[cfg(feature = "sandbox")]
use bytes::Bytes;
#[cfg(feature = "sandbox")]
use http_body_util::{BodyExt, Full};
use url::Url;

#[cfg(feature = "sandbox")]
use super::{bytes, upload};
use crate::astran::scripted_server::{config, json, tls, tokens};
use crate::astran::{Client, ClientConfig};
#[cfg(feature = "sandbox")]
use crate::vault::{DocumentId, Download, RemotePath};
use crate::vault::{Kind, Vault, VaultError};

/// A TLS acceptor for `localhost`, and the certificate to trust.
fn acceptor(protocols: &[&[u8]]) -> (tokio_rustls::TlsAcceptor, tempfile::NamedTempFile) {
    acceptor_of(&rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap(), protocols)
}

/// A TLS acceptor with a certificate like this, signed by itself, and the certificate to trust.
pub(super) fn acceptor_of(
    certificate: &rcgen::CertificateParams,
    protocols: &[&[u8]],
) -> (tokio_rustls::TlsAcceptor, tempfile::NamedTempFile) {
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = certificate.self_signed(&signing_key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cert.pem()).unwrap();
    (tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)), file)
}

#[tokio::test]
async fn certificates_of_the_ca_file_are_trusted() {
    let (acceptor, file) = acceptor(&[]);
    let port = tls(acceptor, |request, _| {
        if request.is_token() { tokens("t1", "r1") } else { json(200, r#"{"member":{"rootDocumentId":1}}"#) }
    })
    .await;
    let untrusted = config(&Url::parse(&format!("https://localhost:{port}")).unwrap());
    let error = match Client::new(untrusted.clone()) {
        Ok(client) => client.probe().await.unwrap_err(),
        // A machine without any certificates of its own.
        Err(_) => VaultError::new(Kind::Unavailable, "service.ca_file"),
    };
    assert!(error.kind == Kind::Unavailable && error.message.contains("service.ca_file"), "{error}");
    let trusted = ClientConfig { ca_file: Some(file.path().to_owned()), ..untrusted };
    assert_eq!(Client::new(trusted).unwrap().probe().await.unwrap(), "u");
}

/// Grants a token, or answers over which version of HTTP it received how much; notes each path with its version.
#[cfg(feature = "sandbox")]
async fn answer(request: hyper::Request<hyper::body::Incoming>, seen: Seen) -> Result<Answer, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    seen.lock().unwrap().push((head.uri.path().to_owned(), head.version));
    let answer = if head.uri.path().ends_with("/token") {
        crate::astran::scripted_server::granted("t1", "r1")
    } else if head.method == hyper::Method::GET {
        format!("{:?}", head.version)
    } else {
        let announced = head.headers["content-length"].to_str().unwrap_or_default().to_owned();
        format!(r#"{{"ID":"{:?}","name":"{announced}","size":{}}}"#, head.version, body.len())
    };
    Ok(hyper::Response::new(Full::new(Bytes::from(answer))))
}

#[cfg(feature = "sandbox")]
type Answer = hyper::Response<Full<Bytes>>;
/// The path and the version of each request.
#[cfg(feature = "sandbox")]
type Seen = std::sync::Arc<std::sync::Mutex<Vec<(String, hyper::Version)>>>;

/// A client of a TLS server that offers these protocols, and what that server sees.
#[cfg(feature = "sandbox")]
async fn client_of(protocols: &[&[u8]]) -> (Client, Seen) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (acceptor, file) = acceptor(protocols);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
    let seen = Seen::default();
    let seen_here = Seen::clone(&seen);
    tokio::spawn(async move {
        loop {
            // A client that is offered none of its protocols leaves here.
            let Ok(socket) = acceptor.accept(listener.accept().await.unwrap().0).await else { continue };
            let (server, seen) = (hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()), seen.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request| answer(request, Seen::clone(&seen)));
                // In HTTP/1.1 a client that breaks off ends its connection.
                server.serve_connection(TokioIo::new(socket), service).await.ok();
            });
        }
    });
    let client = Client::new(ClientConfig { ca_file: Some(file.path().to_owned()), ..config(&url) }).unwrap();
    (client, seen_here)
}

/// Regression: an upload over HTTP/2 moved one of the server's windows in each round trip, and all uploads shared one connection.
#[cfg(feature = "sandbox")]
#[tokio::test]
async fn content_goes_over_http1_and_small_calls_go_over_http2_where_the_service_offers_both() {
    let (client, seen) = client_of(&[b"h2", b"http/1.1"]).await;
    let stored = upload(&client).await.unwrap();
    assert_eq!((stored.id.0.as_str(), stored.name.as_deref(), stored.size), ("HTTP/1.1", Some("5"), Some(5)));
    let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(bytes(6, b"hello"))).await.unwrap_err();
    assert!(error.kind == Kind::Content && !error.maybe_stored, "{error:?}");
    assert_eq!(upload(&client).await.unwrap().size, Some(5));
    let mut download = client.download(&RemotePath::parse("/a").unwrap()).await.unwrap();
    assert_eq!(download.chunk().await.unwrap().unwrap(), "HTTP/1.1");
    client.probe().await.unwrap_err();
    for (path, version) in &*seen.lock().unwrap() {
        let small = path.ends_with("/token") || path.ends_with("/me");
        assert_eq!(*version == hyper::Version::HTTP_2, small, "{path} {version:?}");
    }
}

/// Where HTTP/1.1 is refused, nothing is lost but speed.
#[cfg(feature = "sandbox")]
#[tokio::test]
async fn content_goes_over_http2_where_the_service_speaks_nothing_else() {
    let (client, seen) = client_of(&[b"h2"]).await;
    let (first, second) = tokio::join!(upload(&client), upload(&client));
    assert_eq!((first.unwrap().id.0.as_str(), second.unwrap().id.0.as_str()), ("HTTP/2.0", "HTTP/2.0"));
    let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(bytes(6, b"hello"))).await.unwrap_err();
    assert!(error.kind == Kind::Content && !error.maybe_stored, "{error:?}");
    assert_eq!(upload(&client).await.unwrap().size, Some(5), "the connection survives it");
    let (client, _) = client_of(&[b"h2"]).await;
    let mut download = client.download(&RemotePath::parse("/a").unwrap()).await.unwrap();
    assert_eq!(download.chunk().await.unwrap().unwrap(), "HTTP/2.0");
    assert!(seen.lock().unwrap().iter().all(|(_, version)| *version == hyper::Version::HTTP_2));
}
