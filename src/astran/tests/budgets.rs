//! Servers that are never silent and never done: each answer has a deadline, and content has a minimum rate.

use super::super::scripted_server::{Reply, ScriptedServer, json, tokens};
use super::*;
use crate::observe::health::HealthCheck;
use crate::vault::{Download, Kind};

const ME: &str = r#"{"member":{"rootDocumentId":"1"}}"#;

fn impatient() -> Timeouts {
    let (soon, whole) = (Duration::from_millis(60), Duration::from_millis(200));
    Timeouts {
        small_answer: whole,
        listing: whole,
        token_answer: whole,
        token_slow: soon,
        download_window: whole,
        ..Timeouts::default()
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_at_each_call() {
    let server = ScriptedServer::with_login(|_| Reply::Drip).await;
    let client = server.client_with(impatient());
    assert_eq!(client.probe().await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.at(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.children(&DocumentId("1".into())).await.unwrap_err().kind, Kind::Unavailable);
    let lost = upload(&client).await.unwrap_err();
    assert!(lost.maybe_stored, "all of it was sent, so the store may have it: {lost}");
}

#[tokio::test]
async fn a_token_that_drips_is_reported_and_given_up() {
    let server = ScriptedServer::start(|request, _| if request.is_token() { Reply::Drip } else { json(200, ME) }).await;
    let client = server.client_with(impatient());
    let health = client.login_health();
    let reported = async {
        while health.trouble().is_none() {
            tokio::task::yield_now().await;
        }
    };
    let (refused, ()) = tokio::join!(client.probe(), reported);
    assert_eq!(refused.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(health.trouble(), None, "that request is over");
}

#[tokio::test]
async fn a_token_that_comes_late_ends_the_trouble() {
    let permit = std::sync::Arc::new(tokio::sync::Notify::new());
    let late = std::sync::Arc::clone(&permit);
    let server = ScriptedServer::start(move |request, _| match (request.is_token(), tokens("t1", "r1")) {
        (true, Reply::Json(_, body)) => Reply::After(std::sync::Arc::clone(&late), body),
        _ => json(200, ME),
    })
    .await;
    let client = server.client_with(Timeouts { token_answer: Duration::from_secs(60), ..impatient() });
    let health = client.login_health();
    let reported = async {
        while health.trouble().is_none() {
            tokio::task::yield_now().await;
        }
        permit.notify_one();
    };
    let (answered, ()) = tokio::join!(client.probe(), reported);
    answered.unwrap();
    assert_eq!(health.trouble(), None);
}

/// Regression: a download that dripped was read for ever.
#[tokio::test]
async fn a_download_that_drips_is_given_up() {
    let server = ScriptedServer::with_login(|_| Reply::Drip).await;
    let mut download = server.client_with(impatient()).download(&path("/a")).await.unwrap();
    let error = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looked whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
}

/// Regression: an error page that repeats the request had the password and tokens printed and written into the journal.
#[tokio::test]
async fn secrets_that_a_server_repeats_are_not_quoted() {
    use super::super::scripted_server::{PASSWORD, RecordedRequest};
    let echo = |request: &RecordedRequest| {
        let form: Vec<String> = request.form().into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
        [request.bearer().to_owned(), String::from_utf8_lossy(&request.body).into_owned(), form.join(" ")].join(" and ")
    };
    let answers: [fn(&str) -> String; 4] = [
        |text| serde_json::json!({ "error": "invalid_request", "error_description": text }).to_string(),
        |text| serde_json::json!({ "message": text }).to_string(),
        |text| format!("<html><title>{text}</title>"),
        |text| serde_json::json!({ "error": { "message": text } }).to_string(),
    ];
    let (access, refresh) = ("short-access-token", "short-refresh-token");
    for answer in answers {
        for refuse_login in [true, false] {
            let server = ScriptedServer::start(move |request, _| {
                if request.is_token() && !refuse_login {
                    tokens(access, refresh)
                } else {
                    json(400, &answer(&echo(request)))
                }
            })
            .await;
            let client = server.client();
            let errors = [client.probe().await.unwrap_err(), upload(&client).await.unwrap_err()];
            for text in errors.iter().map(|error| format!("{error} {error:?}")) {
                for secret in [PASSWORD, "pass+word", "pass%20word", access, refresh] {
                    assert!(!text.contains(secret), "{secret}: {text}");
                }
            }
        }
    }
}
