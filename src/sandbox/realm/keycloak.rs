//! Checks the tokens of a real Keycloak realm: a token is valid only with a signature by one of the realm's keys.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use url::Url;

/// The shortest time between two fetches of the keys. They are fetched again when a token names an unknown key.
const KEYS_AGAIN: Duration = Duration::from_secs(2);

/// The checker of a Keycloak realm's tokens.
pub(crate) struct Keycloak {
    issuer: String,
    http: reqwest::Client,
    keys: tokio::sync::Mutex<Keys>,
    /// Tokens whose signature is verified already, so that each is verified once.
    verified: Mutex<HashMap<String, Verified>>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, Key>,
    fetched: Option<Instant>,
}

/// An RSA public key: modulus and exponent, big-endian.
struct Key {
    n: Vec<u8>,
    e: Vec<u8>,
}

struct Verified {
    /// Seconds since 1970.
    until: u64,
    /// Refused although it is valid, for tests.
    refused: bool,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    /// `Bearer` for an access token. ID tokens have the same signature but are no access tokens.
    typ: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RsaKey {
    kid: String,
    n: String,
    e: String,
}

impl Keycloak {
    pub(super) fn new(issuer: &Url) -> Result<Self, reqwest::Error> {
        // Another provider that is installed already is good too.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            issuer: issuer.as_str().trim_end_matches('/').to_owned(),
            http,
            keys: tokio::sync::Mutex::default(),
            verified: Mutex::default(),
        })
    }

    /// Whether the API takes this token now.
    pub(super) async fn admits(&self, token: &str) -> bool {
        let now = unix_seconds();
        if let Some(known) = self.verified().get(token) {
            return !known.refused && now < known.until;
        }
        let Some(until) = self.verify(token, now).await else { return false };
        let mut verified = self.verified();
        if verified.len() >= 10_000 {
            verified.retain(|_, known| now < known.until);
        }
        verified.insert(token.to_owned(), Verified { until, refused: false });
        true
    }

    /// Refuses all tokens seen so far.
    pub(super) fn refuse_seen(&self) {
        self.verified().values_mut().for_each(|known| known.refused = true);
    }

    async fn verify(&self, token: &str, now: u64) -> Option<u64> {
        let key_id = header(token)?.kid;
        let mut keys = self.keys.lock().await;
        let recent = keys.fetched.is_some_and(|at| at.elapsed() < KEYS_AGAIN);
        if !keys.by_id.contains_key(&key_id) && !recent {
            keys.fetched = Some(Instant::now());
            keys.by_id = self.fetch_keys().await?;
        }
        expiry(token, keys.by_id.get(&key_id)?, &self.issuer, now)
    }

    async fn fetch_keys(&self) -> Option<HashMap<String, Key>> {
        let url = format!("{}/protocol/openid-connect/certs", self.issuer);
        let answer = self.http.get(&url).send().await.and_then(reqwest::Response::error_for_status);
        let body = match answer {
            Ok(response) => response.bytes().await,
            Err(error) => Err(error),
        };
        match body {
            Ok(body) => key_set(&body),
            Err(error) => {
                tracing::warn!("the Keycloak realm's keys can't be fetched from {url}: {error}");
                None
            }
        }
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<String, Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when the token expires, in seconds since 1970; `None` unless it is an access token of the issuer, signed with the key, and
/// valid now.
fn expiry(token: &str, key: &Key, issuer: &str, now: u64) -> Option<u64> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    RsaPublicKeyComponents { n: &key.n, e: &key.e }
        .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
        .ok()?;
    let claims: Claims = part(signed.split_once('.')?.1)?;
    let alive = claims.nbf <= now && now < claims.exp;
    (alive && claims.iss == issuer && claims.typ == "Bearer").then_some(claims.exp)
}

/// Returns the header of a token, if its algorithm is RS256. No other algorithm is accepted, least of all `none`.
fn header(token: &str) -> Option<Header> {
    part::<Header>(token.split_once('.')?.0).filter(|header| header.alg == "RS256")
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Returns the RSA signing keys of a key set, without its other keys.
fn key_set(json: &[u8]) -> Option<HashMap<String, Key>> {
    let set: KeySet = serde_json::from_slice(json).ok()?;
    let keys = set.keys.into_iter().filter_map(|key| {
        let is_encryption = key.get("use").is_some_and(|usage| usage == "enc");
        let key = RsaKey::deserialize(key).ok().filter(|_| !is_encryption)?;
        Some((key.kid, Key { n: URL_SAFE_NO_PAD.decode(key.n).ok()?, e: URL_SAFE_NO_PAD.decode(key.e).ok()? }))
    });
    Some(keys.collect())
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "http://127.0.0.1:8080/auth/realms/hr";

    /// A key made for these tests, used nowhere else.
    fn key_pair() -> RsaKeyPair {
        RsaKeyPair::from_pkcs8(include_bytes!("keycloak_test_key.pk8")).unwrap()
    }

    fn public_key() -> Key {
        let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key_pair().public_key());
        Key { n: public.n, e: public.e }
    }

    fn signed(header: &serde_json::Value, claims: &serde_json::Value) -> String {
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(header), encode(claims));
        let key = key_pair();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(claims: &serde_json::Value) -> String {
        signed(&json!({"alg": "RS256", "kid": "k1"}), claims)
    }

    #[test]
    fn a_signed_access_token_of_the_issuer_is_taken_until_it_expires() {
        let token = token(&json!({"iss": ISSUER, "exp": 1000, "typ": "Bearer"}));
        assert_eq!(header(&token).unwrap().kid, "k1");
        assert_eq!(expiry(&token, &public_key(), ISSUER, 999), Some(1000));
        assert_eq!(expiry(&token, &public_key(), ISSUER, 1000), None);
    }

    #[test]
    fn tokens_of_others_and_other_tokens_are_refused() {
        for claims in [
            json!({"iss": "http://elsewhere/auth/realms/hr", "exp": 1000, "typ": "Bearer"}),
            json!({"iss": ISSUER, "exp": 1000, "typ": "ID"}),
            json!({"iss": ISSUER, "exp": 1000, "typ": "Bearer", "nbf": 900}),
            json!({"iss": ISSUER, "typ": "Bearer"}),
        ] {
            assert_eq!(expiry(&token(&claims), &public_key(), ISSUER, 500), None, "{claims}");
        }
    }

    #[test]
    fn a_changed_or_missing_signature_is_refused() {
        let good = token(&json!({"iss": ISSUER, "exp": 1000, "typ": "Bearer"}));
        let (text, signature) = good.rsplit_once('.').unwrap();
        let other = token(&json!({"iss": ISSUER, "exp": 2000, "typ": "Bearer"}));
        let other_text = other.rsplit_once('.').unwrap().0;
        for forged in [format!("{text}."), text.to_owned(), format!("{other_text}.{signature}")] {
            assert_eq!(expiry(&forged, &public_key(), ISSUER, 500), None, "{forged}");
        }
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        for alg in ["none", "HS256", "RS512"] {
            assert!(header(&signed(&json!({"alg": alg, "kid": "k1"}), &json!({}))).is_none(), "{alg}");
        }
    }

    #[test]
    fn a_key_set_keeps_the_signing_keys_only() {
        let n = URL_SAFE_NO_PAD.encode(public_key().n);
        let set = json!({"keys": [
            {"kid": "a", "kty": "RSA", "use": "sig", "n": n, "e": "AQAB"},
            {"kid": "b", "kty": "RSA", "use": "enc", "n": n, "e": "AQAB"},
            {"kid": "c", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        ]});
        let keys = key_set(set.to_string().as_bytes()).unwrap();
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["a"]);
    }

    /// Answers each request with the realm's keys.
    async fn key_server() -> Url {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/auth/realms/hr", listener.local_addr().unwrap());
        let key = public_key();
        let (n, e) = (URL_SAFE_NO_PAD.encode(key.n), URL_SAFE_NO_PAD.encode(key.e));
        let body = json!({"keys": [{"kid": "k1", "kty": "RSA", "use": "sig", "n": n, "e": e}]}).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /auth/realms/hr/protocol/openid-connect/certs "));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url.parse().unwrap()
    }

    #[tokio::test]
    async fn the_keys_come_from_the_realm() {
        let issuer = key_server().await;
        let keycloak = Keycloak::new(&issuer).unwrap();
        let claims = json!({"iss": issuer.as_str(), "exp": unix_seconds() + 60, "typ": "Bearer"});
        let good = token(&claims);
        assert!(keycloak.admits(&good).await);
        assert!(keycloak.admits(&good).await);
        assert!(!keycloak.admits(&signed(&json!({"alg": "RS256", "kid": "other"}), &claims)).await);
        assert!(!keycloak.admits(&good[..good.len() - 2]).await);
        assert!(!keycloak.admits("nonsense").await);
        keycloak.refuse_seen();
        assert!(!keycloak.admits(&good).await);
    }
}
