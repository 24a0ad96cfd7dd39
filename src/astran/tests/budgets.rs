//! A server that is never silent and never done: each answer but content has an end, by the clock.

use super::super::fake::{Fake, Reply, json, tokens};
use super::*;
use crate::observe::health::HealthCheck;
use crate::vault::Kind;

const ME: &str = r#"{"member":{"rootDocumentId":"1"}}"#;

fn impatient() -> Timeouts {
    let (soon, whole) = (Duration::from_millis(60), Duration::from_millis(200));
    Timeouts { small_answer: whole, listing: whole, token_answer: whole, token_soon: soon, ..Timeouts::default() }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_whatever_was_asked() {
    let fake = Fake::with_login(|_| Reply::Drip).await;
    let client = fake.client_with(impatient());
    assert_eq!(client.probe().await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.at(&path("/a")).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.children(&DocumentId("1".into())).await.unwrap_err().kind, Kind::Unavailable);
    let lost = upload(&client).await.unwrap_err();
    assert!(lost.maybe_stored, "all of it was sent, so the store may have it: {lost}");
}

#[tokio::test]
async fn a_token_that_drips_is_told_while_it_lasts_and_is_given_up() {
    let fake = Fake::start(|seen, _| if seen.is_token() { Reply::Drip } else { json(200, ME) }).await;
    let client = fake.client_with(impatient());
    let health = client.login_health();
    let told = async {
        while health.trouble().is_none() {
            tokio::task::yield_now().await;
        }
    };
    let (refused, ()) = tokio::join!(client.probe(), told);
    assert_eq!(refused.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(health.trouble(), None, "that request is over");
}

#[tokio::test]
async fn a_token_that_comes_late_is_no_trouble_any_more() {
    let permit = std::sync::Arc::new(tokio::sync::Notify::new());
    let late = std::sync::Arc::clone(&permit);
    let fake = Fake::start(move |seen, _| match (seen.is_token(), tokens("t1", "r1")) {
        (true, Reply::Json(_, body)) => Reply::After(std::sync::Arc::clone(&late), body),
        _ => json(200, ME),
    })
    .await;
    let client = fake.client_with(Timeouts { token_answer: Duration::from_secs(60), ..impatient() });
    let health = client.login_health();
    let told = async {
        while health.trouble().is_none() {
            tokio::task::yield_now().await;
        }
        permit.notify_one();
    };
    let (answered, ()) = tokio::join!(client.probe(), told);
    answered.unwrap();
    assert_eq!(health.trouble(), None);
}

/// Regression: an error page that repeats the request had the password and tokens printed and written into the journal.
#[tokio::test]
async fn what_a_server_repeats_of_a_request_is_quoted_without_the_secrets_in_it() {
    use super::super::fake::{PASSWORD, Seen};
    let echo = |seen: &Seen| {
        let form: Vec<String> = seen.form().into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
        [seen.bearer().to_owned(), String::from_utf8_lossy(&seen.body).into_owned(), form.join(" ")].join(" and ")
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
            let fake = Fake::start(move |seen, _| {
                if seen.is_token() && !refuse_login { tokens(access, refresh) } else { json(400, &answer(&echo(seen))) }
            })
            .await;
            let client = fake.client();
            let told = [client.probe().await.unwrap_err(), upload(&client).await.unwrap_err()];
            for told in told.iter().map(|error| format!("{error} {error:?}")) {
                for secret in [PASSWORD, "pass+word", "pass%20word", access, refresh] {
                    assert!(!told.contains(secret), "{secret}: {told}");
                }
            }
        }
    }
}
