//! Small requests to addresses that are not the service's: what `[notify]` sends. They are made as those to the service are (TLS, the
//! configured certificates, proxies), follow no redirect, and carry no token.

use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::timeout;
use url::Url;

use super::client_config::Timeouts;
use super::error::ClientError;
use super::http::{Versions, client};
use super::unreachable::{describe_unnamed, whole_chain};

/// Why a request came to nothing. The caller may send it again. No text holds the address, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("{}", describe_unnamed(.0))]
    Request(#[source] reqwest::Error),
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    #[error("it answers {0}, and redirects are not followed: give the address that it leads to")]
    Redirect(StatusCode),
    #[error("it answers {0}")]
    Refused(StatusCode),
}

/// A client for one such address.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    http: reqwest::Client,
    patience: Duration,
}

impl Webhook {
    /// Sends nothing yet. Reads the certificates, so it blocks for some milliseconds.
    pub(crate) fn new(ca_file: Option<&Path>, address: &Url, patience: Duration) -> Result<Self, ClientError> {
        Ok(Self { http: client(ca_file, address, &Timeouts::default(), Versions::All)?, patience })
    }

    /// Sends a POST. Any 2xx is a success; the answer's body is not read.
    pub(crate) async fn post(&self, to: Url, content_type: &str, body: String) -> Result<(), WebhookError> {
        let request = self.http.post(to).header("content-type", content_type).body(body).send();
        let answer = timeout(self.patience, request).await.map_err(|_| WebhookError::NoAnswer(self.patience))?;
        let failed = |error: reqwest::Error| {
            tracing::debug!(error = whole_chain(&error), "the request failed");
            WebhookError::Request(error)
        };
        match answer.map_err(failed)?.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(WebhookError::Redirect(status)),
            status => Err(WebhookError::Refused(status)),
        }
    }
}
