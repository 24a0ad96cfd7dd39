//! What an answer that is no success means, and the words for it. Pure, but for the walk along an error's sources.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use url::Url;

use super::error_excerpt;
use crate::budget;
use crate::exit::{Exit, Fatal};
use crate::vault::{Kind, VaultError};

/// Why a client can't be made: the configuration's fault, before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ca_file` can't be read.
    #[error("service.ca_file {}: {source}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// `ca_file` holds no certificate.
    #[error("service.ca_file {}: holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", path.display())]
    CaEmpty {
        /// The file.
        path: PathBuf,
    },
    /// `ca_file` holds something that is no certificate.
    #[error("service.ca_file {}: holds a certificate that can't be read: {reason}", path.display())]
    CaBroken {
        /// The file.
        path: PathBuf,
        /// What the TLS library says.
        reason: String,
    },
    /// The HTTP client can't be set up.
    #[error("the connection to the service can't be set up: {0}")]
    Http(String),
    /// A header value that can't be sent.
    #[error("service.content_type {0:?} is no media type: write it like application/octet-stream")]
    ContentType(String),
}

impl From<Error> for Fatal {
    fn from(error: Error) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

/// Which call failed, for its error's message.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    /// As a noun: "the upload of `a.pdf`".
    pub(super) what: &'a str,
    /// The address, without its query.
    pub(super) url: &'a Url,
    /// The length of the content, for an upload. Tells also that an answer lost may hide a stored document.
    pub(super) upload: Option<u64>,
    /// As what the content is sent.
    pub(super) content_type: &'a str,
}

impl Call<'_> {
    /// The error for this call.
    pub(super) fn error(&self, kind: Kind, why: &str) -> VaultError {
        VaultError::new(kind, format!("{} at {}: {why}", self.what, place(self.url)))
    }

    /// A 2xx answer that can't be read: carried out, for an upload; a proxy in between, else.
    pub(super) fn unreadable(&self, why: &str, body: &[u8]) -> VaultError {
        let kind = if self.upload.is_some() { Kind::Unknown } else { Kind::Unavailable };
        let said = error_excerpt::said(body).map(|s| format!(", it says \"{s}\"")).unwrap_or_default();
        self.error(kind, &format!("the answer can't be used: {why}{said}; is a proxy in between?"))
    }

    /// An answer whose status is no success.
    pub(super) fn status(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> VaultError {
        let kind = kind_of(status, is_html(headers, body));
        let mut why = format!("the service answers {status}");
        if let Some(said) = error_excerpt::said(body) {
            why = format!("{why} (\"{said}\")");
        }
        if status.is_redirection() {
            why.push_str(&redirect(headers, self.url));
        } else if let Some(advice) = self.advice(status, kind) {
            why = format!("{why}: {advice}");
        }
        let error = self.error(kind, &why).with_retry_after(retry_after(headers, now));
        if self.upload.is_some() && may_have_stored(status) { error.after_sending() } else { error }
    }

    fn advice(&self, status: StatusCode, kind: Kind) -> Option<String> {
        Some(match (status.as_u16(), kind) {
            (413, _) => match self.upload {
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

/// Whose trouble a status is that is no success.
pub(super) fn kind_of(status: StatusCode, html: bool) -> Kind {
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

/// Whether an upload answered so may have been carried out: the failure can lie behind the storing.
fn may_have_stored(status: StatusCode) -> bool {
    match status.as_u16() {
        408 => true,
        501 | 503 | 505 | 507 | 511 => false,
        code => code >= 500,
    }
}

/// Whether an answer is a page for people.
pub(super) fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    declared.starts_with("text/html") || body.trim_ascii_start().first() == Some(&b'<')
}

/// Where a redirect points, as an origin only: the rest of it may hold secrets.
pub(super) fn redirect(headers: &HeaderMap, from: &Url) -> String {
    let target = headers.get(LOCATION).and_then(|v| v.to_str().ok()).and_then(|l| from.join(l).ok());
    match target {
        Some(url) => format!(
            ", a redirect to {}, which is not followed with a token: is service.api_url or service.auth_url right?",
            error_excerpt::short(&url.origin().ascii_serialization())
        ),
        None => ", a redirect to nowhere: is service.api_url or service.auth_url right?".to_owned(),
    }
}

/// How long the service asks to be left alone: seconds or a date, capped.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(text)?.duration_since(now).unwrap_or(Duration::ZERO),
    };
    Some(wait.min(budget::RETRY_AFTER))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form of a date that servers may still send.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_ascii_whitespace().skip(1);
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok()
}

/// An address as it may be shown: without user, query and fragment.
pub(super) fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// What a failed request says of itself, without its address, with what to do about it.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        let text = source.to_string();
        // Wrapping errors repeat what they wrap.
        if !said.iter().any(|s| s.contains(&text)) {
            said.push(text);
        }
        next = source.source();
    }
    let text = if said.is_empty() { "the request failed".to_owned() } else { said.join(": ") };
    let hint = if error.is_dns() {
        "; is the name right, and does this machine resolve names?"
    } else if text.contains("certificate") || text.contains("UnknownIssuer") {
        "; if the service has a certificate of your own authority, name it in service.ca_file"
    } else {
        ""
    };
    format!("{}{hint}", error_excerpt::short(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn call(url: &Url, upload: Option<u64>) -> Call<'_> {
        Call { what: "the upload of `a`", url, upload, content_type: "application/octet-stream" }
    }

    fn headers(name: reqwest::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
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
            let upload = call(&url, Some(5)).status(status, &HeaderMap::new(), b"", SystemTime::UNIX_EPOCH);
            let stored = matches!(code, 408 | 500 | 502 | 504 | 506 | 508..=510 | 512..=599);
            assert_eq!(upload.maybe_stored, stored, "{code}");
            assert!(!upload.message.contains("secret") && upload.message.contains(&code.to_string()));
            let other = call(&url, None).status(status, &HeaderMap::new(), b"", SystemTime::UNIX_EPOCH);
            assert!(!other.maybe_stored, "{code}");
        }
    }

    #[test]
    fn advice_names_the_setting() {
        let url = Url::parse("https://a.example/x").unwrap();
        let say = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            call(&url, Some(5))
                .status(status, &HeaderMap::new(), br#"{"message":"no, no"}"#, SystemTime::UNIX_EPOCH)
                .message
        };
        assert!(say(415).contains("service.content_type") && say(415).contains("application/octet-stream"));
        assert!(say(413).contains("5 bytes"));
        assert!(say(400).contains("\"no, no\""));
    }

    #[test]
    fn a_redirect_names_the_origin_only() {
        let url = Url::parse("https://a.example/x").unwrap();
        let h = headers(LOCATION, "https://login.example/hidden?token=1");
        let e = call(&url, None).status(StatusCode::FOUND, &h, b"", SystemTime::UNIX_EPOCH);
        assert_eq!(e.kind, Kind::Unavailable);
        assert!(e.message.contains("https://login.example") && !e.message.contains("hidden"), "{e}");
        assert!(redirect(&headers(LOCATION, "/login"), &url).contains("https://a.example"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let now = humantime::parse_rfc3339("1994-11-06T08:49:07Z").unwrap();
        let read = |v: &str| retry_after(&headers(RETRY_AFTER, v), now).map(|d| d.as_secs());
        assert_eq!(read("7"), Some(7));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(read("Sun, 6 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(read("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(read("999999999"), Some(600));
        assert_eq!(read("Fri, 01 Jan 2100 00:00:00 GMT"), Some(600));
        for nonsense in ["soon", "-1", "", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
