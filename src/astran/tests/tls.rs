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
use crate::vault::DocumentId;
use crate::vault::{Kind, Vault, VaultError};

/// A TLS acceptor for `localhost`, and the certificate to trust.
fn acceptor(protocols: &[&[u8]]) -> (tokio_rustls::TlsAcceptor, tempfile::NamedTempFile) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), own.cert.pem()).unwrap();
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

/// Grants a token, or answers what it received.
#[cfg(feature = "sandbox")]
async fn over_http2(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let answer = if head.uri.path().ends_with("/token") {
        crate::astran::scripted_server::granted("t1", "r1")
    } else {
        let announced = head.headers["content-length"].to_str().unwrap_or_default().to_owned();
        format!(r#"{{"ID":"{:?}","name":"{announced}","size":{}}}"#, head.version, body.len())
    };
    Ok(hyper::Response::new(Full::new(Bytes::from(answer))))
}

#[cfg(feature = "sandbox")]
#[tokio::test]
async fn http2_is_used_over_tls_where_the_service_can() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (acceptor, file) = acceptor(&[b"h2", b"http/1.1"]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
    let config = ClientConfig { ca_file: Some(file.path().to_owned()), ..config(&url) };
    tokio::spawn(async move {
        loop {
            let socket = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                server.serve_connection(TokioIo::new(socket), hyper::service::service_fn(over_http2)).await.unwrap();
            });
        }
    });
    let client = Client::new(config).unwrap();
    let stored = upload(&client).await.unwrap();
    assert_eq!((stored.id.0.as_str(), stored.name.as_deref(), stored.size), ("HTTP/2.0", Some("5"), Some(5)));
    let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(bytes(6, b"hello"))).await.unwrap_err();
    assert!(error.kind == Kind::Content && !error.maybe_stored, "{error:?}");
    assert_eq!(upload(&client).await.unwrap().size, Some(5), "the connection survives it");
}
