//! Looking at the service step by step, for whoever has to mend the way to it.

use std::time::{Duration, Instant};

use url::Url;

use super::error;
use super::session::Need;
use super::{Client, transport};
use crate::vault::VaultError;

/// One of the service's two addresses, and whether anybody answers there.
#[derive(Debug)]
pub struct Reached {
    /// The address that was asked.
    pub address: String,
    /// Who answered and how fast; or why nobody did, with the mend.
    pub outcome: Result<String, String>,
}

/// How long the tokens of a session live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// An access token; `None` where the service does not tell.
    pub access: Option<Duration>,
    /// The refresh token.
    pub refresh: Renewal,
}

/// How a session goes on when its access token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// By another login: there is no refresh token.
    Login,
    /// By a refresh token that does not end by itself.
    Unlimited,
    /// By a refresh token that is good for so long without use.
    Within(Duration),
}

impl Client {
    /// Asks the API's address for an answer, whatever it is: its name resolves, a connection stands, its certificate holds.
    pub async fn reach_api(&self) -> Reached {
        self.reach(&self.inner.addresses.me()).await
    }

    /// The same for the login's address.
    pub async fn reach_login(&self) -> Reached {
        self.reach(&self.inner.addresses.token()).await
    }

    /// Logs in, and tells how long that lasts.
    pub async fn log_in(&self) -> Result<Lives, VaultError> {
        Ok(self.inner.tokens.token(Need::Short).await?.lives())
    }

    /// No token is sent, so that nothing is told to whoever answers there.
    async fn reach(&self, url: &Url) -> Reached {
        let begun = Instant::now();
        let request = reqwest::Request::new(reqwest::Method::GET, url.clone());
        let outcome = match transport::send(&self.inner.http, request, self.inner.timeouts.idle).await {
            Ok(response) if response.status().is_server_error() || response.status().is_redirection() => {
                Err(format!("something answers {} there: is the address right, and the service up?", response.status()))
            }
            Ok(response) => {
                let from = response.remote_addr().map(|at| format!("{at} ")).unwrap_or_default();
                Ok(format!("{from}answers in {} ms", begun.elapsed().as_millis()))
            }
            Err(why) => Err(why),
        };
        Reached { address: error::place(url), outcome }
    }
}
