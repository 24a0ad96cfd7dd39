//! What an answer that is no success means for the call, and the words for it. Pure.

use std::fmt;
use std::time::SystemTime;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use url::Url;

use super::address::without_query;
use super::transport::{Answer, TransportError};
use super::{error_excerpt, headers};
use crate::vault::{Kind, VaultError};

/// Which call failed, for the message of its error.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    /// As a noun: "the upload of `a.pdf`".
    pub(super) what: &'a str,
    pub(super) url: &'a Url,
    /// The length of an upload's content; `None` for other calls. After an upload, a lost answer may hide a stored document.
    pub(super) upload_length: Option<u64>,
    /// The media type that content is sent as.
    pub(super) content_type: &'a str,
}

impl Call<'_> {
    /// The error for this call.
    pub(super) fn error(&self, kind: Kind, why: &str) -> VaultError {
        VaultError::new(kind, format!("{} at {}: {why}", self.what, without_query(self.url)))
    }

    /// The error where there is no whole answer; not for uploads, whose content may have arrived.
    pub(super) fn failed(&self, error: &TransportError) -> VaultError {
        // Waiting does not make a listing smaller.
        let kind = if matches!(error, TransportError::TooLarge(_)) { Kind::Refused } else { Kind::Unavailable };
        self.error(kind, &error.to_string())
    }

    /// The error where a 2xx answer can't be read: an upload was carried out; for other calls, a proxy in between answered.
    pub(super) fn unreadable(&self, why: impl fmt::Display, body: &[u8]) -> VaultError {
        let kind = if self.upload_length.is_some() { Kind::Unknown } else { Kind::Unavailable };
        let message = error_excerpt::message(body).map(|s| format!(", it says \"{s}\"")).unwrap_or_default();
        self.error(kind, &format!("the answer can't be used: {why}{message}; is a proxy in between?"))
    }

    /// The error where the status is no success.
    pub(super) fn refused(&self, answer: &Answer, now: SystemTime) -> VaultError {
        let Answer { status, headers, body } = answer;
        let kind = kind_of(*status, is_html(headers, body));
        let mut why = format!("the service answers {status}");
        if let Some(message) = error_excerpt::message(body) {
            why = format!("{why} (\"{message}\")");
        }
        if status.is_redirection() {
            why.push_str(&headers::redirect(headers, self.url));
        } else if let Some(advice) = self.advice(*status, kind) {
            why = format!("{why}: {advice}");
        }
        let mut error = self.error(kind, &why).with_retry_after(headers::retry_after(headers, now));
        error.is_overload = matches!(status.as_u16(), 429 | 503);
        if self.upload_length.is_some() && may_have_stored(*status) { error.after_sending() } else { error }
    }

    fn advice(&self, status: StatusCode, kind: Kind) -> Option<String> {
        Some(match (status.as_u16(), kind) {
            (413, _) => match self.upload_length {
                Some(size) => format!("{size} bytes are more than it takes in one document"),
                None => "the request is too large".to_owned(),
            },
            (415, _) => format!(
                "it doesn't take content sent as {}: set service.content_type to what it asks for",
                self.content_type
            ),
            (414, _) => "the name or the path is too long for it".to_owned(),
            (_, Kind::Forbidden) => "this user is not allowed to do that there".to_owned(),
            (_, Kind::Missing) => "nothing is there".to_owned(),
            (_, Kind::Conflict) => "it has something under this name already".to_owned(),
            (_, Kind::Login) => {
                "it refuses a brand-new token too: do service.api_url and service.auth_url belong to the \
                                 same realm, and may this user use the service?"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

/// Whose trouble a status that is no success is.
fn kind_of(status: StatusCode, html: bool) -> Kind {
    match status.as_u16() {
        408 | 429 => Kind::Unavailable,
        401 => Kind::Login,
        // A proxy's error page says nothing about the document: the API itself answers JSON or nothing.
        400..=499 if html => Kind::Unavailable,
        403 => Kind::Forbidden,
        404 | 410 => Kind::Missing,
        409 => Kind::Conflict,
        400..=499 => Kind::Refused,
        _ => Kind::Unavailable,
    }
}

/// Returns whether an upload with this answer may have been stored: the service may have failed after it had stored it.
fn may_have_stored(status: StatusCode) -> bool {
    match status.as_u16() {
        408 => true,
        501 | 503 | 505 | 507 | 511 => false,
        code => code >= 500,
    }
}

/// Returns whether an answer is a page for people.
fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    declared.starts_with("text/html") || body.trim_ascii_start().first() == Some(&b'<')
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderValue, LOCATION};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn call(url: &Url, upload_length: Option<u64>) -> Call<'_> {
        Call { what: "the upload of `a`", url, upload_length, content_type: "application/octet-stream" }
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn every_status_has_its_kind() {
        for code in 100..=599u16 {
            let status = StatusCode::from_u16(code).unwrap();
            let expected = match code {
                401 => Kind::Login,
                403 => Kind::Forbidden,
                404 | 410 => Kind::Missing,
                408 | 429 | 100..=399 | 500..=599 => Kind::Unavailable,
                409 => Kind::Conflict,
                _ => Kind::Refused,
            };
            assert_eq!(kind_of(status, false), expected, "{code}");
            let html = if code == 401 { Kind::Login } else { Kind::Unavailable };
            assert_eq!(kind_of(status, true), html, "{code} as a page");
            let url = Url::parse("https://a.example/x?name=secret").unwrap();
            let upload = call(&url, Some(5)).refused(&answer(code, ""), NOW);
            let stored = matches!(code, 408 | 500 | 502 | 504 | 506 | 508..=510 | 512..=599);
            assert_eq!(upload.maybe_stored, stored, "{code}");
            assert!(!upload.message.contains("secret") && upload.message.contains(&code.to_string()));
            assert!(!call(&url, None).refused(&answer(code, ""), NOW).maybe_stored, "{code}");
        }
    }

    #[test]
    fn the_advice_names_the_setting() {
        let url = Url::parse("https://a.example/x").unwrap();
        let message = |code| call(&url, Some(5)).refused(&answer(code, r#"{"message":"no, no"}"#), NOW).message;
        assert!(message(415).contains("service.content_type") && message(415).contains("application/octet-stream"));
        assert!(message(413).contains("5 bytes"));
        assert!(message(400).contains("\"no, no\""));
    }

    #[test]
    fn a_redirect_is_the_services_trouble_and_its_origin_is_named() {
        let url = Url::parse("https://a.example/x").unwrap();
        let mut answer = answer(302, "");
        answer.headers.insert(LOCATION, HeaderValue::from_static("https://login.example/hidden?token=1"));
        let error = call(&url, None).refused(&answer, NOW);
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.message.contains("https://login.example") && !error.message.contains("hidden"), "{error}");
    }
}
