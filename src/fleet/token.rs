//! What `fleet enroll` prints and `fleet join` takes: the login of a new host, with a password that is good for one use. Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::FleetError;

/// What each token begins with: its kind and version.
const PREFIX: &str = "astran-fleet-1.";

/// The login of a host that has not joined yet. `Debug` does not show the password.
#[derive(Debug, Clone)]
pub struct Token {
    /// The host's name in the fleet.
    pub host: String,
    /// The database's login for the host.
    pub login: String,
    /// The password until the host joins.
    pub password: SecretString,
}

#[derive(Serialize, Deserialize)]
struct Fields {
    host: String,
    login: String,
    password: String,
}

impl Token {
    /// The token as a person carries it to the host.
    pub fn text(&self) -> SecretString {
        let Self { host, login, password } = self.clone();
        let fields = Fields { host, login, password: password.expose_secret().to_owned() };
        // Three texts always become JSON.
        let json = serde_json::to_vec(&fields).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json)).into()
    }

    /// Reads a token. No error repeats it.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
        let fields = bytes.and_then(|bytes| serde_json::from_slice::<Fields>(&bytes).ok());
        let Some(Fields { host, login, password }) = fields else {
            return Err(FleetError::Settings(format!(
                "that is no token: it begins with {PREFIX}, and `astran-backup fleet enroll` prints it"
            )));
        };
        Ok(Self { host, login, password: password.into() })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token of {}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_shows_its_password_to_nobody() {
        let token = Token { host: "scan-01".into(), login: "fleet_host_scan-01".into(), password: "hunter2".into() };
        let text = token.text();
        let read = Token::parse(&format!(" {}\n", text.expose_secret())).unwrap();
        assert_eq!((read.host.as_str(), read.login.as_str()), ("scan-01", "fleet_host_scan-01"));
        assert_eq!(read.password.expose_secret(), "hunter2");
        assert!(!format!("{read:?} {read}").contains("hunter2"));
        for bad in ["", "astran-fleet-1.", "astran-fleet-2.e30", "astran-fleet-1.!!", "astran-fleet-1.e30"] {
            Token::parse(bad).unwrap_err();
        }
    }
}
