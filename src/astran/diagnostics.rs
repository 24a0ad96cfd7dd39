//! Tries the service step by step, for the person who has to find out why it can't be used.

use std::time::Instant;

use reqwest::{Method, Request, StatusCode};
use url::Url;

use super::address::without_query;
use super::client::Client;
use super::session::{TokenLifetimes, TokenNeed};
use super::transport::{self, Limits};
use crate::vault::VaultError;

/// Whether one of the service's two addresses can be reached.
#[derive(Debug)]
pub struct Reachability {
    /// The address that was tried.
    pub address: String,
    /// Who answered and how fast; or why there was no answer, and what to do about it.
    pub result: Result<String, String>,
}

impl Client {
    /// Tries the API's address; any answer will do: the name resolves, a connection can be made, its certificate is trusted.
    pub async fn reach_api(&self) -> Reachability {
        self.reach(&self.connection.addresses.me()).await
    }

    /// Tries the login service's address.
    pub async fn reach_login(&self) -> Reachability {
        self.reach(&self.connection.addresses.token()).await
    }

    /// Asks the login service's address whether it is an `OpenID` provider that has the realm.
    pub async fn find_realm(&self) -> Reachability {
        let url = self.connection.addresses.discovery();
        Reachability { address: without_query(&url), result: self.describe_realm(&url).await }
    }

    async fn describe_realm(&self, url: &Url) -> Result<String, String> {
        let (timeouts, request) = (&self.connection.timeouts, Request::new(Method::GET, url.clone()));
        let response = transport::send(self.connection.http.small().http, request, timeouts.idle).await;
        let response = response.map_err(|error| error.to_string())?;
        let answer = transport::read(response, Limits::small(timeouts)).await.map_err(|error| error.to_string())?;
        match answer.status {
            status if status.is_success() && describes_provider(&answer.body) => {
                Ok("it is an OpenID provider".to_owned())
            }
            StatusCode::NOT_FOUND => Err("there is no such realm (404): is its name right?".to_owned()),
            status => Err(format!("the answer ({status}) is not that of an OpenID provider: is the address right?")),
        }
    }

    /// Logs in; returns how long the tokens live.
    pub async fn log_in(&self) -> Result<TokenLifetimes, VaultError> {
        Ok(self.connection.tokens.token(TokenNeed::Short).await?.lifetimes())
    }

    /// Sends no token: an unknown server may answer at a wrong address.
    async fn reach(&self, url: &Url) -> Reachability {
        let start = Instant::now();
        let request = Request::new(Method::GET, url.clone());
        let result =
            match transport::send(self.connection.http.small().http, request, self.connection.timeouts.idle).await {
                Ok(response) if response.status().is_server_error() || response.status().is_redirection() => Err(
                    format!("something answers {} there: is the address right, and the service up?", response.status()),
                ),
                Ok(response) => {
                    let from = response.remote_addr().map(|at| format!("{at} ")).unwrap_or_default();
                    Ok(format!("{from}answers in {} ms", start.elapsed().as_millis()))
                }
                Err(error) => Err(error.to_string()),
            };
        Reachability { address: without_query(url), result }
    }
}

/// Whether an answer describes an `OpenID` provider.
fn describes_provider(body: &[u8]) -> bool {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    document.is_some_and(|document| document["issuer"].is_string() && document["token_endpoint"].is_string())
}
