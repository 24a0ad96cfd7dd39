//! What an upload stores, and when it stores nothing.

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use astran_backup::sandbox::{Duplicates, TokenCheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Service, a_moment, send, service, service_with, sha256};

/// The files in the store's folder for uploads under way.
fn unfinished(service: &Service) -> usize {
    std::fs::read_dir(service.store.path().join("vault/.sandbox/incoming")).unwrap().count()
}

#[tokio::test]
async fn an_upload_is_stored_and_its_answer_describes_it() {
    let service = service().await;
    for length in [0, 1, 4096, 65_536, 65_537, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|n: usize| u8::try_from(n % 251).unwrap()).collect();
        let name = format!("file-{length}");
        // For an empty body the client omits the header, which the contract does not allow.
        let request = service.user.uploading(&name, body.clone()).await.header("content-length", length);
        let answer = send(request).await.json();
        assert_eq!((&answer["name"], &answer["size"]), (&name.as_str().into(), &length.into()));
        assert_eq!(answer["sha256"], sha256(&body).as_str());
        assert_eq!(service.on_disk(&format!("HR_Backup/{name}")), Some(body.clone()));
        assert_eq!(service.user.content(&format!("/HR_Backup/{name}")).await.body, body);
        let answer = service.sandbox.uploads().pop().unwrap();
        assert_eq!((answer.path, answer.size), (format!("/HR_Backup/{name}"), length as u64));
        assert_eq!(answer.sha256, Some(sha256(&body)));
    }
    let stats = service.sandbox.stats();
    assert_eq!((stats.uploads_started, stats.uploads_stored, stats.uploads_at_once), (6, 6, 0));
    assert_eq!(stats.uploads_bytes, 1 + 4096 + 65_536 + 65_537 + 3_000_000);
    assert_eq!(unfinished(&service), 0);
}

#[tokio::test]
async fn stored_uploads_are_numbered_in_their_order() {
    let service = service().await;
    for name in ["a", "b", "c"] {
        service.user.upload(name, name).await;
    }
    let url = format!("{}/sandbox/uploads?after=1", service.user.access.api_url);
    let answer = send(service.user.http.get(url)).await.json();
    assert_eq!((&answer[0]["number"], &answer[0]["path"]), (&2.into(), &"/HR_Backup/b".into()));
    assert!(answer[0]["arrived_ns"].as_u64() <= answer[1]["arrived_ns"].as_u64());
}

#[tokio::test]
async fn an_upload_without_a_length_is_refused() {
    let service = service().await;
    let url = service.user.uploading("a", "").await.build().unwrap().url().path().to_owned();
    let head = format!(
        "POST {url}?name=a&isMajor=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        service.user.token
    );
    let answer = exchange(&service, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 411 "), "{answer}");
    assert_eq!(service.user.upload("empty", "").await.status, 411, "an empty one needs its length too");
}

/// Sends these bytes, ends the connection, and returns what came back.
async fn exchange(service: &Service, bytes: &[u8]) -> String {
    let address = service.user.access.api_url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 1000];
    let length = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_cut_upload_stores_nothing() {
    let service = service().await;
    let path = service.user.uploading("cut", "").await.build().unwrap().url().path().to_owned();
    for (length, sent) in [(10, 9), (60_000, 30_000), (5_000_000, 2_000_000)] {
        let head = format!(
            "POST {path}?name=cut&isMajor=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {length}\r\n\r\n",
            service.user.token
        );
        let address = service.user.access.api_url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; sent]).await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
    }
    while service.sandbox.stats().uploads_at_once > 0 || service.sandbox.stats().uploads_started < 3 {
        a_moment().await;
    }
    a_moment().await;
    assert!(service.user.children().await.is_empty());
    assert_eq!(service.sandbox.uploads(), []);
    assert_eq!(unfinished(&service), 0);
}

#[tokio::test]
async fn a_second_upload_makes_a_new_version() {
    let service = service().await;
    let first = service.user.upload("a", "one").await.json();
    let second = service.user.upload("a", "two").await.json();
    let minor = service.user.uploading("a", "three").await.build().unwrap().url().to_string().replace("true", "false");
    let third = send(service.user.http.post(minor).bearer_auth(&service.user.token).body("three")).await.json();
    assert_eq!((&first["ID"], &second["ID"]), (&second["ID"], &third["ID"]));
    let versions = [&first, &second, &third].map(|d| d["version"].as_str().unwrap());
    assert_eq!(versions, ["1.0", "2.0", "2.1"]);
    assert_eq!(service.on_disk("HR_Backup/a").unwrap(), b"three");
    let children = service.user.children().await;
    assert_eq!((children.len(), &children[0]["version"]), (1, &"2.1".into()));
    assert_eq!(service.user.metadata("/HR_Backup/a").await.json()["version"], "2.1");
}

#[tokio::test]
async fn replaced_versions_are_kept() {
    let service = service().await;
    service.user.upload("a", "one").await;
    service.user.upload("a", "two").await;
    let versions = service.store.path().join("vault/.sandbox/versions");
    let folder = std::fs::read_dir(versions).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(folder.join("a/1.0-major")).unwrap(), b"one");
}

#[tokio::test]
async fn a_second_upload_may_make_a_second_document() {
    let service = service_with(|o| o.duplicates = Duplicates::SecondDocument).await;
    let mut ids: Vec<_> = Vec::new();
    for content in ["one", "two", "three"] {
        ids.push(service.user.upload("a", content).await.json()["ID"].clone());
    }
    let children = service.user.children().await;
    assert_eq!(children.iter().map(|d| d["ID"].clone()).collect::<Vec<_>>(), ids);
    assert!(children.iter().all(|d| d["name"] == "a"));
    assert_eq!(service.on_disk("HR_Backup/a").unwrap(), b"one");
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_second_upload_may_be_a_conflict() {
    let service = service_with(|o| o.duplicates = Duplicates::Conflict).await;
    assert_eq!(service.user.upload("a", "one").await.status, 200);
    assert_eq!(service.user.upload("a", "two").await.status, 409);
    assert_eq!(service.on_disk("HR_Backup/a").unwrap(), b"one");
}

#[tokio::test]
async fn a_folders_name_is_taken() {
    let service = service().await;
    std::fs::create_dir(service.store.path().join("vault/HR_Backup/sub")).unwrap();
    assert_eq!(service.user.upload("sub", "a").await.status, 409);
}

#[tokio::test]
async fn uploads_of_one_name_at_once_are_all_kept() {
    let service = service().await;
    let requests = (0..20).map(|n| {
        let user = service.user.clone();
        tokio::spawn(
            async move { user.upload("a", n.to_string()).await.json()["version"].as_str().unwrap().to_owned() },
        )
    });
    let mut versions = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        versions.push(request.await.unwrap());
    }
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 20);
    assert_eq!(service.sandbox.uploads().len(), 20);
}

#[tokio::test]
async fn the_token_may_be_checked_again_at_the_end() {
    for (check, status) in [(TokenCheck::AtStart, 200), (TokenCheck::AtStartAndEnd, 401)] {
        let service = service_with(|o| o.token_check = check).await;
        let uploading = service.user.uploading("a", "").await.build().unwrap().url().clone();
        let target = format!("{}?{}", uploading.path(), uploading.query().unwrap());
        let address = service.user.access.api_url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let token = &service.user.token;
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 4\r\n\r\nhalf"
        );
        stream.write_all(&head.as_bytes()[..head.len() - 2]).await.unwrap();
        while service.sandbox.stats().uploads_at_once == 0 {
            a_moment().await;
        }
        service.sandbox.faults().add(Rule { call: None, ..Rule::new(Call::Any, Fault::Expire) });
        stream.write_all(b"lf").await.unwrap();
        let mut answer = vec![0; 100];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(service.on_disk("HR_Backup/a").is_some(), status == 200);
    }
}
