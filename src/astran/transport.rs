//! One request and its answer, watched for silence. Knows neither tokens nor documents.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Request, Response, StatusCode};
use tokio::time::timeout;

use super::{Timeouts, error};
use crate::budget;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why an answer did not come whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It would be as large the next time.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Off(String),
}

/// Sends a request that is answered soon.
pub(super) async fn send(http: &reqwest::Client, request: Request, idle: Duration) -> Result<Response, String> {
    match timeout(idle, http.execute(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(e)) => Err(error::describe(&e)),
        Err(_) => Err(format!("no answer within {} s", idle.as_secs())),
    }
}

/// Reads an answer to its end, but no more than `largest` bytes of it.
async fn read_capped(response: &mut Response, largest: usize, idle: Duration) -> Result<Vec<u8>, Broken> {
    let mut body = Vec::new();
    loop {
        match timeout(idle, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > largest => {
                return Err(Broken::TooLarge(largest));
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(e)) => return Err(Broken::Off(format!("the answer broke off: {}", error::describe(&e)))),
            Err(_) => return Err(Broken::Off(format!("the answer stood still for {} s", idle.as_secs()))),
        }
    }
}

/// How much of an answer is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of its body.
    pub(super) bytes: usize,
    /// Between two pieces of it.
    pub(super) idle: Duration,
    /// From its head to its end: a body that drips is never silent.
    pub(super) total: Duration,
}

impl Limits {
    /// For an answer that tells of one thing.
    pub(super) fn small(timeouts: &Timeouts) -> Self {
        Self { bytes: budget::SMALL_BYTES, idle: timeouts.idle, total: timeouts.small_answer }
    }

    /// For a listing.
    pub(super) fn listing(timeouts: &Timeouts) -> Self {
        Self { bytes: budget::LISTING_BYTES, idle: timeouts.idle, total: timeouts.listing }
    }
}

/// The whole of an answer.
pub(super) async fn read(mut response: Response, limits: Limits) -> Result<Answer, Broken> {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let whole = timeout(limits.total, read_capped(&mut response, limits.bytes, limits.idle)).await;
    let dripping = || Broken::Off(format!("the answer was not whole after {} s", limits.total.as_secs()));
    // An error's page may be cut short: its beginning says enough.
    let body = match whole.unwrap_or_else(|_| Err(dripping())) {
        Err(_) if !status.is_success() => Vec::new(),
        other => other?,
    };
    Ok(Answer { status, headers, body })
}
