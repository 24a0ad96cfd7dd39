//! `[notify]`: who is told of trouble, and of which.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::file::NotifyKeys;
use super::keys;

const HOUR: Duration = Duration::from_secs(3600);

/// Who is told of trouble, and of which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Of what.
    pub on: NotifyEvents,
    /// How long a file or the program may be stuck before that is told.
    pub stuck_after: Duration,
    /// The same thing is told no more often than this.
    pub every: Duration,
    /// A program and its arguments; no shell is involved.
    pub command: Option<Vec<String>>,
    /// An address that gets each message as a POST of JSON.
    pub url: Option<SecretUrl>,
    /// A check of healthchecks.io, or of another service with the same protocol.
    pub ping: Option<SecretUrl>,
    /// Whether names of local files and folders may go to `url` and `ping`.
    pub names: bool,
}

impl Default for Notify {
    fn default() -> Self {
        let on = NotifyEvents { failed: true, stuck: true, login: true, recovered: true };
        Self { on, stuck_after: HOUR, every: HOUR, command: None, url: None, ping: None, names: false }
    }
}

impl Notify {
    pub(super) fn of_keys(keys: &NotifyKeys) -> Self {
        let default = Self::default();
        Self {
            on: keys.on.unwrap_or(default.on),
            stuck_after: keys.stuck_after.unwrap_or(default.stuck_after),
            every: keys.every.unwrap_or(default.every),
            command: keys.command.clone(),
            url: keys.url.clone(),
            ping: keys.ping.clone(),
            names: keys.names.unwrap_or(default.names),
        }
    }

    /// Whether anybody is told at all.
    pub fn is_used(&self) -> bool {
        self.command.is_some() || self.url.is_some() || self.ping.is_some()
    }
}

/// Of what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the list")]
pub struct NotifyEvents {
    /// Files fail.
    pub failed: bool,
    /// Files wait for too long, or nothing moves.
    pub stuck: bool,
    /// The login is refused.
    pub login: bool,
    /// One of these is over.
    pub recovered: bool,
}

impl NotifyEvents {
    /// The list as it is written. The error names the nearest word.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        const ALL: [&str; 4] = ["failed", "stuck", "login", "recovered"];
        if let Some(word) = words.iter().find(|word| !ALL.contains(&word.as_str())) {
            return Err(match keys::nearest(word, ALL.into_iter()) {
                Some(near) => format!("`{word}` is no event: did you mean `{near}`?"),
                None => format!("`{word}` is no event: there are failed, stuck, login and recovered"),
            });
        }
        let has = |word: &str| words.iter().any(|it| it == word);
        let on = Self { failed: has("failed"), stuck: has("stuck"), login: has("login"), recovered: has("recovered") };
        if on.recovered && !(on.failed || on.stuck || on.login) {
            return Err("only what was told before can be told to be over: add failed, stuck or login".into());
        }
        Ok(on)
    }

    /// The words of the list.
    pub fn words(self) -> Vec<&'static str> {
        let all =
            [("failed", self.failed), ("stuck", self.stuck), ("login", self.login), ("recovered", self.recovered)];
        all.into_iter().filter_map(|(word, is_in)| is_in.then_some(word)).collect()
    }
}

/// An address whose user, path and query may be secrets. `Debug` and [`SecretUrl::shown`] have its scheme and host alone.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Keeps the address secret.
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// The address, to be connected to.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// What may be shown of the address: `https://hooks.example`.
    pub fn shown(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({}/…)", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_address_only_scheme_host_and_port_are_shown() {
        let url = Url::parse("https://user:hidden1@hooks.example:444/hidden2?key=hidden3#hidden4").unwrap();
        let secret = SecretUrl::new(url);
        assert_eq!(secret.shown(), "https://hooks.example:444");
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
