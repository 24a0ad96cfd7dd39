//! One upload: its content is sent once, and once more from its beginning where the service refuses the token.

use std::sync::Arc;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, StatusCode};

use super::body::ExactBody;
use super::call::Call;
use super::connection::{Connection, JSON, note_status, request, success};
use super::document;
use super::session::{Token, TokenNeed};
use super::transport::{self, Answer, Limits};
use crate::vault::{Content, Document, DocumentId, Kind, VaultError};

/// Content of this length may take long enough for a token to end while it is sent.
const LONG: u64 = 16 << 20;
/// The file's trouble and not the login's: other files are sent well within a token's lifetime.
const OUTLIVED: &str = "it takes longer than a token lives, and the service looks at the token again at its end: have the \
                        realm's access token lifespan raised, or send it where the line is faster";

/// Opens the content of an upload at its beginning.
type OpenContent<'a> = dyn Fn() -> std::io::Result<Content> + Send + Sync + 'a;

/// An answer to an upload.
struct UploadAnswer {
    answer: Answer,
    /// Whether all of the content was sent before the answer came.
    all_sent: bool,
    /// The token that the upload was sent with.
    token: Arc<Token>,
}

/// Why an upload has no answer.
enum NotAnswered {
    /// There is no connection, because the service does not speak HTTP/1.1. Nothing was sent.
    Http1Refused,
    Failed(VaultError),
}

impl From<VaultError> for NotAnswered {
    fn from(error: VaultError) -> Self {
        Self::Failed(error)
    }
}

impl Connection {
    pub(super) async fn upload(
        &self,
        folder: &DocumentId,
        name: &str,
        content: &OpenContent<'_>,
    ) -> Result<Document, VaultError> {
        let url = self.addresses.upload(&folder.0, name)?;
        let what = format!("the upload of {name:?}");
        let mut call = self.call(&what, &url);
        let mut sent = self.send_from_beginning(&mut call, content).await?;
        if sent.answer.status == StatusCode::UNAUTHORIZED {
            self.tokens.replacement_for(&sent.token).await?;
            // This takes a token again: another call may have fetched the replacement some time ago, and it may be near its end.
            sent = self.send_from_beginning(&mut call, content).await?;
            if sent.answer.status == StatusCode::UNAUTHORIZED && sent.token.is_over() {
                return Err(call.error(Kind::Refused, OUTLIVED));
            }
        }
        stored_document(&call, &sent)
    }

    async fn send_from_beginning(
        &self,
        call: &mut Call<'_>,
        content: &OpenContent<'_>,
    ) -> Result<UploadAnswer, VaultError> {
        loop {
            let opened = content().map_err(|e| {
                VaultError::new(Kind::Content, format!("{}: the content can't be opened: {e}", call.what))
            })?;
            call.upload_length = Some(opened.length);
            let need = if opened.length >= LONG { TokenNeed::Long } else { TokenNeed::Short };
            let token = self.tokens.token(need).await?;
            match self.send_content(call, token, opened).await {
                Ok(answer) => return Ok(answer),
                // At most once: the client that is used from now on offers HTTP/2 as well.
                Err(NotAnswered::Http1Refused) => self.http.refuse_http1(),
                Err(NotAnswered::Failed(error)) => return Err(error),
            }
        }
    }

    async fn send_content(
        &self,
        call: &Call<'_>,
        token: Arc<Token>,
        content: Content,
    ) -> Result<UploadAnswer, NotAnswered> {
        let length = content.length;
        let (body, progress) = ExactBody::new(content);
        let mut request = request(Method::POST, call.url, &token, JSON);
        request.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(Body::wrap(body));
        let client = self.http.content();
        let sending = async {
            let response = transport::execute(client.http, request).await?;
            transport::read(response, Limits::small(&self.timeouts)).await
        };
        let result = tokio::select! {
            result = sending => result,
            stall = progress.stalled(&self.timeouts) => Err(stall),
        };
        if let Some(why) = progress.failure() {
            return Err(call.error(Kind::Content, &format!("the content could not be read to its end: {why}")).into());
        }
        match result {
            Ok(answer) => {
                note_status(&token, answer.status);
                Ok(UploadAnswer { answer, all_sent: progress.all_sent(), token })
            }
            Err(error) if client.http1_only && error.is_http1_refused() => Err(NotAnswered::Http1Refused),
            // An empty document counts as all sent even before there is a connection.
            Err(error) if error.is_connect() || !progress.all_sent() => {
                Err(call.error(Kind::Unavailable, &error.to_string()).into())
            }
            Err(error) => Err(call
                .error(Kind::Unknown, &format!("{error}; whether it was stored is not known until it is looked up"))
                .into()),
        }
    }
}

/// What the service says of the document that it has stored; an error where the answer does not prove that it has.
fn stored_document(call: &Call<'_>, sent: &UploadAnswer) -> Result<Document, VaultError> {
    let UploadAnswer { answer, all_sent, .. } = sent;
    let body = success(call, answer).map_err(|e| {
        // A proxy may answer "busy" while the store behind it is still storing. What was not sent in full can't have been stored.
        let may_come = e.maybe_stored || answer.status == StatusCode::SERVICE_UNAVAILABLE;
        e.with_all_sent(*all_sent && may_come)
    })?;
    if !all_sent {
        return Err(call.error(Kind::Unknown, "the service answers that it has it before all of it was sent"));
    }
    document::document(body).map_err(|error| call.unreadable(error, body))
}
