use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use url::Url;

use super::fake::{Fake, Reply, Seen, json, login, response, service, tls, tokens};
use super::{Client, Timeouts};
use crate::vault::{Content, Document, DocumentId, Download, Kind, RemotePath, Vault, VaultError};

const STORED: &str = r#"{"ID":"7","name":"a","size":5}"#;

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text).unwrap()
}

fn bytes(length: u64, content: &'static [u8]) -> Content {
    Content { length, body: Full::new(Bytes::from_static(content)).map_err(|e| match e {}).boxed() }
}

async fn upload(client: &Client) -> Result<Document, VaultError> {
    client.upload(&DocumentId("d 1".into()), "a+b.pdf", &|| Ok(bytes(5, b"hello"))).await
}

fn brief() -> Timeouts {
    let short = Duration::from_millis(60);
    Timeouts { upload_idle: short, upload_answer: short, idle: short, ..Timeouts::default() }
}

fn uploads(fake: &Fake) -> usize {
    fake.count(|s| s.method == "POST" && !s.is_token())
}

#[tokio::test]
async fn an_upload_is_exact() {
    let fake = Fake::with_login(|_| json(201, STORED)).await;
    let stored = upload(&fake.client()).await.unwrap();
    assert_eq!((stored.id.0.as_str(), stored.size), ("7", Some(5)));
    let seen = fake.seen().pop().unwrap();
    assert_eq!(seen.target, "/api/v2.1/files/d%201/children?name=a%2Bb.pdf&isMajor=true");
    assert_eq!((seen.headers["content-length"].as_str(), seen.body.as_slice()), ("5", &b"hello"[..]));
    assert_eq!(seen.headers["content-type"], "application/octet-stream");
    assert_eq!((seen.headers["accept"].as_str(), seen.bearer()), ("application/json", "t1"));
    assert!(!seen.headers.contains_key("transfer-encoding"));
}

#[tokio::test]
async fn an_empty_upload_has_a_length_too() {
    let fake = Fake::with_login(|_| json(200, STORED)).await;
    fake.client().upload(&DocumentId("1".into()), "empty", &|| Ok(bytes(0, b""))).await.unwrap();
    assert_eq!(fake.seen().pop().unwrap().headers["content-length"], "0");
}

#[tokio::test]
async fn a_refused_token_sends_the_whole_content_again() {
    let fake = Fake::start(|seen, all| match (seen.is_token(), seen.bearer()) {
        (true, _) => tokens(&format!("t{}", all.len()), "r"),
        (false, "t0") => json(401, "{}"),
        (false, _) => json(200, STORED),
    })
    .await;
    upload(&fake.client()).await.unwrap();
    let bodies: Vec<Vec<u8>> = fake.seen().into_iter().filter(|s| !s.is_token()).map(|s| s.body).collect();
    assert_eq!(bodies, [b"hello", b"hello"]);
}

#[tokio::test]
async fn a_lost_or_unreadable_answer_is_unknown_and_nothing_is_sent_twice() {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 29\r\n\r\n<html><title>Hi</title></html>";
    for reply in [
        || Reply::Close,
        || Reply::Hang,
        || json(200, "{}"),
        || json(200, ""),
        || Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{".to_owned()),
    ] as [fn() -> Reply; 5]
    {
        let fake = Fake::with_login(move |_| reply()).await;
        let error = upload(&fake.client_with(brief())).await.unwrap_err();
        assert!(error.kind == Kind::Unknown && error.maybe_stored, "{error:?}");
        assert_eq!(uploads(&fake), 1);
    }
    let fake = Fake::with_login(move |_| Reply::Raw(page.to_owned())).await;
    let error = upload(&fake.client()).await.unwrap_err();
    assert!(error.kind == Kind::Unknown && error.message.contains("Hi"), "{error}");
}

#[tokio::test]
async fn a_stale_connection_does_not_send_an_upload_twice() {
    let fake = Fake::start(|seen, all| match (seen.is_token(), all.len()) {
        (true, _) => tokens("t1", "r1"),
        (_, 1) => json(200, STORED),
        _ => Reply::Close,
    })
    .await;
    let client = fake.client();
    upload(&client).await.unwrap();
    let error = upload(&client).await.unwrap_err();
    assert!(error.kind == Kind::Unknown && error.maybe_stored, "{error:?}");
    assert_eq!(uploads(&fake), 2);
}

#[tokio::test]
async fn statuses_of_uploads_tell_whether_they_may_be_stored() {
    for (status, kind, stored) in [
        (500, Kind::Unavailable, true),
        (503, Kind::Unavailable, false),
        (409, Kind::Conflict, false),
        (422, Kind::Refused, false),
        (404, Kind::Missing, false),
        (302, Kind::Unavailable, false),
    ] {
        let fake = Fake::with_login(move |_| json(status, "{}")).await;
        let error = upload(&fake.client()).await.unwrap_err();
        assert_eq!((error.kind, error.maybe_stored), (kind, stored), "{status}");
        assert_eq!(uploads(&fake), 1);
    }
}

#[tokio::test]
async fn content_that_breaks_off_is_to_blame_itself() {
    let fake = Fake::with_login(|_| json(200, STORED)).await;
    let client = fake.client();
    let folder = DocumentId("1".into());
    for length in [4, 6] {
        let error = client.upload(&folder, "a", &|| Ok(bytes(length, b"hello"))).await.unwrap_err();
        assert!(error.kind == Kind::Content && !error.maybe_stored, "{error:?}");
    }
    let broken = || Ok(Content { length: 9, body: StreamBody::new(Broken(0)).boxed() });
    let error = client.upload(&folder, "a", &broken).await.unwrap_err();
    assert!(error.kind == Kind::Content && error.message.contains("bad sector"), "{error:?}");
    let error = client.upload(&folder, "a", &|| Err(std::io::Error::other("gone"))).await.unwrap_err();
    assert!(error.kind == Kind::Content && error.message.contains("gone"));
    assert_eq!(uploads(&fake), 0, "the store never saw a whole request");
}

/// A piece, then an error.
struct Broken(u8);

impl futures_core::Stream for Broken {
    type Item = std::io::Result<http_body::Frame<Bytes>>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0 += 1;
        std::task::Poll::Ready(Some(match self.0 {
            1 => Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
            _ => Err(std::io::Error::other("bad sector")),
        }))
    }
}

/// More than any socket buffers.
fn endless() -> Content {
    struct Zeros;
    impl futures_core::Stream for Zeros {
        type Item = std::io::Result<http_body::Frame<Bytes>>;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&[0; 16384])))))
        }
    }
    Content { length: 1 << 40, body: StreamBody::new(Zeros).boxed() }
}

#[tokio::test]
async fn a_service_that_takes_nothing_more_is_given_up_and_has_stored_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let auth = Fake::with_login(|_| Reply::Hang).await;
    let mut service = service(&auth.url);
    service.api_url = api;
    let client = Client::with_timeouts(&service, &login(), brief()).unwrap();
    // Accepted by the kernel, read by nobody.
    let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(endless())).await.unwrap_err();
    assert!(error.kind == Kind::Unavailable && !error.maybe_stored, "{error:?}");
    assert!(error.message.contains("took nothing more"), "{error}");
    drop(listener);
}

#[tokio::test]
async fn an_answer_before_the_end_is_heard_but_no_success_is_believed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (status, kind) in [(413, Kind::Refused), (500, Kind::Unavailable), (201, Kind::Unknown)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let auth = Fake::with_login(|_| Reply::Hang).await;
        let mut service = service(&auth.url);
        service.api_url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut first = [0; 1024];
            assert!(socket.read(&mut first).await.unwrap() > 0);
            socket.write_all(response(status, STORED).as_bytes()).await.unwrap();
            socket
        });
        let client = Client::new(&service, &login()).unwrap();
        let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(endless())).await.unwrap_err();
        assert_eq!((error.kind, error.maybe_stored), (kind, status == 201), "{error}");
        drop(server.await.unwrap());
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let fake = Fake::with_login(|_| Reply::Hang).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut service = service(&fake.url);
    service.api_url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let client = Client::new(&service, &login()).unwrap();
    for content in [(|| Ok(bytes(5, b"hello"))) as fn() -> std::io::Result<Content>, || Ok(bytes(0, b""))] {
        let error = client.upload(&DocumentId("1".into()), "a", &content).await.unwrap_err();
        assert!(error.kind == Kind::Unavailable && !error.maybe_stored, "{error:?}");
        assert!(error.message.contains("refused") && error.message.contains("/x/api/v2.1/files/1"), "{error}");
    }
}

/// A vault of two folders, with or without the short way.
fn vault(short: Option<u16>) -> impl FnMut(&Seen) -> Reply + Send + 'static {
    move |seen| {
        let target = seen.target.as_str();
        if let (Some(status), true) = (short, target.starts_with("/api/v2.1/filesystem/")) {
            return json(status, "{}");
        }
        match target {
            "/api/v2.1/users/me" => json(200, r#"{"member":{"rootDocumentId":"root"}}"#),
            "/api/v2.1/files/root/children" => json(
                200,
                r#"[{"ID":"1","name":"HR Backup","type":"folder"},{"ID":"2","name":"Old"},{"ID":"3","name":"f","isFolder":false}]"#,
            ),
            "/api/v2.1/files/1/children" => json(200, r#"[{"ID":"4","name":"a"},{"ID":"5","name":"a"},{"ID":"6"}]"#),
            "/api/v2.1/filesystem/HR%20Backup?children=false" => json(200, r#"{"ID":"1","isFolder":true}"#),
            "/api/v2.1/filesystem/f?children=false" => json(200, r#"{"ID":"3","isFolder":false}"#),
            "/api/v2.1/filesystem/HR%20Backup/a" => Reply::Raw(response(200, "hello")),
            _ => json(404, "{}"),
        }
    }
}

#[tokio::test]
async fn a_folder_is_found_by_path_or_from_the_root_down() {
    for short in [None, Some(404), Some(405), Some(501)] {
        let fake = Fake::with_login(vault(short)).await;
        let client = fake.client();
        for _ in 0..3 {
            assert_eq!(client.folder(&path("//HR Backup/")).await.unwrap().id.0, "1", "{short:?}");
        }
        let asked = fake.count(|s| s.target.starts_with("/api/v2.1/filesystem/"));
        assert_eq!(asked, if short.is_none() { 3 } else { 1 }, "{short:?}: learnt at once");
        assert_eq!(client.folder(&path("/")).await.unwrap().id.0, "root");
    }
}

#[tokio::test]
async fn a_missing_folder_is_explained() {
    for short in [None, Some(404), Some(405)] {
        let fake = Fake::with_login(vault(short)).await;
        let client = fake.client();
        let error = client.folder(&path("/HR_Backup/2026")).await.unwrap_err();
        assert_eq!(error.kind, Kind::Missing);
        assert!(error.message.contains("/HR_Backup/2026"), "{error}");
        assert!(error.message.contains(r#"/ exists, and holds "HR Backup", "Old""#), "{error}");
        let error = client.folder(&path("/f")).await.unwrap_err();
        assert!(error.kind == Kind::Missing, "{error}");
        assert_eq!(client.at(&path("/HR Backup/none")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn documents_are_found_by_path_and_by_name() {
    let fake = Fake::with_login(vault(Some(405))).await;
    let client = fake.client();
    assert_eq!(client.at(&path("/HR Backup/a")).await.unwrap().unwrap().id.0, "4");
    let ids = |found: Vec<Document>| found.into_iter().map(|d| d.id.0).collect::<Vec<_>>();
    let named = client.named(&path("/HR Backup"), &DocumentId("1".into()), "a").await.unwrap();
    assert_eq!(ids(named), ["4", "5"]);
    let fake = Fake::with_login(vault(None)).await;
    let named = fake.client().named(&path("/"), &DocumentId("hidden".into()), "f").await.unwrap();
    assert_eq!(ids(named), ["3"], "where the folder can't be listed");
}

#[tokio::test]
async fn trouble_is_not_taken_for_a_missing_document() {
    for reply in [|| json(503, "{}"), || json(200, "{}"), || Reply::Close] as [fn() -> Reply; 3] {
        let fake = Fake::with_login(move |_| reply()).await;
        let client = fake.client();
        assert_eq!(client.at(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(client.folder(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(client.children(&DocumentId("1".into())).await.unwrap_err().kind, Kind::Unavailable);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let fake = Fake::with_login(|_| {
        Reply::Raw("HTTP/1.1 302 X\r\nLocation: https://sso.example/login?x=1\r\nContent-Length: 0\r\n\r\n".to_owned())
    })
    .await;
    let error = fake.client().probe().await.unwrap_err();
    assert!(error.kind == Kind::Unavailable && error.message.contains("https://sso.example,"), "{error}");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_download_comes_whole_or_fails() {
    let fake = Fake::with_login(vault(None)).await;
    let client = fake.client();
    let mut download = client.download(&path("/HR Backup/a")).await.unwrap();
    assert_eq!(download.length(), Some(5));
    let mut got = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert_eq!(got, b"hello");
    assert_eq!(fake.seen().pop().unwrap().headers["accept"], "*/*");
    assert_eq!(client.download(&path("/none")).await.unwrap_err().kind, Kind::Missing);

    let fake = Fake::with_login(|_| {
        Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhello".to_owned())
    })
    .await;
    let mut download = fake.client().download(&path("/a")).await.unwrap();
    let error = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looked whole"),
            Err(error) => break error,
        }
    };
    assert!(error.kind == Kind::Unavailable && error.message.contains("after 5 bytes"), "{error}");
}

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
async fn certificates_of_ones_own_are_trusted_where_named() {
    let (acceptor, file) = acceptor(&[]);
    let port = tls(acceptor, |seen, _| {
        if seen.is_token() { tokens("t1", "r1") } else { json(200, r#"{"member":{"rootDocumentId":1}}"#) }
    })
    .await;
    let mut service = service(&Url::parse(&format!("https://localhost:{port}")).unwrap());
    let error = match Client::new(&service, &login()) {
        Ok(client) => client.probe().await.unwrap_err(),
        // A machine without any certificates.
        Err(_) => VaultError::new(Kind::Unavailable, "service.ca_file"),
    };
    assert!(error.kind == Kind::Unavailable && error.message.contains("service.ca_file"), "{error}");
    service.ca_file = Some(file.path().to_owned());
    assert_eq!(Client::new(&service, &login()).unwrap().probe().await.unwrap(), "u");
}

/// Answers a token, or says what it got.
#[cfg(feature = "sandbox")]
async fn over_http2(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let answer = if head.uri.path().ends_with("/token") {
        super::fake::granted("t1", "r1")
    } else {
        let announced = head.headers["content-length"].to_str().unwrap_or_default().to_owned();
        format!(r#"{{"ID":"{:?}","name":"{announced}","size":{}}}"#, head.version, body.len())
    };
    Ok(hyper::Response::new(Full::new(Bytes::from(answer))))
}

#[cfg(feature = "sandbox")]
#[tokio::test]
async fn over_tls_http2_is_spoken_where_the_service_can() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (acceptor, file) = acceptor(&[b"h2", b"http/1.1"]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut service =
        service(&Url::parse(&format!("https://localhost:{}", listener.local_addr().unwrap().port())).unwrap());
    service.ca_file = Some(file.path().to_owned());
    tokio::spawn(async move {
        loop {
            let socket = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                server.serve_connection(TokioIo::new(socket), hyper::service::service_fn(over_http2)).await.unwrap();
            });
        }
    });
    let client = Client::new(&service, &login()).unwrap();
    let stored = upload(&client).await.unwrap();
    assert_eq!((stored.id.0.as_str(), stored.name.as_deref(), stored.size), ("HTTP/2.0", Some("5"), Some(5)));
    let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(bytes(6, b"hello"))).await.unwrap_err();
    assert!(error.kind == Kind::Content && !error.maybe_stored, "{error:?}");
    assert_eq!(upload(&client).await.unwrap().size, Some(5), "the connection survives it");
}
