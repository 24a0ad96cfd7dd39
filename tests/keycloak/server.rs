//! The running Keycloak: a realm of its own for each test, and the administrator who changes things in it.

use std::path::Path;

use astran_backup::astran::{Client, ClientConfig, Credentials, Timeouts, UserCredentials};
use astran_backup::secret::Source;
use serde_json::{Value, json};

use crate::support::World;

pub const PASSWORD: &str = "right-password";
pub const SECRET: &str = "client-secret";

/// A realm of the running server, with a world whose sandbox accepts its tokens.
pub struct Realm {
    pub world: World,
    http: reqwest::Client,
    server: String,
    pub name: String,
    user: String,
}

/// An answer of the realm: status, `error`, `error_description`.
pub type Row = (u16, String, String);

impl Realm {
    /// A realm of this name with short lives, changed by these settings.
    pub fn new(name: &str, settings: &Value) -> Self {
        let server = std::env::var("KEYCLOAK_URL").expect("these tests need a Keycloak: run .ci/keycloak");
        // An error only says that another test has installed the provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let issuer = format!("{server}/auth/realms/{name}");
        let world = World::with(|options| {
            options.keycloak = Some(issuer.parse().unwrap());
            options.client_id = "public".into();
            options.username = "someone".into();
            options.password = PASSWORD.into();
        });
        let http = reqwest::Client::new();
        let mut realm = Self { world, http, server, name: name.into(), user: String::new() };
        let mut description = description(name);
        description.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        realm.administer("POST", "realms", &description);
        realm.user =
            realm.admin("GET", "users?username=someone&exact=true", &Value::Null)[0]["id"].as_str().unwrap().into();
        realm
    }

    /// Sends a request of the administrator about this realm.
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let path =
            if path.is_empty() { format!("realms/{}", self.name) } else { format!("realms/{}/{path}", self.name) };
        self.administer(method, &path, body)
    }

    /// Changes something of the user.
    pub fn change_user(&self, change: &Value) {
        self.admin("PUT", &format!("users/{}", self.user), change);
    }

    pub fn change_password(&self, password: &str) {
        let credential = json!({"type": "password", "value": password, "temporary": false});
        self.admin("PUT", &format!("users/{}/reset-password", self.user), &credential);
    }

    /// How many sessions the user has.
    pub fn sessions(&self) -> usize {
        self.admin("GET", &format!("users/{}/sessions", self.user), &Value::Null).as_array().unwrap().len()
    }

    pub fn end_sessions(&self) {
        self.admin("POST", &format!("users/{}/logout", self.user), &json!({}));
    }

    /// The number of refused logins that Keycloak has counted for the user.
    pub fn failures(&self) -> u64 {
        self.admin("GET", &format!("attack-detection/brute-force/users/{}", self.user), &Value::Null)["numFailures"]
            .as_u64()
            .unwrap()
    }

    pub fn unlock(&self) {
        self.admin("DELETE", &format!("attack-detection/brute-force/users/{}", self.user), &Value::Null);
    }

    /// Sends a request for tokens with these fields.
    pub fn token(&self, form: &[(&str, &str)]) -> (Row, Value) {
        self.world.runtime.block_on(ask(&self.http, &self.token_url(), form))
    }

    pub fn login(&self, user: &str, password: &str) -> (Row, Value) {
        self.token(&[("grant_type", "password"), ("client_id", "public"), ("username", user), ("password", password)])
    }

    pub fn refresh(&self, token: &Value) -> (Row, Value) {
        let token = token["refresh_token"].as_str().unwrap();
        self.token(&[("grant_type", "refresh_token"), ("client_id", "public"), ("refresh_token", token)])
    }

    fn token_url(&self) -> String {
        format!("{}/auth/realms/{}/protocol/openid-connect/token", self.server, self.name)
    }

    /// The program's client, logging in as the user of this realm.
    pub fn client(&self, password: &str) -> Client {
        let password = Source::Given(password.to_owned().into());
        self.client_as("public", None, Some(UserCredentials { username: "someone".into(), password }))
    }

    pub fn client_as(&self, id: &str, secret: Option<&str>, user: Option<UserCredentials>) -> Client {
        let client_secret = secret.map(|secret| Source::Given(secret.to_owned().into()));
        let config = ClientConfig {
            realm: self.name.clone(),
            api_url: self.world.sandbox().access().api_url.parse().unwrap(),
            auth_url: self.server.parse().unwrap(),
            content_type: "application/octet-stream".into(),
            ca_file: None,
            credentials: Credentials { client_id: id.into(), client_secret, user },
            timeouts: Timeouts::default(),
            refused_logins: None,
        };
        Client::new(config).unwrap()
    }

    fn administer(&self, method: &str, path: &str, body: &Value) -> Value {
        self.world.runtime.block_on(async {
            let form =
                [("grant_type", "password"), ("client_id", "admin-cli"), ("username", "admin"), ("password", "admin")];
            let url = format!("{}/auth/realms/master/protocol/openid-connect/token", self.server);
            let (_, tokens) = ask(&self.http, &url, &form).await;
            let request = self
                .http
                .request(method.parse().unwrap(), format!("{}/auth/admin/{path}", self.server))
                .bearer_auth(tokens["access_token"].as_str().expect("the administrator logs in"));
            let request = match body {
                Value::Null => request,
                body => request.header("content-type", "application/json").body(body.to_string()),
            };
            let answer = request.send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success(), "{method} {path}: {status} {text}");
            serde_json::from_str(&text).unwrap_or_default()
        })
    }
}

/// Sends a form; returns the row of the answer (empty texts for a success) and the whole answer.
pub async fn ask(http: &reqwest::Client, url: &str, form: &[(&str, &str)]) -> (Row, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    ((status, field("error"), field("error_description")), json)
}

/// Stops the server and starts it again with the same data.
pub fn restart() {
    let script = std::env::var("KEYCLOAK_RESTART").expect("run .ci/keycloak");
    assert!(std::process::Command::new(Path::new(&script)).arg("restart").status().unwrap().success());
}

fn description(name: &str) -> Value {
    let client = |id: &str, more: Value| {
        let mut client =
            json!({"clientId": id, "enabled": true, "publicClient": true, "directAccessGrantsEnabled": true});
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client
    };
    let confidential =
        |services: bool| json!({"publicClient": false, "secret": SECRET, "serviceAccountsEnabled": services});
    json!({
        "realm": name, "enabled": true, "sslRequired": "none",
        "accessTokenLifespan": 5, "ssoSessionIdleTimeout": 20, "ssoSessionMaxLifespan": 600,
        "revokeRefreshToken": true, "bruteForceProtected": true,
        "clients": [
            client("public", json!({})),
            client("no-password", json!({"directAccessGrantsEnabled": false})),
            client("confidential", confidential(true)),
            client("no-service", confidential(false)),
        ],
        "users": [{
            "username": "someone", "enabled": true, "emailVerified": true,
            "firstName": "Some", "lastName": "One", "email": "someone@example.com",
            "credentials": [{"type": "password", "value": PASSWORD, "temporary": false}],
        }],
    })
}
