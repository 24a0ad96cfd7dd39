use super::path;
use crate::astran::fake::{Fake, Reply, Seen, json, response};
use crate::vault::{Document, DocumentId, Download, Kind, Vault};

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
            "/api/v2.1/filesystem/HR%20Backup/a?children=false" => Reply::Raw(response(200, "hello")),
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
async fn a_folder_too_large_to_list_is_searched_by_path() {
    let fake = Fake::with_login(|seen| {
        let listing = seen.target.ends_with("/children");
        if listing { Reply::Raw(response(200, &" ".repeat((64 << 20) + 1))) } else { json(200, r#"{"ID":"9"}"#) }
    })
    .await;
    let client = fake.client();
    let folder = DocumentId("1".into());
    assert_eq!(client.children(&folder).await.unwrap_err().kind, Kind::Refused);
    assert_eq!(client.named(&path("/docs"), &folder, "a").await.unwrap()[0].id.0, "9");
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

/// A service without a search by path says 404 to it: taken for "not stored", each lost answer would mean a second upload.
#[tokio::test]
async fn a_document_is_missing_only_where_the_search_by_path_is_known_to_work_or_the_listings_say_so() {
    let fake = Fake::with_login(vault(Some(404))).await;
    let client = fake.client();
    assert_eq!(client.at(&path("/HR Backup/a")).await.unwrap().unwrap().id.0, "4");
    assert_eq!(client.at(&path("/HR Backup/none")).await.unwrap(), None);
}

#[tokio::test]
async fn trouble_behind_a_404_is_not_taken_for_a_missing_document_or_folder() {
    let fake = Fake::with_login(|seen| {
        if seen.target.starts_with("/api/v2.1/filesystem/") { json(404, "{}") } else { json(503, "{}") }
    })
    .await;
    let client = fake.client();
    assert_eq!(client.at(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.folder(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.named(&path("/"), &DocumentId("1".into()), "a").await.unwrap_err().kind, Kind::Unavailable);
}
