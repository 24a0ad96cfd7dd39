//! The settings of a sandbox, and the data that a client needs to use it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use url::Url;

use crate::hex;
use crate::vault::RemotePath;

/// The settings of a sandbox. [`Options::new`] has the defaults. Many settings stand for what is unknown of the real service.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the settings are independent")]
pub struct Options {
    /// The address to listen on, which must be on loopback; port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// A path in front of every address, as a reverse proxy adds one: empty (default), or `/like/this`.
    pub prefix: String,
    /// The folder that holds the vault. It is created where it is missing.
    pub store: PathBuf,
    /// Folders of the vault that are created at the start where they are missing.
    pub folders: Vec<RemotePath>,
    /// The realm's name.
    pub realm: String,
    /// The login client's id.
    pub client_id: String,
    /// The client's secret; with one, the client is confidential and may use the `client_credentials` grant.
    pub client_secret: Option<String>,
    /// Whether the client may use the password grant. Default true.
    pub direct_access: bool,
    /// The name of the only user.
    pub username: String,
    /// The user's password. Default `sandbox-password`, which is public and so for tests only; see [`random_password`].
    pub password: String,
    /// Whether there is `/sandbox/`, where every user of this machine can set faults and read statistics. Default true.
    pub controls: bool,
    /// The lifetime of an access token, to the nanosecond; `expires_in` in the answer is in whole seconds, at least 1. Default 300 s.
    pub token_life: Duration,
    /// The lifetime of a refresh token, which is how long a session may be idle. Default 1800 s.
    pub refresh_life: Duration,
    /// The longest lifetime of a session, however often it is refreshed. Default 10 h.
    pub session_life: Duration,
    /// Whether a refresh token can be used only once. A second use ends the session. Default true.
    pub rotation: bool,
    /// When failed logins lock the account; never with `None`. Default as Keycloak's.
    pub brute_force: Option<BruteForce>,
    /// The status of the answer to a wrong password. Default 400, as Keycloak 26.6 and later; earlier ones answer 401.
    pub refused_password: u16,
    /// The issuer of a real Keycloak realm (`https://host/auth/realms/NAME`), whose tokens the sandbox takes instead of its own.
    /// The realm settings above are then used for [`Access`] only.
    pub keycloak: Option<Url>,
    /// What a second upload of one name does. Default [`Duplicates::Version`].
    pub duplicates: Duplicates,
    /// When the token of an upload is checked. Default [`TokenCheck::AtStart`].
    pub token_check: TokenCheck,
    /// Whether answers have SHA-256 sums. Default true.
    pub checksums: bool,
    /// The size of the largest document in bytes; larger ones get a 413. Default no limit.
    pub max_size: Option<u64>,
    /// How many stored uploads are remembered for `GET /sandbox/uploads`. Default 1,000,000 (some 300 bytes each).
    pub remembered: usize,
}

/// When failed logins lock the account, as Keycloak's brute-force detection does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BruteForce {
    /// The number of failures without a success between them that locks the account. Default 30.
    pub failures: u32,
    /// How long that lock lasts. Default 15 min.
    pub lock: Duration,
    /// Two failures within this time lock the account too. Default 1 s.
    pub quick: Duration,
    /// How long that lock lasts. Default 60 s.
    pub quick_lock: Duration,
}

impl Default for BruteForce {
    fn default() -> Self {
        Self {
            failures: 30,
            lock: Duration::from_secs(15 * 60),
            quick: Duration::from_secs(1),
            quick_lock: Duration::from_secs(60),
        }
    }
}

/// What a second upload of one name does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// It makes a new version of the same document.
    Version,
    /// It makes a second document of the same name.
    SecondDocument,
    /// It gets a 409, and nothing is stored.
    Conflict,
}

/// When the token of an upload is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCheck {
    /// Before the body is read.
    AtStart,
    /// Before the body is read, and again before it is stored.
    AtStartAndEnd,
}

impl Options {
    /// The defaults, with this folder as the store.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            prefix: String::new(),
            store: store.into(),
            folders: Vec::new(),
            realm: "sandbox".into(),
            client_id: "sandbox-client".into(),
            client_secret: None,
            direct_access: true,
            username: "sandbox@example.com".into(),
            password: "sandbox-password".into(),
            controls: true,
            token_life: Duration::from_secs(300),
            refresh_life: Duration::from_secs(1800),
            session_life: Duration::from_secs(10 * 3600),
            rotation: true,
            brute_force: Some(BruteForce::default()),
            refused_password: 400,
            keycloak: None,
            duplicates: Duplicates::Version,
            token_check: TokenCheck::AtStart,
            checksums: true,
            max_size: None,
            remembered: 1_000_000,
        }
    }
}

/// Returns a random password, for a sandbox on a machine with other users.
pub fn random_password() -> io::Result<String> {
    let mut random = [0; 16];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if filled < random.len() {
        return Err(io::Error::other("the system gave too few random bytes"));
    }
    Ok(hex(&random))
}

/// The data that a client needs to use a sandbox. Its JSON has just these keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The base address of the API, without `/api/v2.1`.
    pub api_url: String,
    /// The base address of the login, without `/auth/realms/…`.
    pub auth_url: String,
    /// The realm's name.
    pub realm: String,
    /// The login client's id.
    pub client_id: String,
    /// The user's name.
    pub username: String,
    /// The user's password. It protects nothing but the sandbox.
    pub password: String,
}

impl Access {
    /// The data of a sandbox with these options that listens at `address`.
    pub(super) fn of(options: &Options, address: SocketAddr) -> Self {
        let own = format!("http://{address}{}", options.prefix);
        let (auth_url, realm) =
            options.keycloak.as_ref().and_then(split_issuer).unwrap_or_else(|| (own.clone(), options.realm.clone()));
        Self {
            api_url: own,
            auth_url,
            realm,
            client_id: options.client_id.clone(),
            username: options.username.clone(),
            password: options.password.clone(),
        }
    }
}

/// Splits an issuer of the usual form into the base address of the login and the realm's name.
fn split_issuer(issuer: &Url) -> Option<(String, String)> {
    let (base, realm) = issuer.as_str().trim_end_matches('/').split_once("/auth/realms/")?;
    Some((base.to_owned(), realm.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_gives_the_login_base_and_the_realm() {
        let mut options = Options::new("/nowhere");
        options.keycloak = Some("http://127.0.0.1:8080/auth/realms/hr".parse().unwrap());
        let access = Access::of(&options, "127.0.0.1:1234".parse().unwrap());
        assert_eq!(access.auth_url, "http://127.0.0.1:8080");
        assert_eq!(access.realm, "hr");
        assert_eq!(access.api_url, "http://127.0.0.1:1234");
    }
}
