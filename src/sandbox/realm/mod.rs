//! The authority whose tokens the API takes: the sandbox's own realm, which answers as Keycloak does, or a real Keycloak realm.

mod book;
mod endpoint;
mod keycloak;
mod lockout;
mod refusal;

use std::sync::Arc;
use std::time::Instant;

use super::options::Options;
pub(super) use book::Realm;
pub(super) use endpoint::answer;
use keycloak::Keycloak;

/// Decides which tokens the API takes.
pub(super) enum Authority {
    /// The sandbox's own realm.
    Own(Box<Realm>),
    /// A real Keycloak realm.
    Keycloak(Box<Keycloak>),
}

impl Authority {
    pub(super) fn new(options: &Arc<Options>) -> Result<Self, reqwest::Error> {
        Ok(match &options.keycloak {
            Some(issuer) => Self::Keycloak(Box::new(Keycloak::new(issuer)?)),
            None => Self::Own(Box::new(Realm::new(Arc::clone(options)))),
        })
    }

    /// Whether the API takes this token now.
    pub(super) async fn admits(&self, token: &str) -> bool {
        match self {
            Self::Own(realm) => realm.admits(token, Instant::now()),
            Self::Keycloak(keycloak) => keycloak.admits(token).await,
        }
    }

    pub(super) fn expire_access(&self) {
        match self {
            Self::Own(realm) => realm.expire_access(),
            Self::Keycloak(keycloak) => keycloak.refuse_seen(),
        }
    }

    pub(super) fn revoke_sessions(&self) {
        self.with_own(Realm::revoke_sessions);
    }

    /// Changes the sandbox's own realm. A real Keycloak realm is never changed.
    pub(super) fn with_own(&self, change: impl FnOnce(&Realm)) {
        if let Self::Own(realm) = self {
            change(realm);
        }
    }
}
