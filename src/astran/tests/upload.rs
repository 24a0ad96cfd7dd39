use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use url::Url;

use super::{STORED, brief, bytes, upload, uploads};
use crate::astran::scripted_server::{Reply, ScriptedServer, config, json, response, tokens};
use crate::astran::{Client, ClientConfig};
use crate::vault::{Content, DocumentId, Kind, Vault};

#[tokio::test]
async fn an_upload_is_exact() {
    let server = ScriptedServer::with_login(|_| json(201, STORED)).await;
    let stored = upload(&server.client()).await.unwrap();
    assert_eq!((stored.id.0.as_str(), stored.size), ("7", Some(5)));
    let request = server.requests().pop().unwrap();
    assert_eq!(request.target, "/api/v2.1/files/d%201/children?name=a%2Bb.pdf&isMajor=true");
    assert_eq!((request.headers["content-length"].as_str(), request.body.as_slice()), ("5", &b"hello"[..]));
    assert_eq!(request.headers["content-type"], "application/octet-stream");
    assert_eq!((request.headers["accept"].as_str(), request.bearer()), ("application/json", "t1"));
    assert!(!request.headers.contains_key("transfer-encoding"));
}

#[tokio::test]
async fn an_empty_upload_has_a_length_too() {
    let server = ScriptedServer::with_login(|_| json(200, STORED)).await;
    server.client().upload(&DocumentId("1".into()), "empty", &|| Ok(bytes(0, b""))).await.unwrap();
    assert_eq!(server.requests().pop().unwrap().headers["content-length"], "0");
}

#[tokio::test]
async fn after_a_refused_token_the_whole_content_is_sent_again() {
    let server = ScriptedServer::start(|request, earlier| match (request.is_token(), request.bearer()) {
        (true, _) => tokens(&format!("t{}", earlier.len()), "r"),
        (false, "t0") => json(401, "{}"),
        (false, _) => json(200, STORED),
    })
    .await;
    upload(&server.client()).await.unwrap();
    let bodies: Vec<Vec<u8>> = server.requests().into_iter().filter(|s| !s.is_token()).map(|s| s.body).collect();
    assert_eq!(bodies, [b"hello", b"hello"]);
}

#[tokio::test]
async fn an_upload_that_outlives_each_token_is_the_files_trouble() {
    let server = ScriptedServer::start(|request, earlier| {
        let number = earlier.len();
        let brief = format!(r#"{{"access_token":"t{number}","expires_in":0.000001,"refresh_token":"r"}}"#);
        if request.is_token() { json(200, &brief) } else { json(401, "{}") }
    })
    .await;
    let error = upload(&server.client()).await.unwrap_err();
    assert!(error.kind == Kind::Refused && error.message.contains("lifespan"), "{error:?}");
    assert_eq!(uploads(&server), 2, "replayed once");
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
        let server = ScriptedServer::with_login(move |_| reply()).await;
        let error = upload(&server.client_with(brief())).await.unwrap_err();
        assert!(error.kind == Kind::Unknown && error.maybe_stored, "{error:?}");
        assert_eq!(uploads(&server), 1);
    }
    let server = ScriptedServer::with_login(move |_| Reply::Raw(page.to_owned())).await;
    let error = upload(&server.client()).await.unwrap_err();
    assert!(error.kind == Kind::Unknown && error.message.contains("Hi"), "{error}");
}

#[tokio::test]
async fn a_stale_connection_does_not_send_an_upload_twice() {
    let server = ScriptedServer::start(|request, earlier| match (request.is_token(), earlier.len()) {
        (true, _) => tokens("t1", "r1"),
        (_, 1) => json(200, STORED),
        _ => Reply::Close,
    })
    .await;
    let client = server.client();
    upload(&client).await.unwrap();
    let error = upload(&client).await.unwrap_err();
    assert!(error.kind == Kind::Unknown && error.maybe_stored, "{error:?}");
    assert_eq!(uploads(&server), 2);
}

#[tokio::test]
async fn the_status_of_an_upload_decides_whether_it_may_be_stored() {
    for (status, kind, stored) in [
        (500, Kind::Unavailable, true),
        (503, Kind::Unavailable, false),
        (409, Kind::Conflict, false),
        (422, Kind::Refused, false),
        (404, Kind::Missing, false),
        (302, Kind::Unavailable, false),
    ] {
        let server = ScriptedServer::with_login(move |_| json(status, "{}")).await;
        let error = upload(&server.client()).await.unwrap_err();
        assert_eq!((error.kind, error.maybe_stored), (kind, stored), "{status}");
        assert_eq!(uploads(&server), 1);
    }
}

#[tokio::test]
async fn content_that_breaks_off_is_the_files_trouble() {
    let server = ScriptedServer::with_login(|_| json(200, STORED)).await;
    let client = server.client();
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
    assert_eq!(uploads(&server), 0, "the server never got a whole request");
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
    let auth = ScriptedServer::with_login(|_| Reply::Hang).await;
    let client = Client::new(ClientConfig { api_url: api, timeouts: brief(), ..config(&auth.url) }).unwrap();
    // The kernel accepts the connection, but nothing reads from it.
    let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(endless())).await.unwrap_err();
    assert!(error.kind == Kind::Unavailable && !error.maybe_stored, "{error:?}");
    assert!(error.message.contains("took nothing more"), "{error}");
    drop(listener);
}

#[tokio::test]
async fn an_early_answer_counts_but_an_early_success_does_not() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (status, kind) in [(413, Kind::Refused), (500, Kind::Unavailable), (201, Kind::Unknown)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let auth = ScriptedServer::with_login(|_| Reply::Hang).await;
        let api_url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut first = [0; 1024];
            assert!(socket.read(&mut first).await.unwrap() > 0);
            socket.write_all(response(status, STORED).as_bytes()).await.unwrap();
            socket
        });
        let client = Client::new(ClientConfig { api_url, ..config(&auth.url) }).unwrap();
        let error = client.upload(&DocumentId("1".into()), "a", &|| Ok(endless())).await.unwrap_err();
        assert_eq!((error.kind, error.maybe_stored), (kind, status == 201), "{error}");
        drop(server.await.unwrap());
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let server = ScriptedServer::with_login(|_| Reply::Hang).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api_url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let client = Client::new(ClientConfig { api_url, ..config(&server.url) }).unwrap();
    for content in [(|| Ok(bytes(5, b"hello"))) as fn() -> std::io::Result<Content>, || Ok(bytes(0, b""))] {
        let error = client.upload(&DocumentId("1".into()), "a", &content).await.unwrap_err();
        assert!(error.kind == Kind::Unavailable && !error.maybe_stored, "{error:?}");
        assert!(error.message.contains("refused") && error.message.contains("/x/api/v2.1/files/1"), "{error}");
    }
}
