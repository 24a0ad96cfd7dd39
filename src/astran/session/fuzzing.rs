//! A door for the fuzz targets, to what reads the login's answers.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use url::Url;

use super::answer::{Asked, Failure, read};

/// How long the access token and the refresh token live, or why there are none: with `true`, the login was refused.
pub fn token(status: u16, retry_after: &str, body: &[u8], url: &Url) -> Result<[Option<Duration>; 2], (bool, String)> {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(retry_after) {
        headers.insert(RETRY_AFTER, value);
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let asked = Asked { url, realm: "realm", client_id: "client", username: Some("user@example.com") };
    match read(status, &headers, body, &asked, SystemTime::UNIX_EPOCH) {
        Ok(granted) => Ok([granted.life, granted.refresh_life]),
        Err(Failure::Refused(message)) => Err((true, message)),
        Err(Failure::Transient { message, .. }) => Err((false, message)),
    }
}
