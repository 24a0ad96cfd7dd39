//! Tests of tokens and sessions.

use super::*;

fn realm(change: impl FnOnce(&mut Options)) -> Realm {
    let mut options = Options::new("/nowhere");
    change(&mut options);
    Realm::new(Arc::new(options))
}

fn login(realm: &Realm, now: Instant) -> Tokens {
    realm.password("sandbox@example.com", "sandbox-password", now).unwrap()
}

fn refresh_token(tokens: &Tokens) -> &str {
    &tokens.refresh.as_ref().unwrap().0
}

#[test]
fn a_token_is_valid_for_its_lifetime_only() {
    let (realm, now) = (realm(|_| {}), Instant::now());
    let tokens = login(&realm, now);
    assert!(realm.admits(&tokens.access, now + Duration::from_millis(299_999)));
    assert!(!realm.admits(&tokens.access, now + Duration::from_secs(300)));
}

#[test]
fn no_token_outlives_its_session() {
    let (realm, now) = (realm(|o| o.session_life = Duration::from_secs(400)), Instant::now());
    let first = login(&realm, now);
    let late = now + Duration::from_secs(350);
    let second = realm.refresh(refresh_token(&first), late).unwrap();
    assert_eq!(second.access_life, Duration::from_secs(50));
    let after = now + Duration::from_secs(400);
    assert_eq!(realm.refresh(refresh_token(&second), after).unwrap_err(), refusal::NO_SESSION);
}

#[test]
fn an_idle_session_can_not_be_refreshed() {
    let (realm, now) = (realm(|_| {}), Instant::now());
    let tokens = login(&realm, now);
    let late = now + Duration::from_secs(1800);
    assert_eq!(realm.refresh(refresh_token(&tokens), late).unwrap_err(), refusal::EXPIRED);
}

#[test]
fn a_refresh_token_used_twice_ends_the_session() {
    let (realm, now) = (realm(|_| {}), Instant::now());
    let first = login(&realm, now);
    let second = realm.refresh(refresh_token(&first), now).unwrap();
    assert_eq!(realm.refresh(refresh_token(&first), now).unwrap_err(), refusal::REUSED);
    assert_eq!(realm.refresh(refresh_token(&second), now).unwrap_err(), refusal::DETACHED);
    assert!(!realm.admits(&second.access, now));
}

#[test]
fn an_older_refresh_token_is_stale() {
    let (realm, now) = (realm(|_| {}), Instant::now());
    let first = login(&realm, now);
    let second = realm.refresh(refresh_token(&first), now).unwrap();
    realm.refresh(refresh_token(&second), now).unwrap();
    assert_eq!(realm.refresh(refresh_token(&first), now).unwrap_err(), refusal::STALE);
}

#[test]
fn without_rotation_a_refresh_token_can_be_used_again() {
    let (realm, now) = (realm(|o| o.rotation = false), Instant::now());
    let first = login(&realm, now);
    realm.refresh(refresh_token(&first), now).unwrap();
    realm.refresh(refresh_token(&first), now).unwrap();
}

#[test]
fn revoking_sessions_keeps_access_tokens_and_expiring_tokens_keeps_sessions() {
    let (realm, now) = (realm(|_| {}), Instant::now());
    let tokens = login(&realm, now);
    realm.revoke_sessions();
    assert!(realm.admits(&tokens.access, now));
    assert_eq!(realm.refresh(refresh_token(&tokens), now).unwrap_err(), refusal::NO_SESSION);

    let tokens = login(&realm, now);
    realm.expire_access();
    assert!(!realm.admits(&tokens.access, now));
    realm.refresh(refresh_token(&tokens), now).unwrap();
}

#[test]
fn a_changed_password_ends_no_session_and_only_the_right_one_learns_of_a_disabled_account() {
    let (realm, now) = (realm(|o| o.brute_force = None), Instant::now());
    let tokens = login(&realm, now);
    realm.change_password("other");
    realm.refresh(refresh_token(&tokens), now).unwrap();
    let login = |password| realm.password("sandbox@example.com", password, now);
    assert_eq!(login("sandbox-password").unwrap_err(), refusal::credentials(400));
    login("other").unwrap();
    realm.disable_user();
    assert_eq!(login("sandbox-password").unwrap_err(), refusal::credentials(400));
    assert_eq!(login("other").unwrap_err(), refusal::DISABLED);
}

#[test]
fn a_locked_account_refuses_the_right_password_like_a_wrong_one() {
    let (realm, now) = (realm(|_| {}), Instant::now());
    realm.lock_user(now + Duration::from_secs(60));
    let refused = realm.password("sandbox@example.com", "sandbox-password", now).unwrap_err();
    assert_eq!(refused, refusal::credentials(400));
    login(&realm, now + Duration::from_secs(60));
}
