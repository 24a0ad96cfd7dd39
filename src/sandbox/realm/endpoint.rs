//! The HTTP endpoints of the realm: token, logout, discovery.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::Authority;
use super::book::{Realm, Tokens};
use super::refusal::{self, Refusal};
use crate::sandbox::answer::{Body, Cut, empty, json as json_answer};
use crate::sandbox::faults::Call;
use crate::sandbox::{State, address, misbehave};

/// The size in bytes of the largest form.
const LARGEST_FORM: usize = 64 * 1024;

type Form = HashMap<String, String>;

/// Answers a request to `/auth/realms/{realm}/{endpoint}`.
pub(in crate::sandbox) async fn answer(
    state: &State,
    realm: &str,
    endpoint: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let mut response = match &state.authority {
        Authority::Own(own) if address::segment(realm).is_ok_and(|name| name == state.options.realm) => {
            in_realm(state, own, endpoint, request).await?
        }
        _ => refused(&refusal::NO_REALM),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn in_realm(
    state: &State,
    realm: &Realm,
    endpoint: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let is_token = match endpoint {
        ".well-known/openid-configuration" => return Ok(json_answer(StatusCode::OK, &discovery(state))),
        "protocol/openid-connect/token" => true,
        "protocol/openid-connect/logout" => false,
        _ => return Ok(refused(&refusal::NOT_FOUND)),
    };
    if request.method() != Method::POST {
        return Ok(refused(&refusal::NOT_POST));
    }
    let (parts, body) = request.into_parts();
    let form = match read_form(&parts.headers, body).await? {
        Ok(form) => form,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let call = match form.get("grant_type").map(String::as_str) {
        _ if !is_token => Call::Logout,
        Some("refresh_token") => Call::Refresh,
        _ => Call::Login,
    };
    state.stats.call(call);
    let fault = state.faults.next(call, || form.get("username").cloned().unwrap_or_default());
    if let Some(fault) = &fault
        && let Some(answer) = misbehave::before(state, fault, None).await?
    {
        return Ok(answer);
    }
    let response = carry_out(state, realm, call, &form, &parts.headers);
    match &fault {
        Some(fault) => misbehave::after(fault, response).await,
        None => Ok(response),
    }
}

fn carry_out(state: &State, realm: &Realm, call: Call, form: &Form, headers: &HeaderMap) -> Response<Body> {
    let counters = &state.stats;
    let result = known_grant(call, form).and_then(|()| client(realm, form, headers)).and_then(|()| match call {
        Call::Logout => logout(realm, form).map(|()| None),
        Call::Refresh => refresh(realm, form).map(Some),
        _ => login(realm, form).map(Some),
    });
    let counter = match (call, &result) {
        (Call::Logout, _) => &counters.logouts,
        (Call::Refresh, Ok(_)) => &counters.refreshes,
        (Call::Refresh, Err(_)) => &counters.refused_refreshes,
        (_, Ok(Some(tokens))) if tokens.refresh.is_none() => &counters.client_logins,
        (_, Ok(_)) => &counters.password_logins,
        (_, Err(_)) => &counters.refused_logins,
    };
    counter.fetch_add(1, Relaxed);
    match result {
        Ok(Some(tokens)) => json_answer(StatusCode::OK, &told(&tokens)),
        Ok(None) => empty(StatusCode::NO_CONTENT),
        Err(refusal) => refused(&refusal),
    }
}

/// Checks the grant type. Keycloak does that before it checks the client.
fn known_grant(call: Call, form: &Form) -> Result<(), Refusal> {
    match field(form, "grant_type") {
        None if call != Call::Logout => Err(refusal::NO_GRANT_TYPE),
        _ => Ok(()),
    }
}

/// Returns the client's id and secret, from the form or from HTTP basic authentication.
fn client(realm: &Realm, form: &Form, headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some((id, secret)) = basic(headers) {
        return realm.client(Some(&id), Some(&secret));
    }
    realm.client(field(form, "client_id"), field(form, "client_secret"))
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (id.to_owned(), secret.to_owned()))
}

fn login(realm: &Realm, form: &Form) -> Result<Tokens, Refusal> {
    match field(form, "grant_type") {
        Some("password") => {
            let username = field(form, "username").ok_or(refusal::NO_USERNAME)?;
            realm.password(username, field(form, "password").unwrap_or_default(), Instant::now())
        }
        Some("client_credentials") => realm.client_credentials(Instant::now()),
        Some(_) => Err(refusal::GRANT_TYPE),
        None => Err(refusal::NO_GRANT_TYPE),
    }
}

fn refresh(realm: &Realm, form: &Form) -> Result<Tokens, Refusal> {
    realm.refresh(field(form, "refresh_token").ok_or(refusal::NO_REFRESH_TOKEN)?, Instant::now())
}

fn logout(realm: &Realm, form: &Form) -> Result<(), Refusal> {
    realm.logout(field(form, "refresh_token").ok_or(refusal::NO_REFRESH_TOKEN)?)
}

fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.get(name).map(String::as_str)
}

async fn read_form(headers: &HeaderMap, body: Incoming) -> Result<Result<Form, Refusal>, Cut> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let body = match Limited::new(body, LARGEST_FORM).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(Err(refusal::TOO_LARGE)),
        Err(_) => return Err(Cut),
    };
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        // Keycloak takes a body that is no form for an empty form.
        return Ok(Ok(Form::new()));
    }
    let mut form = Form::new();
    for (name, value) in url::form_urlencoded::parse(&body) {
        if form.insert(name.into_owned(), value.into_owned()).is_some() {
            return Ok(Err(refusal::DUPLICATED));
        }
    }
    Ok(Ok(form))
}

fn told(tokens: &Tokens) -> Value {
    let mut answer = json!({
        "access_token": tokens.access,
        "expires_in": seconds(tokens.access_life),
        "refresh_expires_in": tokens.refresh.as_ref().map_or(0, |(_, life)| seconds(*life)),
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": "profile email",
    });
    if let Some((token, _)) = &tokens.refresh {
        answer["refresh_token"] = json!(token);
        answer["session_state"] = json!(format!("session-{}", tokens.session));
    }
    answer
}

/// Whole seconds, as in Keycloak's answers, but at least one: otherwise a test's token of 200 ms would be called expired already.
fn seconds(life: Duration) -> u64 {
    life.as_secs().max(1)
}

fn discovery(state: &State) -> Value {
    let issuer = format!("{}/auth/realms/{}", state.access.auth_url, state.access.realm);
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/protocol/openid-connect/token"),
        "end_session_endpoint": format!("{issuer}/protocol/openid-connect/logout"),
        "grant_types_supported": ["password", "refresh_token", "client_credentials"],
    })
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut body = json!({ "error": refusal.error });
    if let Some(description) = refusal.description {
        body["error_description"] = json!(description);
    }
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    json_answer(status, &body)
}
