//! A plain client, which sends any request, right or wrong.

use std::time::Duration;

use astran_backup::sandbox::{Access, Options, Sandbox};
use astran_backup::vault::RemotePath;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Service {
    pub(crate) sandbox: Sandbox,
    pub(crate) store: TempDir,
    pub(crate) user: User,
}

/// A user with an HTTP client and, once logged in, a token.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) http: reqwest::Client,
    pub(crate) access: Access,
    pub(crate) token: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Status, `error` and `error_description`, as in the table of Keycloak's answers.
    pub(crate) fn row(&self) -> (u16, String, String) {
        let json = self.json();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), text("error"), text("error_description"))
    }
}

pub(crate) fn client() -> reqwest::Client {
    builder().build().unwrap()
}

pub(crate) fn builder() -> reqwest::ClientBuilder {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(20))
}

/// A sandbox with the folder `/HR_Backup` and a user who has logged in.
pub(crate) async fn service() -> Service {
    service_with(|_| {}).await
}

pub(crate) async fn service_with(change: impl FnOnce(&mut Options)) -> Service {
    let mut service = logged_out(change).await;
    service.user = service.user.logged_in().await;
    service
}

pub(crate) async fn logged_out(change: impl FnOnce(&mut Options)) -> Service {
    let store = tempfile::tempdir().unwrap();
    let mut options = Options::new(store.path().join("vault"));
    options.folders = vec![RemotePath::parse("/HR_Backup").unwrap()];
    change(&mut options);
    let sandbox = Sandbox::start(options).await.unwrap();
    let user = User::new(&sandbox);
    Service { sandbox, store, user }
}

impl Service {
    /// The files in the store's folder, as a user sees them.
    pub(crate) fn on_disk(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.store.path().join("vault").join(path)).ok()
    }
}

impl User {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        Self { http: client(), access: sandbox.access().clone(), token: String::new() }
    }

    pub(crate) async fn logged_in(self) -> Self {
        let answer = self.login().await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        Self { token: answer.json()["access_token"].as_str().unwrap().to_owned(), ..self }
    }

    pub(crate) fn realm_url(&self, endpoint: &str) -> String {
        format!("{}/auth/realms/{}/{endpoint}", self.access.auth_url, self.access.realm)
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.form("protocol/openid-connect/token", form).await
    }

    pub(crate) async fn form(&self, endpoint: &str, form: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(self.realm_url(endpoint));
        send(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    pub(crate) async fn login(&self) -> Answer {
        let Access { client_id, username, password, .. } = &self.access;
        self.login_as(client_id, username, password).await
    }

    pub(crate) async fn login_as(&self, client_id: &str, username: &str, password: &str) -> Answer {
        let grant = ("grant_type", "password");
        self.token(&[grant, ("client_id", client_id), ("username", username), ("password", password)]).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        let client = ("client_id", self.access.client_id.as_str());
        self.token(&[("grant_type", "refresh_token"), client, ("refresh_token", token)]).await
    }

    pub(crate) fn request(&self, method: Method, call: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v2.1/{call}", self.access.api_url)).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, call: &str) -> Answer {
        send(self.request(Method::GET, call).header("accept", "application/json")).await
    }

    pub(crate) async fn metadata(&self, path: &str) -> Answer {
        self.get(&format!("filesystem{}?children=false", encoded(path))).await
    }

    pub(crate) async fn content(&self, path: &str) -> Answer {
        send(self.request(Method::GET, &format!("filesystem{}?children=false", encoded(path)))).await
    }

    pub(crate) async fn folder_id(&self) -> String {
        self.metadata("/HR_Backup").await.json()["ID"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn children(&self) -> Vec<Value> {
        let answer = self.get(&format!("files/{}/children", self.folder_id().await)).await;
        answer.json().as_array().unwrap().clone()
    }

    pub(crate) async fn uploading(&self, name: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let call = format!("files/{}/children?name={name}&isMajor=true", self.folder_id().await);
        self.request(Method::POST, &call).body(body)
    }

    pub(crate) async fn upload(&self, name: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.uploading(name, body).await).await
    }
}

/// A path with each segment encoded.
pub(crate) fn encoded(path: &str) -> String {
    path.split('/').map(|s| utf8_percent_encode(s, NON_ALPHANUMERIC).to_string()).collect::<Vec<_>>().join("/")
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    try_send(request).await.unwrap()
}

pub(crate) async fn try_send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}

pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes)
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .map(|d| char::from_digit(d.into(), 16).unwrap())
        .collect()
}
