//! Reads the answers of the login service: tokens, a refusal in words for the administrator, or the service's own trouble. Pure.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::astran::address::without_query;
use crate::astran::transport::Answer;
use crate::astran::{error_excerpt, headers};

/// The request for tokens, for the words of a refusal.
#[derive(Debug, Clone)]
pub(super) struct TokenRequest<'a> {
    pub(super) url: &'a Url,
    pub(super) realm: &'a str,
    pub(super) client_id: &'a str,
    /// `None` for client credentials.
    pub(super) username: Option<&'a str>,
}

/// Granted tokens. `Debug` shows none of them.
#[derive(Debug)]
pub(super) struct TokenResponse {
    /// The access token as the value of an `Authorization` header, marked sensitive.
    pub(super) header: HeaderValue,
    pub(super) lifetime: Option<Duration>,
    pub(super) refresh_token: Option<SecretString>,
    /// `None` where unknown; Keycloak's 0 means "doesn't expire by itself".
    pub(super) refresh_lifetime: Option<Duration>,
}

/// Why there are no tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenError {
    /// The login service refused what was sent. The caller must not send the same again: it does not help, and may lock the account.
    Refused(String),
    /// Trouble of the login service or of a proxy, which says nothing about what was sent. The caller may try again later.
    Transient { message: String, retry_after: Option<Duration> },
}

impl TokenError {
    pub(super) fn transient(request: &TokenRequest<'_>, why: impl fmt::Display) -> Self {
        let message = format!("the login at {}: {why}", without_query(request.url));
        Self::Transient { message, retry_after: None }
    }
}

#[derive(Deserialize)]
struct Raw {
    access_token: Option<Value>,
    token_type: Option<Value>,
    expires_in: Option<Value>,
    refresh_token: Option<Value>,
    refresh_expires_in: Option<Value>,
    error: Option<Value>,
    error_description: Option<Value>,
}

/// Reads the answer to a request for tokens.
pub(super) fn read(answer: &Answer, request: &TokenRequest<'_>, now: SystemTime) -> Result<TokenResponse, TokenError> {
    let status = answer.status;
    let raw = serde_json::from_slice::<Raw>(&answer.body).ok();
    let refusal = match raw {
        _ if is_trouble(status) => None,
        Some(raw) if status.is_success() => return granted(&raw).map_err(|why| TokenError::transient(request, why)),
        Some(raw) => raw.error.as_ref().and_then(Value::as_str).map(|e| (e.to_owned(), raw.error_description)),
        None => None,
    };
    match refusal {
        Some((code, text)) if code != "temporarily_unavailable" && code != "server_error" => {
            let text = text.as_ref().and_then(Value::as_str).unwrap_or_default();
            Err(TokenError::Refused(sentence(&code, text, status, request)))
        }
        // Whatever the status: an answer without Keycloak's own words comes from a proxy.
        _ => Err(trouble(answer, request, now)),
    }
}

/// Returns whether a status says nothing about what was sent. Statuses of no class (600 and more) come from no login service.
fn is_trouble(status: StatusCode) -> bool {
    status.as_u16() >= 500 || status.is_redirection() || matches!(status.as_u16(), 408 | 429)
}

fn trouble(answer: &Answer, request: &TokenRequest<'_>, now: SystemTime) -> TokenError {
    let status = answer.status;
    let mut why = format!("it answers {status}");
    if status.is_redirection() {
        why.push_str(&headers::redirect(&answer.headers, request.url));
    } else {
        if let Some(message) = error_excerpt::message(&answer.body) {
            why = format!("{why} (\"{message}\")");
        }
        if !is_trouble(status) {
            why.push_str(", and not in the way of a login service; is a proxy in between, or service.auth_url wrong?");
        }
    }
    let message = format!("the login at {}: {why}", without_query(request.url));
    TokenError::Transient { message, retry_after: headers::retry_after(&answer.headers, now) }
}

fn granted(raw: &Raw) -> Result<TokenResponse, &'static str> {
    let text = |v: &Option<Value>| v.as_ref().and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
    let access = text(&raw.access_token).ok_or("its answer holds no access token")?;
    if text(&raw.token_type).is_some_and(|t| !t.eq_ignore_ascii_case("bearer")) {
        return Err("its token is of a kind that is not understood (token_type is not Bearer)");
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {access}")).map_err(|_| "its token can't be sent")?;
    header.set_sensitive(true);
    Ok(TokenResponse {
        header,
        lifetime: seconds(raw.expires_in.as_ref()),
        refresh_token: text(&raw.refresh_token).map(SecretString::from),
        refresh_lifetime: seconds(raw.refresh_expires_in.as_ref()),
    })
}

/// A positive number of seconds; `None` for everything else.
fn seconds(value: Option<&Value>) -> Option<Duration> {
    let number = match value? {
        Value::Number(n) => n.as_f64()?,
        Value::String(s) => s.trim().parse().ok()?,
        _ => return None,
    };
    // More than a year counts as unknown, and would overflow a clock.
    (number > 0.0 && number < 31_536_000.0).then(|| Duration::from_secs_f64(number))
}

/// What the administrator reads about a refusal, with what to do about it.
fn sentence(code: &str, text: &str, status: StatusCode, request: &TokenRequest<'_>) -> String {
    let (client, realm) = (request.client_id, request.realm);
    let user = request.username.map_or_else(|| format!("client `{client}`"), |u| format!("user `{u}`"));
    let lower = text.to_ascii_lowercase();
    let why = match code {
        "invalid_grant" if lower.contains("disabled") => {
            format!("the account of {user} is disabled: have it enabled in realm `{realm}`")
        }
        "invalid_grant" if lower.contains("not fully set up") => format!(
            "the account of {user} is not fully set up: log in once with a browser and do what is asked there (new \
             password, e-mail, second factor)"
        ),
        "invalid_grant" => format!(
            "the password of {user} is wrong, or the account is locked for a while after wrong ones (the service does \
             not tell which): check login.username, the password and the realm (`{realm}`); do not try again many times"
        ),
        "invalid_client" => {
            format!(
                "the client `{client}` is not known in realm `{realm}`, or its secret is wrong: check login.client_id \
                     and login.client_secret_file"
            )
        }
        "unauthorized_client" if lower.contains("direct access grants") => format!(
            "the client `{client}` may not log in with a user's password: have \"direct access grants\" enabled for it, \
             or use a client with a secret and login.grant = \"client_credentials\""
        ),
        "unauthorized_client" if lower.contains("service account") => format!(
            "the client `{client}` may not log in for itself: have \"service accounts\" enabled for it, or use \
             login.grant = \"password\""
        ),
        "unauthorized_client" => format!(
            "the secret of the client `{client}` is wrong or missing: check login.client_secret_file (a client without \
             a secret must be public)"
        ),
        "access_denied" => {
            format!("the realm `{realm}` is disabled, or {user} is not allowed in: ask its administrator")
        }
        "invalid_request" => {
            "it does not take the request as it came; does it want https, and is service.auth_url right?".to_owned()
        }
        "unsupported_grant_type" => format!(
            "it does not know this way to log in: try login.grant = \"{}\"",
            if request.username.is_some() { "client_credentials" } else { "password" }
        ),
        _ if code.to_ascii_lowercase().contains("realm") => {
            format!("there is no realm `{realm}`, or it is disabled: check service.realm and service.auth_url")
        }
        _ if status == StatusCode::NOT_FOUND => "nothing is there: check service.auth_url and service.realm".to_owned(),
        _ => "it refuses the login".to_owned(),
    };
    let quoted = error_excerpt::one_line(if text.is_empty() { code } else { text });
    format!("the login at {} was refused: {why} (it says {status}: \"{quoted}\")", without_query(request.url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;

    fn ask(status: u16, body: &str) -> Result<TokenResponse, TokenError> {
        let url = Url::parse("https://r.auth.example/auth/realms/r/token").unwrap();
        let request = TokenRequest { url: &url, realm: "r", client_id: "c", username: Some("u") };
        let headers = HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, HeaderValue::from_static("9"))]);
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() };
        read(&answer, &request, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_grant_is_read_and_never_shown() {
        let g = ask(200, r#"{"access_token":"AAA","expires_in":300,"refresh_expires_in":0,"refresh_token":"RRR","token_type":"bearer","not-before-policy":0}"#)
            .unwrap();
        assert_eq!((g.lifetime, g.refresh_lifetime), (Some(Duration::from_secs(5 * 60)), None));
        let shown = format!("{g:?}");
        assert!(!shown.contains("AAA") && !shown.contains("RRR"), "{shown}");
        let g = ask(200, r#"{"access_token":"A","expires_in":"5"}"#).unwrap();
        assert!(g.refresh_token.is_none() && g.lifetime == Some(Duration::from_secs(5)));
    }

    #[test]
    fn each_refusal_has_its_sentence() {
        for (status, body, word) in [
            (400, r#"{"error":"invalid_grant","error_description":"Invalid user credentials"}"#, "locked"),
            (401, r#"{"error":"invalid_grant","error_description":"Invalid user credentials"}"#, "wrong"),
            (400, r#"{"error":"invalid_grant","error_description":"Account disabled"}"#, "enabled"),
            (400, r#"{"error":"invalid_grant","error_description":"Account is not fully set up"}"#, "browser"),
            (
                401,
                r#"{"error":"invalid_client","error_description":"Invalid client or Invalid client credentials"}"#,
                "not known",
            ),
            (
                401,
                r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#,
                "secret of the client",
            ),
            (
                400,
                r#"{"error":"unauthorized_client","error_description":"Client not allowed for direct access grants"}"#,
                "client_credentials",
            ),
            (404, r#"{"error":"Realm does not exist"}"#, "no realm `r`"),
            (403, r#"{"error":"access_denied","error_description":"Realm not enabled"}"#, "disabled"),
            (403, r#"{"error":"invalid_request","error_description":"HTTPS required"}"#, "https"),
            (400, r#"{"error":"unsupported_grant_type"}"#, "client_credentials"),
            (405, r#"{"error":"HTTP 405 Method Not Allowed"}"#, "refuses"),
        ] {
            match ask(status, body) {
                Err(TokenError::Refused(text)) => assert!(text.contains(word), "{body}: {text}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn trouble_of_the_login_service_is_no_refusal() {
        let refused = r#"{"error":"invalid_grant"}"#;
        for (status, body) in [
            (200, "<html><title>Sign in</title>"),
            (200, ""),
            (200, "{}"),
            (200, r#"{"access_token":"a\nb"}"#),
            (200, r#"{"access_token":"a","token_type":"DPoP"}"#),
            (400, "<html>"),
            (401, ""),
            (403, "{}"),
            (404, "<p>"),
            (302, refused),
            (429, refused),
            (500, refused),
            (503, ""),
            (400, r#"{"error":"temporarily_unavailable"}"#),
        ] {
            assert!(matches!(ask(status, body), Err(TokenError::Transient { .. })), "{status} {body}");
        }
        let Err(TokenError::Transient { retry_after, .. }) = ask(429, "") else { panic!() };
        assert_eq!(retry_after, Some(Duration::from_secs(9)));
    }

    proptest! {
        #[test]
        fn nothing_panics(status in 100u16..600, body in any::<String>(), lifetime in any::<f64>()) {
            prop_assert!(ask(status, &body).is_err());
            if lifetime.is_finite() {
                let body = format!(r#"{{"access_token":"a","expires_in":{lifetime:e}}}"#);
                prop_assert!(ask(200, &body).is_ok());
            }
        }
    }
}
