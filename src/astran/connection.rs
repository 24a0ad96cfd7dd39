//! Requests with a token: each takes a token as it is sent, and is repeated once where the service no longer takes that token.

use std::time::SystemTime;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use super::address::Addresses;
use super::call::Call;
use super::client_config::{ClientConfig, Timeouts};
use super::error::ClientError;
use super::http::{self, ApiClients, Versions};
use super::path_lookup::PathLookup;
use super::session::{Token, TokenNeed, Tokens};
use super::transport::{self, Answer, Limits, TransportError};
use crate::printable::printable;
use crate::vault::{DocumentId, RemotePath, VaultError};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a request without content asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// An answer about documents or users.
    Small,
    /// A document's content.
    Content,
}

/// What all clones of a client share.
pub(super) struct Connection {
    pub(super) http: ApiClients,
    pub(super) addresses: Addresses,
    pub(super) tokens: Tokens,
    pub(super) timeouts: Timeouts,
    pub(super) content_type: HeaderValue,
    /// Who logs in, as configured: for services that do not tell the user's name.
    pub(super) login_name: String,
    /// The id of the user's root folder, once it is known.
    pub(super) root: OnceCell<DocumentId>,
    pub(super) path_lookup: PathLookup,
}

impl Connection {
    pub(super) fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let (ca_file, timeouts) = (config.ca_file.as_deref(), &config.timeouts);
        let http = ApiClients::new(ca_file, &config.api_url, timeouts)?;
        // One pool of connections for small calls, unless a proxy stands before one of the two addresses only.
        let same = http::is_loopback(&config.api_url) == http::is_loopback(&config.auth_url)
            && config.api_url.scheme() == config.auth_url.scheme();
        let login_http = if same {
            http.small().http.clone()
        } else {
            http::client(ca_file, &config.auth_url, timeouts, Versions::All)?
        };
        let addresses = Addresses::new(&config.api_url, &config.auth_url, &config.realm);
        let tokens = Tokens::new(login_http, &addresses, &config);
        let content_type = HeaderValue::from_str(&config.content_type)
            .map_err(|_| ClientError::ContentType(config.content_type.clone()))?;
        Ok(Self {
            http,
            addresses,
            tokens,
            content_type,
            login_name: config.credentials.name().to_owned(),
            timeouts: config.timeouts,
            root: OnceCell::new(),
            path_lookup: PathLookup::default(),
        })
    }

    /// Requests something that comes as JSON. The answer may have any status; a 401 is returned only if a new token was refused too.
    pub(super) async fn get_json(&self, call: &Call<'_>, limits: Limits) -> Result<Answer, VaultError> {
        let response = self.get(call, JSON, Wanted::Small).await?;
        transport::read(response, limits).await.map_err(|e| call.failed(&e))
    }

    /// Sends a request; returns its answer before the body is read.
    pub(super) async fn get(
        &self,
        call: &Call<'_>,
        accept: HeaderValue,
        wanted: Wanted,
    ) -> Result<Response, VaultError> {
        let token = self.tokens.token(TokenNeed::Short).await?;
        let response = self.get_with(call, &accept, wanted, &token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let token = self.tokens.replacement_for(&token).await?;
        self.get_with(call, &accept, wanted, &token).await
    }

    async fn get_with(
        &self,
        call: &Call<'_>,
        accept: &HeaderValue,
        wanted: Wanted,
        token: &Token,
    ) -> Result<Response, VaultError> {
        let request = || request(Method::GET, call.url, token, accept.clone());
        let client = match wanted {
            Wanted::Small => self.http.small(),
            Wanted::Content => self.http.content(),
        };
        let mut result = transport::send(client.http, request(), self.timeouts.idle).await;
        if client.http1_only && result.as_ref().is_err_and(TransportError::is_http1_refused) {
            self.http.refuse_http1();
            result = transport::send(self.http.content().http, request(), self.timeouts.idle).await;
        }
        let response = result.map_err(|error| call.failed(&error))?;
        note_status(token, response.status());
        Ok(response)
    }

    /// Describes a call without content, for its errors.
    pub(super) fn call<'a>(&'a self, what: &'a str, url: &'a Url) -> Call<'a> {
        Call { what, url, upload_length: None, content_type: self.content_type.to_str().unwrap_or_default() }
    }
}

/// A request without content.
pub(super) fn request(method: Method, url: &Url, token: &Token, accept: HeaderValue) -> Request {
    let mut request = Request::new(method, url.clone());
    request.headers_mut().insert(AUTHORIZATION, token.header());
    request.headers_mut().insert(ACCEPT, accept);
    request
}

/// The body of an answer whose status is a success; for any other status the error that it means.
pub(super) fn success<'a>(call: &Call<'_>, answer: &'a Answer) -> Result<&'a [u8], VaultError> {
    if answer.status.is_success() { Ok(&answer.body) } else { Err(call.refused(answer, SystemTime::now())) }
}

/// Remembers that a call with this token succeeded: if the token is refused later, it was revoked, and another one helps.
pub(super) fn note_status(token: &Token, status: StatusCode) {
    if status.is_success() {
        token.accept();
    }
}

/// A path for a message: on one line, whatever its names hold.
pub(super) fn shown(path: &RemotePath) -> String {
    printable(&path.to_string())
}
