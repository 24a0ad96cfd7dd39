//! Tries the service step by step, for the person who has to find out why it can't be used.

use std::time::Instant;

use reqwest::{Method, Request};
use url::Url;

use super::address::without_query;
use super::client::Client;
use super::session::{TokenLifetimes, TokenNeed};
use super::transport;
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
