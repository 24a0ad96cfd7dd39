//! What the headers of an answer say. Pure.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use url::Url;

use super::error_excerpt;
use crate::budget;

/// Where a redirect points, as the end of a message. Only the origin is named: the rest may hold secrets.
pub(super) fn redirect(headers: &HeaderMap, from: &Url) -> String {
    let target = headers.get(LOCATION).and_then(|v| v.to_str().ok()).and_then(|l| from.join(l).ok());
    match target {
        Some(url) => format!(
            ", a redirect to {}, which is not followed with a token: is service.api_url or service.auth_url right?",
            error_excerpt::one_line(&url.origin().ascii_serialization())
        ),
        None => ", a redirect to nowhere: is service.api_url or service.auth_url right?".to_owned(),
    }
}

/// How long the service asks to be left alone: seconds or a date, at most [`budget::RETRY_AFTER`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_redirect_names_the_origin_only() {
        let url = Url::parse("https://a.example/x").unwrap();
        let elsewhere = redirect(&headers(LOCATION, "https://login.example/hidden?token=1"), &url);
        assert!(elsewhere.contains("https://login.example") && !elsewhere.contains("hidden"), "{elsewhere}");
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
