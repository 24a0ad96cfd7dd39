use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::astran::scripted_server::{PASSWORD, RecordedRequest, Reply, ScriptedServer, config, granted, json, tokens};
use crate::astran::{Client, ClientConfig, Credentials, Timeouts};
use crate::observe::health::Health;
use crate::observe::metrics::{Format, Look, Metrics};
use crate::secret::Source;
use crate::vault::{Kind, Vault, VaultError};

const ME: &str = r#"{"member":{"rootDocumentId":"root"},"username":"someone"}"#;

async fn probe_many(client: &Client, count: usize) -> Vec<Result<String, VaultError>> {
    let mut all = JoinSet::new();
    for _ in 0..count {
        let client = client.clone();
        all.spawn(async move { client.probe().await });
    }
    all.join_all().await
}

/// The requests for tokens as the metrics count them, but for those that are zero.
fn counted(client: &Client) -> Vec<String> {
    let look = Look { tokens: client.token_requests(), ..Look::default() };
    let text = Metrics::new(&Health::default()).text(Some(look), Format::Plain).unwrap();
    let counts = text.lines().filter_map(|line| line.strip_prefix("astran_backup_token_requests_total{grant="));
    let mut counts: Vec<String> = counts
        .map(|line| line.replace(",outcome=", " ").replace(['"', '}'], ""))
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    counts.sort();
    counts
}

#[tokio::test]
async fn one_login_serves_all_calls() {
    let server = ScriptedServer::with_login(|_| json(200, ME)).await;
    let client = server.client();
    assert!(probe_many(&client, 20).await.into_iter().all(|r| r.unwrap() == "someone"));
    assert_eq!(server.count(RecordedRequest::is_token), 1);
    let request = server.requests();
    let (form, headers) = (request[0].form(), &request[0].headers);
    assert_eq!(request[0].target, "/auth/realms/r/protocol/openid-connect/token");
    for (name, value) in [("grant_type", "password"), ("username", "u"), ("password", PASSWORD), ("client_id", "c")] {
        assert_eq!(form[name], value);
    }
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(headers["accept"], "application/json");
    assert!(request[1..].iter().all(|s| s.bearer() == "t1"));
}

#[tokio::test]
async fn a_revoked_token_is_replaced_once_for_all_by_a_refresh() {
    let server = ScriptedServer::start(|request, _| match (request.is_token(), request.bearer()) {
        (true, _) if request.form()["grant_type"] == "password" => tokens("t1", "r1"),
        (true, _) if request.form()["refresh_token"] == "r1" => tokens("t2", "r2"),
        (true, _) => json(400, r#"{"error":"invalid_grant","error_description":"Stale token"}"#),
        (false, "t2") => json(200, ME),
        (false, _) => json(401, "{}"),
    })
    .await;
    let client = server.client();
    assert!(probe_many(&client, 20).await.iter().all(Result::is_ok));
    assert_eq!(server.count(RecordedRequest::is_token), 2);
    assert_eq!(server.count(|s| s.bearer() == "t2"), 20, "each call is replayed once");
    assert_eq!(counted(&client), ["login granted 1", "refresh granted 1"]);
}

#[tokio::test]
async fn a_brand_new_token_that_is_refused_stops_everything() {
    let server = ScriptedServer::start(|request, earlier| {
        if request.is_token() { tokens(&format!("t{}", earlier.len()), "r") } else { json(401, "{}") }
    })
    .await;
    let client = server.client();
    for result in probe_many(&client, 10).await {
        assert_eq!(result.unwrap_err().kind, Kind::Login);
    }
    for result in probe_many(&client, 10).await {
        let error = result.unwrap_err();
        assert!(error.kind == Kind::Login && error.message.contains("brand-new"), "{error}");
    }
    assert_eq!(server.count(RecordedRequest::is_token), 2, "one login, one refresh, no storm");
}

#[tokio::test]
async fn forbidden_asks_for_no_other_token() {
    let server = ScriptedServer::with_login(|_| json(403, r#"{"message":"no"}"#)).await;
    assert_eq!(server.client().probe().await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn one_refusal_serves_all_and_nothing_is_sent_after_it() {
    let server = ScriptedServer::start(|_, _| {
        json(401, r#"{"error":"invalid_grant","error_description":"Invalid user credentials"}"#)
    })
    .await;
    let client = server.client();
    for result in [probe_many(&client, 20).await, probe_many(&client, 20).await].concat() {
        let error = result.unwrap_err();
        assert!(error.kind == Kind::Login && error.message.contains("user `u`"), "{error}");
        assert!(!format!("{error:?}").contains(PASSWORD));
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_reload_tries_again_but_not_too_soon() {
    let server = ScriptedServer::start(|request, earlier| match (request.is_token(), earlier.len()) {
        (true, 0) => json(400, r#"{"error":"invalid_grant","error_description":"Invalid user credentials"}"#),
        (true, _) => tokens("t1", "r1"),
        _ => json(200, ME),
    })
    .await;
    let client = server.client();
    assert_eq!(client.probe().await.unwrap_err().kind, Kind::Login);
    let refused = std::time::Instant::now();
    client.reload(None).await;
    assert!(probe_many(&client, 5).await.iter().all(Result::is_ok));
    assert!(refused.elapsed() > Duration::from_millis(1900), "two failures within a second would lock the account");
    assert_eq!(server.count(RecordedRequest::is_token), 2);
}

#[tokio::test]
async fn trouble_of_the_login_service_is_no_refusal_and_serves_all_calls() {
    let page = "<html><title>Bad Gateway</title></html>";
    let answer = format!("HTTP/1.1 502 X\r\nRetry-After: 7\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    let server = ScriptedServer::start(move |_, _| Reply::Raw(answer.clone())).await;
    let client = server.client();
    for result in probe_many(&client, 20).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.message.contains("Bad Gateway"), "{error}");
        assert!(error.retry_after.is_some_and(|w| w <= Duration::from_secs(7) && w > Duration::from_secs(6)));
    }
    assert_eq!(server.requests().len(), 1);
    assert_eq!(counted(&client), ["login failed 1"]);
}

#[tokio::test]
async fn a_refused_login_is_counted_as_such() {
    let refused = || json(401, r#"{"error":"invalid_grant","error_description":"Invalid user credentials"}"#);
    let server = ScriptedServer::start(move |_, _| refused()).await;
    let client = server.client();
    assert_eq!(client.probe().await.unwrap_err().kind, Kind::Login);
    assert_eq!(counted(&client), ["login refused 1"]);
}

#[tokio::test]
async fn a_call_that_goes_away_loses_no_rotated_token() {
    let (permit, refreshing) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (held, notified) = (Arc::clone(&permit), Arc::clone(&refreshing));
    let server = ScriptedServer::start(move |request, _| match (request.is_token(), request.bearer()) {
        (true, _) if request.form()["grant_type"] == "password" => tokens("t1", "r1"),
        (true, _) => {
            notified.notify_one();
            Reply::After(Arc::clone(&held), granted("t2", "r2"))
        }
        (false, "t2") => json(200, ME),
        (false, _) => json(401, "{}"),
    })
    .await;
    let client = server.client();
    let leaving = tokio::spawn({
        let client = client.clone();
        async move { client.probe().await }
    });
    refreshing.notified().await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    permit.notify_one();
    client.probe().await.unwrap();
    assert_eq!(server.count(RecordedRequest::is_token), 2, "the rotated token was not used twice");
}

#[tokio::test]
async fn a_dead_session_is_followed_by_a_new_login() {
    let server = ScriptedServer::start(|request, earlier| match (request.is_token(), request.bearer()) {
        (true, _) if request.form()["grant_type"] == "refresh_token" => {
            json(400, r#"{"error":"invalid_grant","error_description":"Session not active"}"#)
        }
        (true, _) => tokens(&format!("t{}", earlier.len()), "r"),
        (false, "t0") => json(401, "{}"),
        (false, _) => json(200, ME),
    })
    .await;
    server.client().probe().await.unwrap();
    let grants: Vec<String> =
        server.requests().iter().filter(|s| s.is_token()).map(|s| s.form()["grant_type"].clone()).collect();
    assert_eq!(grants, ["password", "refresh_token", "password"]);
}

#[tokio::test]
async fn a_token_that_lives_no_longer_than_its_answer_takes_is_asked_for_once() {
    let brief = r#"{"access_token":"t1","expires_in":0.000001,"refresh_token":"r1"}"#;
    let server = ScriptedServer::start(move |request, _| json(200, if request.is_token() { brief } else { ME })).await;
    server.client().probe().await.unwrap();
    assert_eq!(server.count(RecordedRequest::is_token), 1);
}

#[tokio::test]
async fn client_credentials_send_the_secret_and_no_user() {
    let server = ScriptedServer::with_login(|_| json(200, r#"{"member":{"rootDocumentId":1}}"#)).await;
    let secret = Source::Given("hush".to_owned().into());
    let credentials = Credentials { client_id: "c".into(), client_secret: Some(secret), user: None };
    let client = Client::new(ClientConfig { credentials, ..config(&server.url) }).unwrap();
    assert_eq!(client.probe().await.unwrap(), "c", "the service does not tell the user's name");
    let form = server.requests()[0].form();
    assert_eq!((form["grant_type"].as_str(), form["client_secret"].as_str()), ("client_credentials", "hush"));
    assert!(!form.contains_key("username") && !form.contains_key("password"));
}

#[tokio::test]
async fn logout_ends_the_session_but_only_where_there_is_one() {
    let server = ScriptedServer::with_login(|_| json(200, ME)).await;
    let client = server.client();
    client.logout().await;
    assert!(server.requests().is_empty());
    client.probe().await.unwrap();
    client.logout().await;
    let last = server.requests().pop().unwrap();
    assert!(last.target.ends_with("/protocol/openid-connect/logout"));
    assert_eq!((last.form()["refresh_token"].as_str(), last.form()["client_id"].as_str()), ("r1", "c"));
}

#[tokio::test]
async fn a_logout_that_gets_no_answer_ends_soon() {
    let server = ScriptedServer::start(|request, _| match request.target.rsplit('/').next() {
        Some("logout") => Reply::Hang,
        Some("token") => tokens("t1", "r1"),
        _ => json(200, ME),
    })
    .await;
    let client = server.client_with(Timeouts { logout: Duration::from_millis(20), ..Timeouts::default() });
    client.probe().await.unwrap();
    client.logout().await;
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let server = ScriptedServer::with_login(|_| json(200, ME)).await;
    let client = server.client();
    client.probe().await.unwrap();
    let token = client.connection.tokens.token(super::TokenNeed::Short).await.unwrap();
    let shown = format!("{client:?} {token:?} {:?}", config(&server.url));
    for secret in [PASSWORD, "Bearer", "r1"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
