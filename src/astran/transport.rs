//! One request and its answer, watched for silence. Knows neither tokens nor documents.

use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Request, Response, StatusCode};
use tokio::time::timeout;

use super::address::without_query;
use super::client_config::Timeouts;
use super::unreachable::{chain, describe, whole_chain};
use crate::budget;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no whole answer. All but `TooLarge` may be over at the next try.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    /// The request could not be sent, or the head of its answer could not be read.
    #[error("{}", describe(.0))]
    Request(#[source] reqwest::Error),
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// Neither the head of an answer nor all of its body came in time.
    #[error("no whole answer within {} s", .0.as_secs())]
    NoWholeAnswer(Duration),
    /// Of an upload: the connection took no more content for so long.
    #[error("the service took nothing more for {} s", .0.as_secs())]
    UploadStalled(Duration),
    #[error("no answer came after all of it was sent")]
    NoAnswerToUpload,
    /// The answer would be as large the next time.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer broke off: {}", describe(.0))]
    BrokenOff(#[source] reqwest::Error),
    #[error("the answer stood still for {} s", .0.as_secs())]
    AnswerStalled(Duration),
    #[error("the answer was not whole after {} s", .0.as_secs())]
    AnswerTooSlow(Duration),
}

impl TransportError {
    /// Returns whether there was no connection at all, so that nothing was sent.
    pub(super) fn is_connect(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_connect())
    }

    /// Returns whether the TLS handshake failed because the service speaks none of the versions of HTTP that were offered.
    pub(super) fn is_http1_refused(&self) -> bool {
        let Self::Request(error) = self else { return false };
        let alert = chain(error).find_map(|error| match error.downcast_ref() {
            Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        });
        alert == Some(rustls::AlertDescription::NoApplicationProtocol)
    }
}

/// Sends a request whose answer must begin within `idle`.
pub(super) async fn send(http: &reqwest::Client, request: Request, idle: Duration) -> Result<Response, TransportError> {
    timeout(idle, execute(http, request)).await.unwrap_or(Err(TransportError::NoAnswer(idle)))
}

/// Sends a request, and waits for the beginning of its answer for as long as that takes.
pub(super) async fn execute(http: &reqwest::Client, request: Request) -> Result<Response, TransportError> {
    let (method, url, start) = (request.method().clone(), without_query(request.url()), Instant::now());
    let result = http.execute(request).await;
    let elapsed_ms = start.elapsed().as_millis();
    match result {
        Ok(response) => {
            tracing::debug!(%method, url, status = response.status().as_u16(), elapsed_ms, "the service answered");
            Ok(response)
        }
        Err(error) => {
            tracing::debug!(%method, url, error = whole_chain(&error), elapsed_ms, "the request failed");
            Err(TransportError::Request(error))
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
    /// For an answer about one thing.
    pub(super) fn small(timeouts: &Timeouts) -> Self {
        Self { bytes: budget::SMALL_BYTES, idle: timeouts.idle, total: timeouts.small_answer }
    }

    /// For a listing.
    pub(super) fn listing(timeouts: &Timeouts) -> Self {
        Self { bytes: budget::LISTING_BYTES, idle: timeouts.idle, total: timeouts.listing }
    }
}

/// Reads the whole of an answer.
pub(super) async fn read(mut response: Response, limits: Limits) -> Result<Answer, TransportError> {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let whole = timeout(limits.total, read_capped(&mut response, limits)).await;
    let body = match whole.unwrap_or(Err(TransportError::AnswerTooSlow(limits.total))) {
        // The page of an error may be cut short: its status says enough.
        Err(_) if !status.is_success() => Vec::new(),
        other => other?,
    };
    Ok(Answer { status, headers, body })
}

async fn read_capped(response: &mut Response, limits: Limits) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    loop {
        match timeout(limits.idle, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > limits.bytes => {
                return Err(TransportError::TooLarge(limits.bytes));
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(error)) => {
                tracing::debug!(error = whole_chain(&error), "the answer broke off");
                return Err(TransportError::BrokenOff(error));
            }
            Err(_) => return Err(TransportError::AnswerStalled(limits.idle)),
        }
    }
}
