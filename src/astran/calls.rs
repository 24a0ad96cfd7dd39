//! The calls: each takes a token as it is sent, and is replayed once where the service no longer takes that token.

use std::time::SystemTime;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request, Response, StatusCode};
use url::Url;

use super::body::{Exact, Progress};
use super::document::{self, Me};
use super::download::ContentStream;
use super::error::{Call, describe};
use super::session::{Need, Token};
use super::transport::{self, Answer, Broken, Limits};
use super::{Client, Inner};
use crate::printable::printable;
use crate::vault::{Content, Document, DocumentId, Kind, RemotePath, Vault, VaultError};

/// Content of this length may take long enough for a token to end under way.
const LONG: u64 = 16 << 20;
/// Not the login's trouble: other files are sent well within a token's life.
const OUTLIVED: &str = "it takes longer than a token lives, and the service looks at the token again at its end: have the \
                        realm's access token lifespan raised, or send it where the line is faster";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

impl Vault for Client {
    type Download = ContentStream;

    async fn folder(&self, path: &RemotePath) -> Result<Document, VaultError> {
        self.inner.folder(path).await
    }

    async fn children(&self, folder: &DocumentId) -> Result<Vec<Document>, VaultError> {
        self.inner.children(folder).await
    }

    async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        self.inner.at(path).await
    }

    async fn child(&self, folder: &DocumentId, id: &DocumentId) -> Result<Option<Document>, VaultError> {
        Ok(self.inner.children_that(folder, |document| document.id == *id).await?.pop())
    }

    async fn named(&self, path: &RemotePath, folder: &DocumentId, name: &str) -> Result<Vec<Document>, VaultError> {
        match self.inner.children_that(folder, |document| document.name.as_deref() == Some(name)).await {
            Ok(named) => Ok(named),
            // Not every user may list every folder they may write to, and some listings are too large to read.
            Err(e) if matches!(e.kind, Kind::Forbidden | Kind::Missing | Kind::Refused) => {
                Ok(self.inner.at(&path.join(name)).await?.into_iter().collect())
            }
            Err(e) => Err(e),
        }
    }

    async fn upload(
        &self,
        folder: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> Result<Document, VaultError> {
        self.inner.upload(folder, name, content).await
    }

    async fn download(&self, path: &RemotePath) -> Result<ContentStream, VaultError> {
        self.inner.download(path).await
    }

    async fn probe(&self) -> Result<String, VaultError> {
        let me = self.inner.me().await?;
        Ok(me.name.unwrap_or_else(|| self.inner.user.clone()))
    }
}

impl Inner {
    /// Who is logged in, and where their documents begin.
    pub(super) async fn me(&self) -> Result<Me, VaultError> {
        let url = self.addresses.me();
        let call = self.call("the question who is logged in", &url);
        let answer = self.ask(&call, Limits::small(&self.timeouts)).await?;
        let body = success(&call, &answer)?;
        document::me(body).map_err(|why| call.unreadable(&why.to_string(), body))
    }

    pub(super) async fn children(&self, folder: &DocumentId) -> Result<Vec<Document>, VaultError> {
        self.children_that(folder, |_| true).await
    }

    /// Of a folder's children those that are asked for: no more of a listing is ever held as documents.
    async fn children_that(
        &self,
        folder: &DocumentId,
        wanted: impl Fn(&Document) -> bool,
    ) -> Result<Vec<Document>, VaultError> {
        let url = self.addresses.children(&folder.0)?;
        let call = self.call("the listing of a folder", &url);
        let answer = self.ask(&call, Limits::listing(&self.timeouts)).await?;
        let body = success(&call, &answer)?;
        document::listing(body, wanted).map_err(|why| call.unreadable(&why.to_string(), body))
    }

    async fn upload(
        &self,
        folder: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> Result<Document, VaultError> {
        let url = self.addresses.upload(&folder.0, name)?;
        let what = format!("the upload of {name:?}");
        let mut call = self.call(&what, &url);
        let open = || {
            content().map_err(|e| VaultError::new(Kind::Content, format!("{what}: the content can't be opened: {e}")))
        };
        let mut opened = open()?;
        call.upload = Some(opened.length);
        let need = if opened.length >= LONG { Need::Long } else { Need::Short };
        let mut token = self.tokens.token(need).await?;
        let mut sent = self.send_content(&call, &token, opened).await?;
        if sent.0.status == StatusCode::UNAUTHORIZED {
            self.tokens.instead_of(&token).await?;
            // What there is instead may be near its end, where others have fetched it.
            token = self.tokens.token(need).await?;
            // From its beginning: what was read of it is gone.
            opened = open()?;
            call.upload = Some(opened.length);
            sent = self.send_content(&call, &token, opened).await?;
            if sent.0.status == StatusCode::UNAUTHORIZED && token.is_over() {
                return Err(call.error(Kind::Refused, OUTLIVED));
            }
        }
        let (answer, all_sent) = sent;
        let body = success(&call, &answer).map_err(|e| {
            // A proxy may say "busy" of what is still being stored behind it. What the store never had in full it can't have stored.
            let may_come = e.maybe_stored || answer.status == StatusCode::SERVICE_UNAVAILABLE;
            e.with_all_sent(all_sent && may_come)
        })?;
        if !all_sent {
            return Err(call.error(Kind::Unknown, "the service answers that it has it before all of it was sent"));
        }
        document::document(body).map_err(|why| call.unreadable(&why.to_string(), body))
    }

    /// Sends content once. Answers also whether all of it was sent.
    async fn send_content(
        &self,
        call: &Call<'_>,
        token: &Token,
        content: Content,
    ) -> Result<(Answer, bool), VaultError> {
        let length = content.length;
        let (body, progress) = Exact::new(content);
        let mut request = request(Method::POST, call.url, token, JSON);
        request.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(Body::wrap(body));
        let sending = async {
            let response = self.http.execute(request).await.map_err(|e| (describe(&e), e.is_connect()))?;
            transport::read(response, Limits::small(&self.timeouts)).await.map_err(|e| (e.to_string(), false))
        };
        let outcome = tokio::select! {
            outcome = sending => outcome,
            () = progress.stalled(&self.timeouts) => Err((self.silence(&progress), false)),
        };
        if let Some(why) = progress.failure() {
            return Err(call.error(Kind::Content, &format!("the content could not be read to its end: {why}")));
        }
        match outcome {
            Ok(answer) => {
                note(token, answer.status);
                Ok((answer, progress.all_sent()))
            }
            // An empty document is all sent before the connection stands.
            Err((why, connecting)) if connecting || !progress.all_sent() => Err(call.error(Kind::Unavailable, &why)),
            Err((why, _)) => {
                Err(call
                    .error(Kind::Unknown, &format!("{why}; whether it was stored is not known until it is looked up")))
            }
        }
    }

    fn silence(&self, progress: &Progress) -> String {
        if progress.all_sent() {
            "no answer came after all of it was sent".to_owned()
        } else {
            format!("the service took nothing more for {} s", self.timeouts.upload_idle.as_secs())
        }
    }

    async fn download(&self, path: &RemotePath) -> Result<ContentStream, VaultError> {
        let url = self.addresses.filesystem(path)?;
        let what = format!("the download of {}", shown(path));
        let call = self.call(&what, &url);
        let response = self.get(&call, ANYTHING).await?;
        if response.status().is_success() {
            return Ok(ContentStream::new(what, response, self.timeouts.idle));
        }
        let answer = transport::read(response, Limits::small(&self.timeouts)).await;
        let answer = answer.map_err(|e| call.error(Kind::Unavailable, &e.to_string()))?;
        Err(call.status(answer.status, &answer.headers, &answer.body, SystemTime::now()))
    }

    /// Asks for something that comes as JSON; any status but a 401 that a new token mends.
    pub(super) async fn ask(&self, call: &Call<'_>, limits: Limits) -> Result<Answer, VaultError> {
        let response = self.get(call, JSON).await?;
        transport::read(response, limits).await.map_err(|e| {
            // Waiting would not make it smaller.
            let kind = if matches!(e, Broken::TooLarge(_)) { Kind::Refused } else { Kind::Unavailable };
            call.error(kind, &e.to_string())
        })
    }

    async fn get(&self, call: &Call<'_>, accept: HeaderValue) -> Result<Response, VaultError> {
        let token = self.tokens.token(Need::Short).await?;
        let response = self.get_with(call, accept.clone(), &token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let token = self.tokens.instead_of(&token).await?;
        self.get_with(call, accept, &token).await
    }

    async fn get_with(&self, call: &Call<'_>, accept: HeaderValue, token: &Token) -> Result<Response, VaultError> {
        let request = request(Method::GET, call.url, token, accept);
        let response = transport::send(&self.http, request, self.timeouts.idle)
            .await
            .map_err(|why| call.error(Kind::Unavailable, &why))?;
        note(token, response.status());
        Ok(response)
    }

    /// A call without content, for its errors.
    pub(super) fn call<'a>(&'a self, what: &'a str, url: &'a Url) -> Call<'a> {
        Call { what, url, upload: None, content_type: self.content_type.to_str().unwrap_or_default() }
    }
}

fn request(method: Method, url: &Url, token: &Token, accept: HeaderValue) -> Request {
    let mut request = Request::new(method, url.clone());
    request.headers_mut().insert(AUTHORIZATION, token.header());
    request.headers_mut().insert(ACCEPT, accept);
    request
}

/// The body of an answer that is a success; the error that it is else.
pub(super) fn success<'a>(call: &Call<'_>, answer: &'a Answer) -> Result<&'a [u8], VaultError> {
    if answer.status.is_success() {
        return Ok(&answer.body);
    }
    Err(call.status(answer.status, &answer.headers, &answer.body, SystemTime::now()))
}

/// A token with which a call succeeded is good: if it is refused later, it was revoked, and another helps.
fn note(token: &Token, status: StatusCode) {
    if status.is_success() {
        token.accept();
    }
}

/// A path for a message: on one line, whatever its names hold.
pub(super) fn shown(path: &RemotePath) -> String {
    printable(&path.to_string())
}
