//! The sandbox's realm answers as Keycloak does: the same requests to both.

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use serde_json::json;

use crate::server::{PASSWORD, Realm, Row, SECRET, ask};
use crate::support::World;

/// The sandbox's own realm, with the settings of the server's.
fn sandbox(confidential: bool, direct_access: bool) -> World {
    World::with(|options| {
        options.username = "someone".into();
        options.password = PASSWORD.into();
        options.client_id = if confidential { "confidential" } else { "public" }.into();
        options.client_secret = confidential.then(|| SECRET.into());
        options.direct_access = direct_access;
        options.brute_force = None;
    })
}

fn of_sandbox(world: &World, form: &[(&str, &str)]) -> Row {
    let access = world.sandbox().access();
    let url = format!("{}/auth/realms/{}/protocol/openid-connect/token", access.auth_url, access.realm);
    world.runtime.block_on(ask(&reqwest::Client::new(), &url, form)).0
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn the_sandbox_refuses_with_keycloaks_words() {
    let realm = Realm::new("rows", &json!({"bruteForceProtected": false}));
    let (public, confidential) = (sandbox(false, true), sandbox(true, true));
    let password = ("grant_type", "password");
    let (someone, right) = (("username", "someone"), ("password", PASSWORD));
    let client = ("client_id", "public");
    let rows: [(&World, &[(&str, &str)]); 13] = [
        (&public, &[password, client, someone, ("password", "wrong")]),
        (&public, &[password, client, ("username", "nobody"), right]),
        (&public, &[password, client, someone]),
        (&public, &[password, client]),
        (&public, &[password, ("client_id", "other"), someone, right]),
        (&public, &[client, someone, right]),
        (&public, &[("grant_type", "magic"), client]),
        (&public, &[password, client, client]),
        (&public, &[("grant_type", "client_credentials"), client]),
        (&public, &[("grant_type", "refresh_token"), client]),
        (&public, &[("grant_type", "refresh_token"), client, ("refresh_token", "nonsense")]),
        (&confidential, &[password, ("client_id", "confidential"), someone, right]),
        (&confidential, &[password, ("client_id", "confidential"), ("client_secret", "wrong"), someone, right]),
    ];
    for (world, form) in rows {
        assert_eq!(of_sandbox(world, form), realm.token(form).0, "{form:?}");
    }
    let refused = realm.token(&[password, ("client_id", "no-password"), someone, right]).0;
    assert_eq!(of_sandbox(&sandbox(false, false), &[password, client, someone, right]), refused);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn the_sandbox_treats_the_user_as_keycloak_does() {
    type Change = fn(&Realm);
    let realm = Realm::new("user-rows", &json!({"bruteForceProtected": false}));
    let rows: [(Fault, Change); 3] = [
        (Fault::RequireAction, |realm| realm.change_user(&json!({"requiredActions": ["UPDATE_PASSWORD"]}))),
        (Fault::DisableUser, |realm| realm.change_user(&json!({"requiredActions": [], "enabled": false}))),
        (Fault::ChangePassword { password: "new".into() }, |realm| {
            realm.change_user(&json!({"enabled": true}));
            realm.change_password("new");
        }),
    ];
    for (fault, change) in rows {
        let world = sandbox(false, true);
        world.faults().add(Rule { call: None, ..Rule::new(Call::Any, fault.clone()) });
        change(&realm);
        for password in [PASSWORD, "wrong", "new"] {
            let form =
                [("grant_type", "password"), ("client_id", "public"), ("username", "someone"), ("password", password)];
            assert_eq!(of_sandbox(&world, &form), realm.token(&form).0, "{fault:?} {password}");
        }
    }
}

/// What the realm answers to refresh tokens that are used twice.
fn reuse(
    refresh: impl Fn(&serde_json::Value) -> (Row, serde_json::Value),
    login: impl Fn() -> serde_json::Value,
) -> Vec<Row> {
    let first = login();
    let second = refresh(&first).1;
    let again = refresh(&first).0;
    let after = refresh(&second).0;
    // Keycloak tells two refreshes apart only by the second in which they come.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let first = login();
    let second = refresh(&first).1;
    std::thread::sleep(std::time::Duration::from_millis(1100));
    refresh(&second);
    vec![again, after, refresh(&first).0]
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_refresh_token_used_twice_ends_the_session_in_both() {
    let realm = Realm::new("reuse", &json!({}));
    let theirs = reuse(|token| realm.refresh(token), || realm.login("someone", PASSWORD).1);
    assert_eq!(theirs[0].2, "Maximum allowed refresh token reuse exceeded");
    let world = sandbox(false, true);
    let access = world.sandbox().access().clone();
    let url = format!("{}/auth/realms/{}/protocol/openid-connect/token", access.auth_url, access.realm);
    let http = reqwest::Client::new();
    let send = |form: &[(&str, &str)]| world.runtime.block_on(ask(&http, &url, form));
    let ours = reuse(
        |token| {
            let token = token["refresh_token"].as_str().unwrap();
            send(&[("grant_type", "refresh_token"), ("client_id", "public"), ("refresh_token", token)])
        },
        || {
            let user = [("username", "someone"), ("password", PASSWORD)];
            send(&[("grant_type", "password"), ("client_id", "public"), user[0], user[1]]).1
        },
    );
    assert_eq!(ours, theirs);
}
