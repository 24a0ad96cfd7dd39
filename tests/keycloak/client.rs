//! The client against Keycloak: the life of a session, and each refusal.

use std::time::{Duration, Instant};

use astran_backup::astran::{Client, UserCredentials};
use astran_backup::sandbox::faults::{Call, Fault, Rule};
use astran_backup::secret::Source;
use astran_backup::vault::{Kind, Vault, VaultError};
use serde_json::json;
use tokio::task::JoinSet;

use crate::server::{PASSWORD, Realm, SECRET};
use crate::support::eventually;

fn probe(realm: &Realm, client: &Client) -> Result<(), VaultError> {
    realm.world.runtime.block_on(client.probe()).map(drop)
}

/// Sends many calls at once, again and again for this time; all must be answered.
fn use_for(realm: &Realm, client: &Client, seconds: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        realm.world.runtime.block_on(async {
            let mut calls = JoinSet::new();
            for _ in 0..20 {
                let client = client.clone();
                calls.spawn(async move { client.probe().await });
            }
            while let Some(answer) = calls.join_next().await {
                answer.unwrap().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        });
    }
}

/// From now on the API refuses the tokens that it has seen.
fn expire(realm: &Realm) {
    realm.world.faults().add(Rule { call: None, ..Rule::new(Call::Any, Fault::Expire) });
}

#[track_caller]
fn refused(realm: &Realm, client: &Client, sentence: &str) {
    let error = probe(realm, client).unwrap_err();
    assert!(error.kind == Kind::Login && error.message.contains(sentence), "{error}");
    assert!(!error.message.contains(PASSWORD) && !error.message.contains(SECRET), "{error}");
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn one_session_goes_on_for_several_lives_of_a_token_with_rotation_on() {
    let realm = Realm::new("refresh", &json!({}));
    let client = realm.client(PASSWORD);
    use_for(&realm, &client, 13);
    assert_eq!(realm.sessions(), 1, "it was refreshed, not logged in anew");
    assert_eq!(realm.world.sandbox().stats().unauthorized, 0);
    realm.world.runtime.block_on(client.logout());
    assert_eq!(realm.sessions(), 0);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn after_a_session_was_idle_too_long_the_client_logs_in_anew() {
    let realm = Realm::new("idle", &json!({"accessTokenLifespan": 2, "ssoSessionIdleTimeout": 3}));
    let client = realm.client(PASSWORD);
    probe(&realm, &client).unwrap();
    let (_, tokens) = realm.login("someone", PASSWORD);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(realm.refresh(&tokens).0, (400, "invalid_grant".into(), "Token is not active".into()));
    probe(&realm, &client).unwrap();
    assert_eq!(realm.failures(), 0);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_session_at_its_maximum_is_replaced_and_no_call_notices() {
    let realm = Realm::new("maximum", &json!({"accessTokenLifespan": 5, "ssoSessionMaxLifespan": 9}));
    let client = realm.client(PASSWORD);
    use_for(&realm, &client, 22);
    assert_eq!(realm.failures(), 0);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn after_a_session_was_ended_by_an_administrator_the_client_logs_in_anew() {
    let realm = Realm::new("ended", &json!({"accessTokenLifespan": 60}));
    let client = realm.client(PASSWORD);
    probe(&realm, &client).unwrap();
    realm.end_sessions();
    // Tokens of Keycloak stay valid after a logout, but the service may refuse them.
    expire(&realm);
    // A token that is issued in the same second as the logout is refused with the others.
    std::thread::sleep(Duration::from_secs(1));
    probe(&realm, &client).unwrap();
    assert_eq!((realm.sessions(), realm.failures()), (1, 0));
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_wrong_password_is_tried_once_for_all() {
    let realm = Realm::new("wrong", &json!({}));
    let client = realm.client("wrong-password");
    for _ in 0..5 {
        refused(&realm, &client, "the password of user `someone` is wrong, or the account is locked");
    }
    eventually("it is counted", || realm.failures() > 0);
    assert_eq!(realm.failures(), 1);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_locked_account_can_not_be_told_from_a_wrong_password() {
    // Two failures in quick succession, however slow this machine is.
    let realm = Realm::new("lock", &json!({"quickLoginCheckMilliSeconds": 10_000}));
    let wrong = realm.login("someone", "wrong").0;
    realm.login("someone", "wrong");
    let client = realm.client(PASSWORD);
    refused(&realm, &client, "or the account is locked for a while");
    assert_eq!(realm.login("someone", PASSWORD).0, wrong);
    realm.unlock();
    realm.world.runtime.block_on(client.reload(None));
    probe(&realm, &client).unwrap();
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn each_refusal_has_its_sentence() {
    let realm = Realm::new("refusals", &json!({}));
    let user = |id, secret| {
        let password = Source::Given(PASSWORD.to_owned().into());
        realm.client_as(id, secret, Some(UserCredentials { username: "someone".into(), password }))
    };
    refused(&realm, &user("no-password", None), "may not log in with a user's password");
    refused(&realm, &user("other", None), "the client `other` is not known");
    refused(&realm, &user("confidential", None), "check login.client_secret_file");
    refused(&realm, &user("confidential", Some("wrong")), "check login.client_secret_file");
    probe(&realm, &user("confidential", Some(SECRET))).unwrap();
    let own = |id, secret| realm.client_as(id, Some(secret), None);
    refused(&realm, &own("no-service", SECRET), "have \"service accounts\" enabled");
    refused(&realm, &own("confidential", "wrong"), "check login.client_secret_file");

    realm.change_user(&json!({"requiredActions": ["UPDATE_PASSWORD"]}));
    refused(&realm, &realm.client(PASSWORD), "is not fully set up: log in once with a browser");
    realm.change_user(&json!({"requiredActions": [], "enabled": false}));
    refused(&realm, &realm.client(PASSWORD), "is disabled: have it enabled");
    realm.change_user(&json!({"enabled": true}));
    realm.admin("PUT", "", &json!({"enabled": false}));
    refused(&realm, &realm.client(PASSWORD), "the realm `refusals` is disabled");
    assert_eq!(realm.world.sandbox().stats().requests["me"], 1, "no call without a token");
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn client_credentials_log_in_again_and_again_without_a_session() {
    // Keycloak counts from the beginning of the second, so a token lives up to a second less than announced. A fifth of this lifetime
    // is more than that second.
    let realm = Realm::new("service", &json!({"accessTokenLifespan": 6}));
    let client = realm.client_as("confidential", Some(SECRET), None);
    use_for(&realm, &client, 11);
    realm.world.runtime.block_on(client.logout());
    assert_eq!(realm.world.sandbox().stats().unauthorized, 0);
}
