//! What a client is made from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::budget;
use crate::refused_logins::RefusedLogins;
use crate::secret::Source;

/// Where the service is, who logs in, and how patient the client is.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The realm's name.
    pub realm: String,
    /// The API's base, to which `/api/v2.1` is added; a path prefix is kept.
    pub api_url: Url,
    /// The login service's base, to which `/auth/realms/…` is added; a path prefix is kept.
    pub auth_url: Url,
    /// The media type that content is sent as.
    pub content_type: String,
    /// A file with certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub credentials: Credentials,
    /// How long the service may take.
    pub timeouts: Timeouts,
    /// The memory of refused logins, shared with other processes; `None` where each login may be tried.
    pub refused_logins: Option<Arc<RefusedLogins>>,
}

/// Who logs in: a client of the login service, and a user unless the client logs in for itself.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The client of the login service (`client_id`).
    pub client_id: String,
    /// The secret of a confidential client.
    pub client_secret: Option<Source>,
    /// The user of a password grant; `None` for the client credentials grant.
    pub user: Option<UserCredentials>,
}

/// A user's name and password.
#[derive(Debug, Clone)]
pub struct UserCredentials {
    /// The user's name.
    pub username: String,
    /// Where the password comes from. It is read anew for each login.
    pub password: Source,
}

/// Where the secrets of a login come from. They may change while the client is used; who logs in does not.
#[derive(Debug, Clone)]
pub struct SecretSources {
    /// The user's password; `None` for the client credentials grant.
    pub password: Option<Source>,
    /// The secret of a confidential client.
    pub client: Option<Source>,
}

impl SecretSources {
    /// All sources.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Source> {
        self.password.iter().chain(&self.client)
    }
}

impl Credentials {
    /// Who logs in, by name: the user, or else the client.
    pub(super) fn name(&self) -> &str {
        self.user.as_ref().map_or(&self.client_id, |user| &user.username)
    }

    /// Where the secrets come from that a login sends.
    pub(crate) fn secrets(&self) -> SecretSources {
        let password = self.user.as_ref().map(|user| user.password.clone());
        SecretSources { password, client: self.client_secret.clone() }
    }
}

/// How long the service may be silent before a call is given up, and how long an answer may take. Content may take as long as
/// it likes while it moves: only a download that comes slower than 1 KiB/s is given up.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// To connect: name, TCP and TLS together.
    pub connect: Duration,
    /// Between a request and its answer, and between two pieces of the answer.
    pub idle: Duration,
    /// Between two pieces of an upload's content that the connection takes.
    pub upload_idle: Duration,
    /// Between the last piece of an upload's content and the answer.
    pub upload_answer: Duration,
    /// What is added to [`Timeouts::upload_answer`] for each 64 MiB of content.
    pub upload_answer_per_64_mib: Duration,
    /// The time over which the rate of a download is measured.
    pub download_window: Duration,
    /// From the head of an answer about one thing to its end.
    pub small_answer: Duration,
    /// The same for a listing.
    pub listing: Duration,
    /// From a request for a token to the end of its answer.
    pub token_answer: Duration,
    /// How long a request for a token may take before it is reported as trouble.
    pub token_slow: Duration,
    /// For the logout at the end.
    pub logout: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: budget::CONNECT,
            idle: budget::IDLE,
            upload_idle: budget::UPLOAD_IDLE,
            upload_answer: budget::UPLOAD_ANSWER,
            upload_answer_per_64_mib: budget::UPLOAD_ANSWER_PER_64_MIB,
            download_window: budget::DOWNLOAD_WINDOW,
            small_answer: budget::SMALL_ANSWER,
            listing: budget::LISTING,
            token_answer: budget::TOKEN_ANSWER,
            token_slow: budget::TOKEN_SLOW,
            logout: budget::LOGOUT,
        }
    }
}
