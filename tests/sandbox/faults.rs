//! Each fault of the sandbox, one by one.

use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Field, Garbage, Rule};
use serde_json::{Value, json};

use crate::support::{Service, send, service, try_send};

fn status(status: u16) -> Fault {
    Fault::Status { status, retry_after: None, body: None, content_type: None, carried_out: false }
}

fn add(service: &Service, call: Call, fault: Fault) {
    service.sandbox.faults().add(Rule::new(call, fault));
}

async fn control(service: &Service, method: reqwest::Method, body: &Value) -> u16 {
    let url = format!("{}/sandbox/faults", service.user.access.api_url);
    send(service.user.http.request(method, url).body(body.to_string())).await.status.as_u16()
}

#[tokio::test]
async fn a_status_with_its_headers_comes_once_and_nothing_is_stored() {
    let service = service().await;
    let html = Some("<html>".to_owned());
    let fault = Fault::Status {
        status: 503,
        retry_after: Some(7),
        body: html,
        content_type: Some("text/html".into()),
        carried_out: false,
    };
    add(&service, Call::Upload, fault);
    let answer = service.user.upload("a", "a").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (503, b"<html>".as_slice()));
    assert_eq!(
        (&answer.headers["retry-after"], &answer.headers["content-type"]),
        (&"7".parse().unwrap(), &"text/html".parse().unwrap())
    );
    assert!(service.user.children().await.is_empty());
    assert_eq!(service.user.upload("a", "a").await.status, 200);
    assert_eq!(service.sandbox.stats().faults, 1);
}

#[tokio::test]
async fn a_status_may_come_although_the_upload_is_stored() {
    let service = service().await;
    let fault = Fault::Status { status: 504, retry_after: None, body: None, content_type: None, carried_out: true };
    add(&service, Call::Upload, fault);
    assert_eq!(service.user.upload("a", "a").await.status, 504);
    assert_eq!(service.sandbox.uploads().len(), 1);
}

#[tokio::test]
async fn every_call_can_fail() {
    let service = service().await;
    let id = service.user.folder_id().await;
    service.user.upload("a", "a").await;
    let user = &service.user;
    for call in
        [Call::Login, Call::Refresh, Call::Me, Call::Children, Call::Filesystem, Call::Content, Call::Upload, Call::Any]
    {
        add(&service, call, status(599));
        let answer = match call {
            Call::Login => user.login().await,
            Call::Refresh => user.refresh("x").await,
            Call::Children => user.get(&format!("files/{id}/children")).await,
            Call::Filesystem => user.metadata("/HR_Backup").await,
            Call::Content => user.content("/HR_Backup/a").await,
            Call::Upload => {
                let call = format!("files/{id}/children?name=b&isMajor=true");
                send(user.request(reqwest::Method::POST, &call).body("b")).await
            }
            _ => user.get("users/me").await,
        };
        assert_eq!(answer.status.as_u16(), 599, "{call:?}");
    }
}

#[tokio::test]
async fn a_connection_cut_before_stores_nothing() {
    let service = service().await;
    for bytes in [0, 1, 100_000] {
        add(&service, Call::Upload, Fault::CutBefore { bytes });
        assert!(try_send(service.user.uploading("a", vec![0; 400_000]).await).await.is_err());
    }
    assert!(service.user.children().await.is_empty());
    assert_eq!(service.sandbox.stats().uploads_stored, 0);
}

#[tokio::test]
async fn a_connection_cut_after_has_stored() {
    let service = service().await;
    add(&service, Call::Upload, Fault::CutAfter);
    assert!(try_send(service.user.uploading("a", "a").await).await.is_err());
    assert_eq!(service.sandbox.uploads().len(), 1);
    assert_eq!(service.on_disk("HR_Backup/a").unwrap(), b"a");
}

#[tokio::test]
async fn a_delayed_upload_is_stored_before_its_answer_and_a_stalled_one_is_not() {
    for (fault, stored) in [(Fault::Delay { ms: 60_000 }, 1), (Fault::Stall { ms: 60_000 }, 0)] {
        let service = service().await;
        add(&service, Call::Upload, fault);
        let request = service.user.uploading("a", "a").await.timeout(Duration::from_millis(80));
        assert!(try_send(request).await.unwrap_err().is_timeout());
        assert_eq!(service.sandbox.uploads().len(), stored);
    }
}

#[tokio::test]
async fn a_delay_passes() {
    let service = service().await;
    add(&service, Call::Me, Fault::Delay { ms: 50 });
    let start = Instant::now();
    assert_eq!(service.user.get("users/me").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn garbage_comes_with_a_200() {
    let service = service().await;
    for body in [Garbage::Html, Garbage::Truncated, Garbage::Empty] {
        for carried_out in [false, true] {
            let before = service.sandbox.uploads().len();
            add(&service, Call::Upload, Fault::Garbage { body, carried_out });
            let answer = service.user.upload("a", "a").await;
            assert_eq!(answer.status, 200);
            assert!(serde_json::from_slice::<Value>(&answer.body).is_err(), "{body:?}");
            assert_eq!(service.sandbox.uploads().len() - before, usize::from(carried_out));
        }
    }
}

#[tokio::test]
async fn a_wrong_answer_is_wrong_in_one_field() {
    let service = service().await;
    for (field, key) in [(Field::Size, "size"), (Field::Name, "name"), (Field::Sha256, "sha256"), (Field::Id, "ID")] {
        let good = service.user.upload("a", "abc").await.json();
        add(&service, Call::Upload, Fault::Wrong { field });
        let wrong = service.user.upload("a", "abc").await.json();
        for other in ["size", "name", "sha256", "ID"] {
            assert_eq!(good.get(other) == wrong.get(other), other != key, "{other} with a wrong {key}");
        }
    }
    add(&service, Call::Content, Fault::Wrong { field: Field::Content });
    assert_eq!(service.user.content("/HR_Backup/a").await.body, b"`bc");
}

#[tokio::test]
async fn a_dripping_answer_comes_slowly_and_whole() {
    let service = service().await;
    service.user.upload("a", "0123456789").await;
    add(&service, Call::Content, Fault::Drip { bytes: 2, every_ms: 10 });
    let start = Instant::now();
    assert_eq!(service.user.content("/HR_Backup/a").await.body, b"0123456789");
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_redirect_leads_elsewhere() {
    let service = service().await;
    add(&service, Call::Me, Fault::Redirect { to: "http://elsewhere.example/".into() });
    let answer = service.user.get("users/me").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["location"]),
        (307, &"http://elsewhere.example/".parse().unwrap())
    );
}

#[tokio::test]
async fn tokens_and_sessions_die_together_or_alone() {
    for (fault, call_status, refresh_status) in
        [(Fault::Expire, 401, 200), (Fault::Revoke, 200, 400), (Fault::ExpireAll, 401, 400)]
    {
        let mut service = service().await;
        let tokens = service.user.login().await.json();
        service.user.token = tokens["access_token"].as_str().unwrap().into();
        add(&service, Call::Me, fault);
        assert_eq!(service.user.get("users/me").await.status.as_u16(), call_status);
        let refreshed = service.user.refresh(tokens["refresh_token"].as_str().unwrap()).await;
        assert_eq!(refreshed.status.as_u16(), refresh_status);
    }
}

#[tokio::test]
async fn rules_can_be_set_and_forgotten_over_http() {
    let service = service().await;
    let rules = json!([
        {"call": "upload", "name": "bad", "times": 1000, "do": {"kind": "status", "status": 422}},
        {"call": "me", "after": 1, "do": {"kind": "cut_after"}},
    ]);
    assert_eq!(control(&service, reqwest::Method::POST, &rules).await, 204);
    assert_eq!(service.user.upload("bad.txt", "x").await.status, 422);
    assert_eq!(service.user.upload("good.txt", "x").await.status, 200);
    assert_eq!(service.user.get("users/me").await.status, 200);
    assert!(try_send(service.user.request(reqwest::Method::GET, "users/me")).await.is_err());
    assert_eq!(control(&service, reqwest::Method::DELETE, &Value::Null).await, 204);
    assert_eq!(service.user.upload("bad.txt", "x").await.status, 200);
}

#[tokio::test]
async fn a_fault_of_the_realm_without_a_call_happens_at_once() {
    let service = service().await;
    assert_eq!(control(&service, reqwest::Method::POST, &json!({"do": {"kind": "expire"}})).await, 204);
    assert_eq!(service.user.get("users/me").await.status, 401);
}

#[tokio::test]
async fn a_rule_that_can_not_be_read_is_refused_with_its_reason() {
    let service = service().await;
    let url = format!("{}/sandbox/faults", service.user.access.api_url);
    let rule = json!({"call": "upload", "tmies": 3, "do": {"kind": "cut_after"}}).to_string();
    let answer = send(service.user.http.post(&url).body(rule.clone())).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"].as_str().unwrap().contains("tmies"));
    assert_eq!(send(service.user.http.post(&url).header("origin", "http://evil").body(rule)).await.status, 403);
}

#[tokio::test]
async fn statistics_are_shown_over_http() {
    let service = service().await;
    service.user.upload("a", "abc").await;
    let stats = send(service.user.http.get(format!("{}/sandbox/stats", service.user.access.api_url))).await.json();
    assert_eq!(stats["requests"]["upload"], 1);
    assert_eq!((&stats["uploads_stored"], &stats["uploads_bytes"]), (&1.into(), &3.into()));
    assert_eq!((&stats["logins"]["password"], &stats["uploads_at_once_max"]), (&1.into(), &1.into()));
}
