//! What a sandbox is started with, and what one needs to know to use it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use url::Url;

use crate::hex;
use crate::vault::RemotePath;

/// How a sandbox behaves. [`Options::new`] has the defaults; the knobs stand for what is unknown of the real service.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a knob of its own")]
pub struct Options {
    /// Where it listens: a loopback address; port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// A path in front of every address, as a reverse proxy adds one: empty (default), or `/like/this`.
    pub prefix: String,
    /// The folder that holds the vault; made where it is missing.
    pub store: PathBuf,
    /// Folders of the vault that are made at the start where they are missing.
    pub folders: Vec<RemotePath>,
    /// The realm's name.
    pub realm: String,
    /// The login client's id.
    pub client_id: String,
    /// The client's secret; with one, the client is confidential and may use the `client_credentials` grant.
    pub client_secret: Option<String>,
    /// Whether the client may use the password grant. Default true.
    pub direct_access: bool,
    /// The only user's name.
    pub username: String,
    /// That user's password. Default `sandbox-password`, which everybody knows: for tests. See [`chance_password`].
    pub password: String,
    /// Whether it answers below `/sandbox/`, where anybody on this machine can set faults and read statistics. Default true.
    pub controls: bool,
    /// How long an access token lives. It is exact; the answer's `expires_in` is whole seconds, at least 1. Default 300 s.
    pub token_life: Duration,
    /// How long a refresh token lives, which is how long a session may idle. Default 1800 s.
    pub refresh_life: Duration,
    /// How long a session lives at most, however often it is refreshed. Default 10 h.
    pub session_life: Duration,
    /// Whether a refresh token can be used only once; using it again ends the session. Default true.
    pub rotation: bool,
    /// When failed logins lock the account; `None` never locks it. Default as Keycloak's.
    pub brute_force: Option<BruteForce>,
    /// The status of a refused password. Default 400, as Keycloak 26.6 and later; it was 401 before.
    pub refused_password: u16,
    /// The issuer of a real Keycloak realm (`https://host/auth/realms/NAME`), whose tokens are taken instead of own ones.
    /// The realm settings above then say only what [`Access`] repeats.
    pub keycloak: Option<Url>,
    /// What a second upload under one name does. Default [`Duplicates::Version`].
    pub duplicates: Duplicates,
    /// When the token of an upload is checked. Default [`TokenCheck::AtStart`].
    pub token_check: TokenCheck,
    /// Whether SHA-256 sums are computed and told. Default true.
    pub checksums: bool,
    /// The largest document in bytes; larger ones get a 413. Default none.
    pub max_size: Option<u64>,
    /// How many stored uploads are remembered for `GET /sandbox/uploads`. Default 1,000,000 (some 300 bytes each).
    pub remembered: usize,
}

/// When failed logins lock the account, as Keycloak's brute-force detection does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BruteForce {
    /// So many failures without a success between them lock it. Default 30.
    pub failures: u32,
    /// For so long. Default 15 min.
    pub lock: Duration,
    /// Two failures within this time lock it too. Default 1 s.
    pub quick: Duration,
    /// For so long. Default 60 s.
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

/// What a second upload under one name does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// A new version of the same document.
    Version,
    /// A second document of the same name.
    SecondDocument,
    /// A 409; nothing is stored.
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
    /// The defaults over this folder.
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

/// A password by chance, for a sandbox on a machine that others use too.
pub fn chance_password() -> io::Result<String> {
    let mut random = [0; 16];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if filled < random.len() {
        return Err(io::Error::other("the system gives too little chance"));
    }
    Ok(hex(&random))
}

/// All that one needs to use a sandbox, as JSON with just these keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The API's base, to which `/api/v2.1` is added.
    pub api_url: String,
    /// The login's base, to which `/auth/realms/…` is added.
    pub auth_url: String,
    /// The realm's name.
    pub realm: String,
    /// The login client's id.
    pub client_id: String,
    /// The user's name.
    pub username: String,
    /// The user's password: the sandbox's own, no secret.
    pub password: String,
}

impl Access {
    /// What a sandbox with these options tells, once it listens at `address`.
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

/// The login's base and the realm's name of an issuer, where it has the usual form.
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
