//! One request and its answer, watched for silence. Knows neither tokens nor documents.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Request, Response, StatusCode};
use tokio::time::timeout;

use super::error;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
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
async fn read_capped(response: &mut Response, largest: usize, idle: Duration) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match timeout(idle, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > largest => {
                return Err(format!("the answer is larger than {largest} bytes"));
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(e)) => return Err(format!("the answer broke off: {}", error::describe(&e))),
            Err(_) => return Err(format!("the answer stood still for {} s", idle.as_secs())),
        }
    }
}

/// The whole of an answer.
pub(super) async fn read(mut response: Response, largest: usize, idle: Duration) -> Result<Answer, String> {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    // An error's page may be cut short: its beginning says enough.
    let body = match read_capped(&mut response, largest, idle).await {
        Err(_) if !status.is_success() => Vec::new(),
        other => other?,
    };
    Ok(Answer { status, headers, body })
}
