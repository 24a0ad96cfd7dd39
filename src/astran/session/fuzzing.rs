//! Lets the fuzz targets call the private code that reads the answers of the login service.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use url::Url;

use super::answer::{TokenError, TokenRequest, read};
use crate::astran::transport::Answer;

/// The lifetimes of the access token and of the refresh token; or the message of the error, with `true` for a refused login.
pub fn token(status: u16, retry_after: &str, body: &[u8], url: &Url) -> Result<[Option<Duration>; 2], (bool, String)> {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(retry_after) {
        headers.insert(RETRY_AFTER, value);
    }
    let answer = Answer { status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK), headers, body: body.into() };
    let request = TokenRequest { url, realm: "realm", client_id: "client", username: Some("user@example.com") };
    match read(&answer, &request, SystemTime::UNIX_EPOCH) {
        Ok(response) => Ok([response.lifetime, response.refresh_lifetime]),
        Err(TokenError::Refused(message)) => Err((true, message)),
        Err(TokenError::Transient { message, .. }) => Err((false, message)),
    }
}
