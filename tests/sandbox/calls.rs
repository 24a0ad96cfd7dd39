//! Each call of the contract, and what it refuses.

use astran_backup::sandbox::{Options, Sandbox, SandboxError};
use reqwest::Method;

use crate::support::{builder, send, service, service_with, sha256};

#[tokio::test]
async fn no_call_goes_without_a_good_token() {
    let mut service = service().await;
    let upload = service.user.uploading("a.txt", "a").await.build().unwrap().url().to_string();
    service.user.token = "nonsense".into();
    for call in ["users/me", "files/x/children", "filesystem/HR_Backup?children=false"] {
        let answer = service.user.get(call).await;
        assert_eq!(answer.status, 401, "{call}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(send(service.user.http.post(&upload).body("a")).await.status, 401);
    let basic = service.user.http.post(&upload).basic_auth("sandbox@example.com", Some("sandbox-password"));
    assert_eq!(send(basic.body("a")).await.status, 401);
    assert_eq!(service.sandbox.stats().unauthorized, 5);
    assert_eq!(service.sandbox.uploads(), []);
}

#[tokio::test]
async fn the_vendors_way_leads_from_me_through_the_children() {
    let service = service().await;
    let me = service.user.get("users/me").await.json();
    let root = me["member"]["rootDocumentId"].as_str().unwrap();
    let children = service.user.get(&format!("files/{root}/children")).await.json();
    assert_eq!(children.as_array().unwrap().len(), 1, "the vault's private part is not listed: {children}");
    assert_eq!((&children[0]["name"], &children[0]["type"]), (&"HR_Backup".into(), &"folder".into()));
    assert_eq!(children[0]["ID"].as_str().unwrap(), service.user.folder_id().await);
}

#[tokio::test]
async fn a_path_leads_to_metadata_or_to_content() {
    let service = service().await;
    service.user.upload("report.pdf", "the content").await;
    let metadata = service.user.metadata("/HR_Backup/report.pdf").await.json();
    assert_eq!((&metadata["name"], &metadata["size"]), (&"report.pdf".into(), &11.into()));
    assert_eq!(metadata["sha256"], sha256(b"the content").as_str());
    let content = service.user.content("/HR_Backup/report.pdf").await;
    assert_eq!(content.body, b"the content");
    assert_eq!(content.headers["content-length"], "11");
    assert_eq!(service.user.metadata("/HR_Backup/other").await.status, 404);
    let folder = service.user.content("/HR_Backup").await;
    assert_eq!((folder.status.as_u16(), &folder.json()["name"]), (200, &"HR_Backup".into()), "a folder has no content");
}

#[tokio::test]
async fn the_vendors_spelling_is_tolerated() {
    let service = service().await;
    let answer = service.user.get("filesystem//HR_Backup?children=False").await;
    assert_eq!(answer.status, 200);
    let call = format!("files/{}/children?name=a.json&isMajor=True", answer.json()["ID"].as_str().unwrap());
    let request = service.user.request(Method::POST, &call).header("content-type", "application/json");
    assert_eq!(send(request.body("not json at all")).await.status, 200);
}

#[tokio::test]
async fn a_folder_is_returned_with_its_children_on_request() {
    let service = service().await;
    service.user.upload("a.txt", "a").await;
    let folder = service.user.get("filesystem/HR_Backup?children=true").await.json();
    assert_eq!(folder["children"][0]["name"], "a.txt");
}

#[tokio::test]
async fn requests_outside_the_contract_are_refused() {
    let service = service().await;
    let user = &service.user;
    let id = user.folder_id().await;
    for call in [
        "users/me?x=1".to_owned(),
        format!("files/{id}/children?x=1"),
        "filesystem/HR_Backup".to_owned(),
        "filesystem/HR_Backup?children=maybe".to_owned(),
        "filesystem/HR_Backup?children=false&x=1".to_owned(),
        "filesystem/HR%2FBackup?children=false".to_owned(),
        "filesystem/HR%ZZBackup?children=false".to_owned(),
    ] {
        assert_eq!(user.get(&call).await.status, 400, "{call}");
    }
    for call in ["nothing", "users/you", "filesystem/.sandbox?children=false", "files/nonsense/children"] {
        assert_eq!(user.get(call).await.status, 404, "{call}");
    }
    assert_eq!(send(user.request(Method::DELETE, "users/me")).await.status, 405);
    assert_eq!(send(user.request(Method::PUT, &format!("files/{id}/children"))).await.headers["allow"], "GET, POST");
}

#[tokio::test]
async fn an_upload_needs_just_its_two_parameters() {
    let service = service().await;
    let id = service.user.folder_id().await;
    for query in
        ["", "?name=a", "?isMajor=true", "?name=a&isMajor=yes", "?name=a&isMajor=true&x=1", "?name=%ff&isMajor=true"]
    {
        let call = format!("files/{id}/children{query}");
        assert_eq!(send(service.user.request(Method::POST, &call).body("a")).await.status, 400, "{query}");
    }
    assert!(service.user.children().await.is_empty());
}

#[tokio::test]
async fn an_upload_needs_a_folder() {
    let service = service().await;
    let document = service.user.upload("a.txt", "a").await.json();
    for (id, status) in [(document["ID"].as_str().unwrap(), 400), ("nonsense", 404)] {
        let call = format!("files/{id}/children?name=b&isMajor=true");
        assert_eq!(send(service.user.request(Method::POST, &call).body("b")).await.status, status);
    }
    assert_eq!(service.user.get(&format!("files/{}/children", document["ID"].as_str().unwrap())).await.status, 400);
}

#[tokio::test]
async fn documents_beyond_the_limit_are_refused() {
    let service = service_with(|o| o.max_size = Some(3)).await;
    assert_eq!(service.user.upload("a", "abc").await.status, 200);
    assert_eq!(service.user.upload("b", "abcd").await.status, 413);
}

#[tokio::test]
async fn http_2_is_spoken_where_the_client_begins_with_it() {
    let mut service = service().await;
    service.user.http = builder().http2_prior_knowledge().build().unwrap();
    let answer = service.user.uploading("a", vec![7; 300_000]).await.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(service.user.content("/HR_Backup/a").await.body, vec![7; 300_000]);
}

#[tokio::test]
async fn it_listens_on_this_machine_only_and_says_when_it_can_not() {
    let store = tempfile::tempdir().unwrap();
    let mut options = Options::new(store.path());
    options.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(Sandbox::start(options).await, Err(SandboxError::NotLoopback(_))));

    let first = Sandbox::start(Options::new(store.path())).await.unwrap();
    let mut options = Options::new(store.path());
    options.listen = first.access().api_url.strip_prefix("http://").unwrap().parse().unwrap();
    assert!(matches!(Sandbox::start(options.clone()).await, Err(SandboxError::InUse(_))));
    first.stop().await;
    Sandbox::start(options).await.unwrap();
}

#[tokio::test]
async fn once_stopped_nothing_answers() {
    let service = service().await;
    service.sandbox.stop().await;
    assert!(service.user.request(Method::GET, "users/me").send().await.is_err());
}
