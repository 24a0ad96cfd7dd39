//! The refusals of Keycloak: status, error and description of each.

/// A refused request to the realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) error: &'static str,
    pub(crate) description: Option<&'static str>,
}

const fn row(status: u16, error: &'static str, description: &'static str) -> Refusal {
    Refusal { status, error, description: Some(description) }
}

const CLIENT: &str = "Invalid client or Invalid client credentials";

pub(super) const NO_REALM: Refusal = Refusal { status: 404, error: "Realm does not exist", description: None };
pub(super) const TOO_LARGE: Refusal = Refusal { status: 413, error: "invalid_request", description: None };
pub(super) const NOT_POST: Refusal = Refusal { status: 405, error: "HTTP 405 Method Not Allowed", description: None };
pub(super) const NOT_FOUND: Refusal = Refusal { status: 404, error: "HTTP 404 Not Found", description: None };
pub(super) const DUPLICATED: Refusal = row(400, "invalid_request", "duplicated parameter");
pub(super) const NO_GRANT_TYPE: Refusal = row(400, "invalid_request", "Missing form parameter: grant_type");
pub(super) const GRANT_TYPE: Refusal = row(400, "unsupported_grant_type", "Unsupported grant_type");
pub(super) const UNKNOWN_CLIENT: Refusal = row(401, "invalid_client", CLIENT);
pub(super) const CLIENT_SECRET: Refusal = row(401, "unauthorized_client", CLIENT);
pub(super) const NO_DIRECT_ACCESS: Refusal =
    row(400, "unauthorized_client", "Client not allowed for direct access grants");
pub(super) const PUBLIC_CLIENT: Refusal =
    row(401, "unauthorized_client", "Public client not allowed to retrieve service account");
pub(super) const NO_USERNAME: Refusal = row(401, "invalid_request", "Missing parameter: username");
pub(super) const DISABLED: Refusal = row(400, "invalid_grant", "Account disabled");
pub(super) const NOT_SET_UP: Refusal = row(400, "invalid_grant", "Account is not fully set up");
pub(super) const NO_REFRESH_TOKEN: Refusal = row(400, "invalid_request", "No refresh token");
pub(super) const UNKNOWN_REFRESH_TOKEN: Refusal = row(400, "invalid_grant", "Invalid refresh token");
pub(super) const EXPIRED: Refusal = row(400, "invalid_grant", "Token is not active");
pub(super) const NO_SESSION: Refusal = row(400, "invalid_grant", "Session not active");
pub(super) const DETACHED: Refusal = row(400, "invalid_grant", "Session doesn't have required client");
pub(super) const STALE: Refusal = row(400, "invalid_grant", "Stale token");
pub(super) const REUSED: Refusal = row(400, "invalid_grant", "Maximum allowed refresh token reuse exceeded");
pub(super) const USER_DISABLED: Refusal = row(400, "invalid_grant", "User disabled");

/// Wrong password, unknown user, locked account: Keycloak answers all three the same way.
pub(super) const fn credentials(status: u16) -> Refusal {
    row(status, "invalid_grant", "Invalid user credentials")
}
