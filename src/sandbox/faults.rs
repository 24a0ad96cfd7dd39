//! Faults on demand: the rules and what they mean. `rules` chooses the rule for a request; `misbehave` carries out its fault.
//!
//! A rule says for which calls it is, how often it fires, and what happens then. Rules are set with
//! [`Faults::add`](super::Faults::add) or over HTTP, one or an array of them. A request gets the fault of the first rule that fires, in the
//! order in which the rules were set.
//!
//! ```text
//! POST /sandbox/faults    {"call": "upload", "times": 2, "after": 1, "do": {"kind": "status", "status": 503, "retry_after": 1}}
//! DELETE /sandbox/faults  removes all rules and restores the user
//! ```
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `call` | `login`, `refresh`, `logout`, `me`, `children`, `filesystem` (metadata), `content`, `upload`, `any` | `any` |
//! | `name` | only requests whose document's name, path or id holds this text | all |
//! | `after` | the number of matching requests before the rule may fire | 0 |
//! | `times` | how often the rule fires | 1; without limit where `probability` is given |
//! | `probability` | the chance for each matching request, 0 to 1 | 1 |
//! | `seed` | the seed of the random numbers for `probability`; the same seed gives the same run | 0 |
//! | `do` | what happens, by its `kind`: | |
//!
//! | `kind` | other keys | what happens |
//! | --- | --- | --- |
//! | `status` | `status`, `retry_after` (s), `body`, `content_type`, `carried_out` | this answer; the call is carried out before only if `carried_out` |
//! | `redirect` | `to` | 307 to this address; nothing is done |
//! | `garbage` | `body`: `html`, `truncated`, `empty`; `carried_out` | 200 with no good JSON |
//! | `cut_before` | `bytes` | the connection is closed after so many bytes of the body; nothing is stored |
//! | `cut_after` | | the call is carried out, and the connection closed without an answer |
//! | `stall` | `ms` | nothing is read, done or answered for this time; then the call goes on |
//! | `delay` | `ms` | the call is carried out at once, and answered this much later |
//! | `drip` | `bytes`, `every_ms` | the answer's body comes in pieces of this size, with this pause before each |
//! | `wrong` | `field`: `size`, `name`, `sha256`, `id` (missing), `content` (first byte) | the call is carried out, but one field of the answer is false |
//! | `expire` | | all access tokens become invalid; sessions go on |
//! | `revoke` | | all sessions end; access tokens are valid until they expire |
//! | `expire_all` | | both |
//! | `disable_user`, `require_action` | | the user's next logins are refused for this reason |
//! | `lock` | `ms` | the account is locked for this time |
//! | `change_password` | `password` | the user has this password from now on; sessions go on |
//!
//! The last seven happen before the request that the rule fires for, which then goes on; a rule without `call` is carried out at once.
//! With tokens of a real Keycloak, `expire` refuses all tokens seen so far, and the others of the seven do nothing.

use serde::{Deserialize, Serialize};

/// A call of the service, as rules and statistics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Call {
    /// A token for a password or a client's secret.
    Login,
    /// A token for a refresh token.
    Refresh,
    /// The end of a session.
    Logout,
    /// `GET /users/me`.
    Me,
    /// `GET /files/{id}/children`.
    Children,
    /// `GET /filesystem/{path}` for metadata.
    Filesystem,
    /// `GET /filesystem/{path}` for content.
    Content,
    /// `POST /files/{id}/children`.
    Upload,
    /// Any of these calls.
    Any,
}

impl Call {
    pub(super) const COUNT: usize = 8;
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Login,
        Self::Refresh,
        Self::Logout,
        Self::Me,
        Self::Children,
        Self::Filesystem,
        Self::Content,
        Self::Upload,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Logout => "logout",
            Self::Me => "me",
            Self::Children => "children",
            Self::Filesystem => "filesystem",
            Self::Content => "content",
            Self::Upload => "upload",
            Self::Any => "any",
        }
    }
}

/// The body of a 200 instead of good JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Garbage {
    /// A web page.
    Html,
    /// JSON that ends too early.
    Truncated,
    /// Nothing.
    Empty,
}

/// The field that is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Field {
    /// One byte more than there is.
    Size,
    /// Another name.
    Name,
    /// Another sum.
    Sha256,
    /// No id.
    Id,
    /// The first byte of the content is another.
    Content,
}

/// What happens when a rule fires. The module's documentation has the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fault {
    /// The call gets this answer.
    Status {
        /// The status code, 100 to 999; 1xx make no sense.
        status: u16,
        /// The `Retry-After` header, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// The body; a JSON error without it.
        #[serde(default)]
        body: Option<String>,
        /// The body's type; `application/json` without it.
        #[serde(default)]
        content_type: Option<String>,
        /// Whether the call is carried out all the same.
        #[serde(default)]
        carried_out: bool,
    },
    /// The call gets a 307 to another address.
    Redirect {
        /// The `Location` header.
        to: String,
    },
    /// The call gets a 200 without good JSON.
    Garbage {
        /// The body.
        body: Garbage,
        /// Whether the call is carried out all the same.
        #[serde(default)]
        carried_out: bool,
    },
    /// The connection is closed before anything is done.
    CutBefore {
        /// The number of bytes of the body after which it is closed.
        #[serde(default)]
        bytes: u64,
    },
    /// The call is carried out, and the connection is closed instead of an answer.
    CutAfter,
    /// Nothing is read, done or answered for a while.
    Stall {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// The answer comes late.
    Delay {
        /// How late, in milliseconds.
        ms: u64,
    },
    /// The answer's body comes slowly.
    Drip {
        /// The number of bytes in a piece.
        bytes: usize,
        /// The pause before each, in milliseconds.
        every_ms: u64,
    },
    /// The call is carried out, and its answer is false.
    Wrong {
        /// The false field.
        field: Field,
    },
    /// All access tokens become invalid.
    Expire,
    /// All sessions end.
    Revoke,
    /// All access tokens become invalid, and all sessions end.
    ExpireAll,
    /// The user is disabled.
    DisableUser,
    /// The user must do something in a browser before logging in.
    RequireAction,
    /// The account is locked.
    Lock {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// The user's password changes. Sessions go on, as in Keycloak.
    ChangePassword {
        /// The new password.
        password: String,
    },
}

/// A fault, and when it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The calls that the rule is for. `None` means any call, or, for faults of the realm, at once.
    #[serde(default)]
    pub call: Option<Call>,
    /// Only requests whose document's name, path or id holds this text.
    #[serde(default)]
    pub name: Option<String>,
    /// The number of matching requests before the rule may fire.
    #[serde(default)]
    pub after: u64,
    /// How often the rule fires. `None` means once, or without limit where a probability is given.
    #[serde(default)]
    pub times: Option<u64>,
    /// The probability for each matching request, 0 to 1.
    #[serde(default)]
    pub probability: Option<f64>,
    /// The seed of the random numbers for the probability.
    #[serde(default)]
    pub seed: u64,
    /// The fault.
    #[serde(rename = "do")]
    pub fault: Fault,
}

impl Rule {
    /// A rule that gives the next call of this kind this fault.
    pub fn new(call: Call, fault: Fault) -> Self {
        Self { call: Some(call), name: None, after: 0, times: None, probability: None, seed: 0, fault }
    }

    /// Sets how often the rule fires.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Lets the rule fire without limit.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Sets the number of matching requests before the rule may fire.
    #[must_use]
    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    /// Limits the rule to requests whose document's name, path or id holds this text.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Sets the probability with which the rule fires, 0 to 1, and the seed of the random numbers.
    #[must_use]
    pub fn with_probability(self, probability: f64, seed: u64) -> Self {
        Self { probability: Some(probability), seed, ..self }
    }

    pub(super) fn max_times(&self) -> u64 {
        self.times.unwrap_or(if self.probability.is_some() { u64::MAX } else { 1 })
    }

    pub(super) fn matches(&self, call: Call, name: &str) -> bool {
        let call_fits = matches!(self.call, None | Some(Call::Any)) || self.call == Some(call);
        call_fits && self.name.as_deref().is_none_or(|part| name.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_documented() {
        let json = r#"{"call": "upload", "times": 2, "do": {"kind": "status", "status": 503, "retry_after": 1}}"#;
        let rule: Rule = serde_json::from_str(json).unwrap();
        assert_eq!((rule.call, rule.times), (Some(Call::Upload), Some(2)));
        let status =
            Fault::Status { status: 503, retry_after: Some(1), body: None, content_type: None, carried_out: false };
        assert_eq!(rule.fault, status);
        for kind in ["cut_after", "expire", "revoke", "expire_all", "disable_user", "require_action", "cut_before"] {
            serde_json::from_str::<Rule>(&format!(r#"{{"do": {{"kind": "{kind}"}}}}"#)).unwrap();
        }
        assert!(serde_json::from_str::<Rule>(r#"{"do": {"kind": "cut_after"}, "tmies": 3}"#).is_err());
    }
}
