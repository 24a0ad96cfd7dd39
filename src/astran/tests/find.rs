use super::path;
use crate::astran::scripted_server::{RecordedRequest, Reply, ScriptedServer, json, response};
use crate::vault::{Document, DocumentId, Download, Kind, Vault};

/// A vault of two folders. Lookups by path work, or are answered with this status.
fn vault(short: Option<u16>) -> impl FnMut(&RecordedRequest) -> Reply + Send + 'static {
    move |request| {
        let target = request.target.as_str();
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
            "/api/v2.1/filesystem/HR%20Backup/a?children=false" => Reply::Raw(response(200, "hello")),
            _ => json(404, "{}"),
        }
    }
}

#[tokio::test]
async fn a_folder_is_found_by_path_or_from_the_root_down() {
    for short in [None, Some(404), Some(405), Some(501)] {
        let server = ScriptedServer::with_login(vault(short)).await;
        let client = server.client();
        for _ in 0..3 {
            assert_eq!(client.folder(&path("//HR Backup/")).await.unwrap().id.0, "1", "{short:?}");
        }
        let lookups = server.count(|s| s.target.starts_with("/api/v2.1/filesystem/"));
        assert_eq!(lookups, if short.is_none() { 3 } else { 1 }, "{short:?}: learnt from the first");
        assert_eq!(client.folder(&path("/")).await.unwrap().id.0, "root");
    }
}

#[tokio::test]
async fn a_missing_folder_is_explained() {
    for short in [None, Some(404), Some(405)] {
        let server = ScriptedServer::with_login(vault(short)).await;
        let client = server.client();
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
    let server = ScriptedServer::with_login(vault(Some(405))).await;
    let client = server.client();
    assert_eq!(client.at(&path("/HR Backup/a")).await.unwrap().unwrap().id.0, "4");
    let ids = |found: Vec<Document>| found.into_iter().map(|d| d.id.0).collect::<Vec<_>>();
    let named = client.named(&path("/HR Backup"), &DocumentId("1".into()), "a").await.unwrap();
    assert_eq!(ids(named), ["4", "5"]);
    let server = ScriptedServer::with_login(vault(None)).await;
    let named = server.client().named(&path("/"), &DocumentId("hidden".into()), "f").await.unwrap();
    assert_eq!(ids(named), ["3"], "where the folder can't be listed");
}

#[tokio::test]
async fn trouble_is_not_taken_for_a_missing_document() {
    for reply in [|| json(503, "{}"), || json(200, "{}"), || Reply::Close] as [fn() -> Reply; 3] {
        let server = ScriptedServer::with_login(move |_| reply()).await;
        let client = server.client();
        assert_eq!(client.at(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(client.folder(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(client.children(&DocumentId("1".into())).await.unwrap_err().kind, Kind::Unavailable);
    }
}

#[tokio::test]
async fn a_folder_too_large_to_list_is_searched_by_path() {
    let server = ScriptedServer::with_login(|request| {
        let listing = request.target.ends_with("/children");
        if listing { Reply::Raw(response(200, &" ".repeat((64 << 20) + 1))) } else { json(200, r#"{"ID":"9"}"#) }
    })
    .await;
    let client = server.client();
    let folder = DocumentId("1".into());
    assert_eq!(client.children(&folder).await.unwrap_err().kind, Kind::Refused);
    assert_eq!(client.named(&path("/docs"), &folder, "a").await.unwrap()[0].id.0, "9");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = ScriptedServer::with_login(|_| {
        Reply::Raw("HTTP/1.1 302 X\r\nLocation: https://sso.example/login?x=1\r\nContent-Length: 0\r\n\r\n".to_owned())
    })
    .await;
    let error = server.client().probe().await.unwrap_err();
    assert!(error.kind == Kind::Unavailable && error.message.contains("https://sso.example,"), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_download_comes_whole_or_fails() {
    let server = ScriptedServer::with_login(vault(None)).await;
    let client = server.client();
    let mut download = client.download(&path("/HR Backup/a")).await.unwrap();
    assert_eq!(download.length(), Some(5));
    let mut got = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert_eq!(got, b"hello");
    assert_eq!(server.requests().pop().unwrap().headers["accept"], "*/*");
    assert_eq!(client.download(&path("/none")).await.unwrap_err().kind, Kind::Missing);

    let server = ScriptedServer::with_login(|_| {
        Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhello".to_owned())
    })
    .await;
    let mut download = server.client().download(&path("/a")).await.unwrap();
    let error = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looked whole"),
            Err(error) => break error,
        }
    };
    assert!(error.kind == Kind::Unavailable && error.message.contains("after 5 bytes"), "{error}");
}

/// A service that can't look up paths answers 404: if that meant "not stored", each lost answer would cause a second upload.
#[tokio::test]
async fn a_404_is_believed_only_where_lookups_by_path_work_or_listings_agree() {
    let server = ScriptedServer::with_login(vault(Some(404))).await;
    let client = server.client();
    assert_eq!(client.at(&path("/HR Backup/a")).await.unwrap().unwrap().id.0, "4");
    assert_eq!(client.at(&path("/HR Backup/none")).await.unwrap(), None);
}

#[tokio::test]
async fn trouble_after_a_404_is_not_taken_for_a_missing_document() {
    let server = ScriptedServer::with_login(|request| {
        if request.target.starts_with("/api/v2.1/filesystem/") { json(404, "{}") } else { json(503, "{}") }
    })
    .await;
    let client = server.client();
    assert_eq!(client.at(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.folder(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.named(&path("/"), &DocumentId("1".into()), "a").await.unwrap_err().kind, Kind::Unavailable);
}
