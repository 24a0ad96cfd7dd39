//! The realm: each row of Keycloak's table, expiry, rotation, locks.

use std::time::Duration;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{a_moment, logged_out, send, service, service_with};

fn row(status: u16, error: &str, description: &str) -> (u16, String, String) {
    (status, error.to_owned(), description.to_owned())
}

const CREDENTIALS: &str = "Invalid user credentials";
const CLIENT: &str = "Invalid client or Invalid client credentials";

#[tokio::test]
async fn a_login_gives_tokens_that_no_cache_keeps() {
    let service = logged_out(|_| {}).await;
    let answer = service.user.login().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let json = answer.json();
    assert_eq!((&json["expires_in"], &json["refresh_expires_in"]), (&300.into(), &1800.into()));
    assert_eq!(json["token_type"], "Bearer");
    assert!(json["access_token"].is_string() && json["refresh_token"].is_string());
    assert_eq!(service.sandbox.stats().logins["password"], 1);
}

#[tokio::test]
async fn wrong_password_and_unknown_user_get_the_same_answer() {
    let service = logged_out(|o| o.brute_force = None).await;
    let user = &service.user;
    for (name, password) in [("sandbox@example.com", "wrong"), ("nobody", "sandbox-password")] {
        let answer = user.login_as("sandbox-client", name, password).await;
        assert_eq!(answer.row(), row(400, "invalid_grant", CREDENTIALS));
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    assert_eq!(service.sandbox.stats().refused_logins, 2);
}

#[tokio::test]
async fn an_older_keycloak_refuses_a_password_with_401() {
    let service = logged_out(|o| o.refused_password = 401).await;
    let answer = service.user.login_as("sandbox-client", "nobody", "x").await;
    assert_eq!(answer.row(), row(401, "invalid_grant", CREDENTIALS));
}

#[tokio::test]
async fn an_unknown_client_is_refused() {
    let service = logged_out(|_| {}).await;
    let answer = service.user.login_as("other", "sandbox@example.com", "sandbox-password").await;
    assert_eq!(answer.row(), row(401, "invalid_client", CLIENT));
}

#[tokio::test]
async fn a_confidential_client_needs_its_secret_and_may_log_in_with_it_alone() {
    let service = logged_out(|o| o.client_secret = Some("secret".into())).await;
    let user = &service.user;
    assert_eq!(user.login().await.row(), row(401, "unauthorized_client", CLIENT));
    let grant = [("grant_type", "client_credentials"), ("client_id", "sandbox-client")];
    let wrong = user.token(&[grant[0], grant[1], ("client_secret", "wrong")]).await;
    assert_eq!(wrong.row(), row(401, "unauthorized_client", CLIENT));
    let right = user.token(&[grant[0], grant[1], ("client_secret", "secret")]).await;
    assert_eq!(right.status, 200);
    assert_eq!(right.json()["refresh_expires_in"], 0);
    assert!(right.json().get("refresh_token").is_none());
}

#[tokio::test]
async fn a_client_may_name_itself_in_the_header() {
    let service = logged_out(|o| o.client_secret = Some("secret".into())).await;
    let url = service.user.realm_url("protocol/openid-connect/token");
    let request = service.user.http.post(url).basic_auth("sandbox-client", Some("secret"));
    let form = request.header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    assert_eq!(send(form.body("grant_type=client_credentials")).await.status, 200);
}

#[tokio::test]
async fn other_requests_to_the_realm_are_refused_as_keycloak_does() {
    let service = logged_out(|_| {}).await;
    let user = &service.user;
    let client = ("client_id", "sandbox-client");
    let public = user.token(&[client, ("grant_type", "client_credentials")]).await;
    assert_eq!(public.row().1, "unauthorized_client");
    assert_eq!(user.token(&[client]).await.row().1, "invalid_request");
    assert_eq!(user.token(&[client, ("grant_type", "magic")]).await.row().1, "unsupported_grant_type");
    assert_eq!(user.token(&[client, client]).await.row(), row(400, "invalid_request", "duplicated parameter"));
    assert_eq!(user.refresh("nonsense").await.row(), row(400, "invalid_grant", "Invalid refresh token"));
    let url = user.realm_url("protocol/openid-connect/token");
    assert_eq!(send(user.http.get(&url)).await.status, 405);
    let no_form = send(user.http.post(&url).body("grant_type=password")).await;
    assert_eq!(no_form.row(), row(400, "invalid_request", "Missing form parameter: grant_type"));
}

#[tokio::test]
async fn a_client_without_the_password_grant_is_refused() {
    let service = logged_out(|o| o.direct_access = false).await;
    let expected = row(400, "unauthorized_client", "Client not allowed for direct access grants");
    assert_eq!(service.user.login().await.row(), expected);
}

#[tokio::test]
async fn an_unknown_realm_is_a_404() {
    let mut service = logged_out(|_| {}).await;
    service.user.access.realm = "other".into();
    assert_eq!(service.user.login().await.row(), row(404, "Realm does not exist", ""));
}

#[tokio::test]
async fn an_access_token_dies_and_a_refresh_gives_another() {
    let mut service = logged_out(|o| o.token_life = Duration::from_millis(50)).await;
    let tokens = service.user.login().await.json();
    assert_eq!(tokens["expires_in"], 1);
    service.user.token = tokens["access_token"].as_str().unwrap().into();
    assert_eq!(service.user.get("users/me").await.status, 200);
    a_moment().await;
    a_moment().await;
    assert_eq!(service.user.get("users/me").await.status, 401);
    let tokens = service.user.refresh(tokens["refresh_token"].as_str().unwrap()).await.json();
    service.user.token = tokens["access_token"].as_str().unwrap().into();
    assert_eq!(service.user.get("users/me").await.status, 200);
    assert_eq!((service.sandbox.stats().refreshes, service.sandbox.stats().unauthorized), (1, 1));
}

#[tokio::test]
async fn an_idle_session_can_not_be_refreshed() {
    let service = logged_out(|o| o.refresh_life = Duration::from_millis(10)).await;
    let tokens = service.user.login().await.json();
    a_moment().await;
    let answer = service.user.refresh(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(answer.row(), row(400, "invalid_grant", "Token is not active"));
}

#[tokio::test]
async fn of_two_refreshes_at_once_one_succeeds_and_the_session_dies() {
    let service = logged_out(|_| {}).await;
    let first = service.user.login().await.json();
    let token = first["refresh_token"].as_str().unwrap();
    let (a, b) = tokio::join!(service.user.refresh(token), service.user.refresh(token));
    let (good, bad) = if a.status == 200 { (a, b) } else { (b, a) };
    assert_eq!(good.status, 200);
    assert_eq!(bad.row(), row(400, "invalid_grant", "Maximum allowed refresh token reuse exceeded"));
    let next = service.user.refresh(good.json()["refresh_token"].as_str().unwrap()).await;
    assert_eq!(next.row(), row(400, "invalid_grant", "Session doesn't have required client"));
}

#[tokio::test]
async fn a_logout_ends_the_session() {
    let mut service = logged_out(|_| {}).await;
    let tokens = service.user.login().await.json();
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let form = [("client_id", "sandbox-client"), ("refresh_token", refresh)];
    assert_eq!(service.user.form("protocol/openid-connect/logout", &form).await.status, 204);
    assert_eq!(service.user.refresh(refresh).await.row(), row(400, "invalid_grant", "Session not active"));
    service.user.token = tokens["access_token"].as_str().unwrap().into();
    assert_eq!(service.user.get("users/me").await.status, 401);
}

#[tokio::test]
async fn two_quick_failures_lock_the_account_even_for_the_right_password() {
    let service = logged_out(|_| {}).await;
    for _ in 0..2 {
        service.user.login_as("sandbox-client", "sandbox@example.com", "wrong").await;
    }
    assert_eq!(service.user.login().await.row(), row(400, "invalid_grant", CREDENTIALS));
    service.sandbox.faults().clear();
    assert_eq!(service.user.login().await.status, 200);
}

#[tokio::test]
async fn the_user_can_be_disabled_locked_and_asked_to_act() {
    let service = logged_out(|_| {}).await;
    let faults = service.sandbox.faults();
    for (fault, description) in [
        (Fault::DisableUser, "Account disabled"),
        (Fault::RequireAction, "Account is not fully set up"),
        (Fault::Lock { ms: 60_000 }, CREDENTIALS),
    ] {
        faults.add(Rule::new(Call::Login, fault));
        assert_eq!(service.user.login().await.row(), row(400, "invalid_grant", description));
        faults.clear();
        assert_eq!(service.user.login().await.status, 200);
    }
}

#[tokio::test]
async fn the_realm_says_where_its_endpoints_are() {
    let service = service().await;
    let answer = send(service.user.http.get(service.user.realm_url(".well-known/openid-configuration"))).await;
    let expected = service.user.realm_url("protocol/openid-connect/token");
    assert_eq!(answer.json()["token_endpoint"], expected.as_str());
}

#[tokio::test]
async fn a_path_prefix_changes_nothing_else() {
    let service = service_with(|o| o.prefix = "/behind/proxy".into()).await;
    assert!(service.user.access.api_url.ends_with("/behind/proxy"));
    assert_eq!(service.user.upload("a.txt", "a").await.status, 200);
    let outside = service.user.access.api_url.replace("/behind/proxy", "/api/v2.1/users/me");
    assert_eq!(send(service.user.http.get(outside)).await.status, 404);
}
