//! What was answered, and the configuration that it makes. Pure.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::config::Overrides;
use crate::config::overrides::{PolicyOverrides, Task, WatchOverrides};
use crate::vault::RemotePath;

/// What was answered so far. `Debug` shows no password.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) realm: String,
    /// `None` where the address follows from the realm.
    pub(super) auth_url: Option<String>,
    pub(super) api_url: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_id: String,
    pub(super) username: String,
    pub(super) password: SecretString,
    pub(super) folder: PathBuf,
    pub(super) dest: RemotePath,
}

impl Answers {
    /// The answers as flags of a command that asks the service something.
    pub(super) fn as_flags(&self) -> Overrides {
        Overrides {
            realm: Some(self.realm.clone()),
            api_url: self.api_url.clone(),
            auth_url: self.auth_url.clone(),
            ca_file: self.ca_file.clone(),
            task: Task::Ask,
            ..Overrides::default()
        }
    }

    /// The answers as flags of `watch`.
    pub(super) fn as_flags_of_watch(&self) -> Overrides {
        let policy = PolicyOverrides { dest: Some(self.dest.clone()), ..PolicyOverrides::default() };
        let watch = WatchOverrides { dir: Some(self.folder.clone()), policy, allow_any_folder: false };
        Overrides { task: Task::Watch(watch), ..self.as_flags() }
    }

    /// The shortest configuration file that says all this. Without a password file, the service manager hands the password over.
    pub(super) fn as_file(&self, password_file: Option<&str>, folder: &str) -> String {
        let mut text = String::from(
            "# Written by `astran-backup init`. What is not here has its default: config.example.toml shows every key.\n",
        );
        let mut table = |heading: &str, keys: &[(&str, &str, Option<&str>)]| {
            text.extend(["\n", heading, "\n"]);
            for (comment, key, value) in keys {
                let Some(value) = value else { continue };
                let value = toml::Value::from(*value).to_string();
                text.extend(["# ", comment, "\n", key, " = ", &value, "\n"]);
            }
        };
        let ca_file = self.ca_file.as_ref().map(|path| path.to_string_lossy());
        table(
            "[service]",
            &[
                ("The realm's name. The two addresses follow from it.", "realm", Some(&self.realm)),
                ("The addresses, if they don't follow from the realm", "api_url", self.api_url.as_deref()),
                ("The addresses, if they don't follow from the realm", "auth_url", self.auth_url.as_deref()),
                (
                    "A file of certificates (PEM) that are trusted in addition to the system's.",
                    "ca_file",
                    ca_file.as_deref(),
                ),
            ],
        );
        table(
            "[login]",
            &[
                ("The OpenID Connect client.", "client_id", Some(&self.client_id)),
                ("The user.", "username", Some(&self.username)),
                ("A file with nothing but the password, which only its owner can read", "password_file", password_file),
            ],
        );
        let dest = self.dest.to_string();
        table(
            "[[folder]]",
            &[
                ("A folder to watch", "path", Some(folder)),
                ("The folder in the vault. It must exist.", "dest", Some(&dest)),
            ],
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    fn answers(word: &str) -> Answers {
        Answers {
            realm: "my-realm".into(),
            client_id: word.into(),
            username: word.into(),
            password: "hunter2".into(),
            folder: "/srv/scans".into(),
            dest: RemotePath::parse("/HR_Backup").unwrap(),
            ..Answers::default()
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read_back_as_it_was_answered(word in "\\PC{0,40}|[\"'\\\\\n\r\t\u{0}-\u{1f}\u{7f}\u{85}\u{2028}]{1,8}") {
            let text = answers(&word).as_file(Some(&word), &word);
            let read: toml::Table = toml::from_str(&text).unwrap();
            prop_assert_eq!(read["login"]["client_id"].as_str(), Some(&*word));
            prop_assert_eq!(read["login"]["username"].as_str(), Some(&*word));
            prop_assert_eq!(read["login"]["password_file"].as_str(), Some(&*word));
            prop_assert_eq!(read["folder"][0]["path"].as_str(), Some(&*word));
        }
    }

    #[test]
    fn the_comments_are_those_of_the_example_and_the_password_is_not_in_the_file() {
        let example = include_str!("../../../config.example.toml");
        let all = Answers {
            api_url: Some("a".into()),
            auth_url: Some("b".into()),
            ca_file: Some("c".into()),
            ..answers("me")
        };
        let text = all.as_file(Some("p"), "/srv/scans");
        for comment in text.lines().skip(1).filter_map(|line| line.strip_prefix("# ")) {
            assert!(example.contains(comment), "{comment:?} is not in config.example.toml");
        }
        assert!(!text.contains(all.password.expose_secret()) && !format!("{all:?}").contains("hunter2"));
        let short = answers("me").as_file(None, "/srv/scans");
        for key in ["api_url", "auth_url", "ca_file", "password_file"] {
            assert!(!short.contains(key), "{key} is not needed: {short}");
        }
    }
}
