//! The file as written: each key as it stands there, or `None`. Nothing is filled in and nothing is combined.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::read;
use super::{AnchorFolder, Layout, MaxSize, OnConflict, Transfers, Verify};
use crate::vault::RemotePath;

/// All tables.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keys {
    pub(crate) service: ServiceKeys,
    pub(crate) login: LoginKeys,
    pub(crate) upload: UploadKeys,
    pub(crate) daemon: DaemonKeys,
    pub(crate) journal: JournalKeys,
    pub(crate) folder: Vec<UploadKeys>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServiceKeys {
    #[serde(deserialize_with = "read::realm")]
    pub(crate) realm: Option<String>,
    #[serde(deserialize_with = "read::address")]
    pub(crate) api_url: Option<Url>,
    #[serde(deserialize_with = "read::address")]
    pub(crate) auth_url: Option<Url>,
    #[serde(deserialize_with = "read::content_type")]
    pub(crate) content_type: Option<String>,
    #[serde(deserialize_with = "read::path")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoginKeys {
    #[serde(deserialize_with = "read::nonempty")]
    pub(crate) client_id: Option<String>,
    #[serde(deserialize_with = "read::nonempty")]
    pub(crate) username: Option<String>,
    #[serde(deserialize_with = "read::path")]
    pub(crate) password_file: Option<PathBuf>,
    #[serde(deserialize_with = "read::command")]
    pub(crate) password_command: Option<Vec<String>>,
    #[serde(deserialize_with = "read::path")]
    pub(crate) client_secret_file: Option<PathBuf>,
    pub(crate) grant: Option<GrantWord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GrantWord {
    Password,
    ClientCredentials,
}

/// The keys of `[upload]` and of each `[[folder]]`.
///
/// `path` is only for folders. One type serves both, because serde can't flatten one into another and still say which
/// line is wrong; that `path` stands in no `[upload]` is seen to by the list of keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UploadKeys {
    #[serde(deserialize_with = "read::path")]
    pub(crate) path: Option<PathBuf>,
    #[serde(deserialize_with = "read::remote_path")]
    pub(crate) dest: Option<RemotePath>,
    #[serde(deserialize_with = "read::transfers")]
    pub(crate) transfers: Option<Transfers>,
    #[serde(deserialize_with = "read::max_size")]
    pub(crate) max_size: Option<MaxSize>,
    #[serde(deserialize_with = "read::duration")]
    pub(crate) settle: Option<Duration>,
    pub(crate) verify: Option<Verify>,
    pub(crate) after: Option<AfterWord>,
    #[serde(deserialize_with = "read::path")]
    pub(crate) move_to: Option<PathBuf>,
    pub(crate) on_conflict: Option<OnConflict>,
    pub(crate) layout: Option<Layout>,
    #[serde(deserialize_with = "read::path")]
    pub(crate) failed_dir: Option<PathBuf>,
    #[serde(deserialize_with = "read::globs")]
    pub(crate) ignore: Option<Vec<String>>,
    #[serde(deserialize_with = "read::rescan")]
    pub(crate) rescan: Option<Duration>,
    pub(crate) allow_unleased: Option<bool>,
    #[serde(deserialize_with = "read::store_lag")]
    pub(crate) store_lag: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AfterWord {
    Delete,
    Keep,
    Move,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DaemonKeys {
    #[serde(deserialize_with = "read::duration")]
    pub(crate) grace: Option<Duration>,
    #[serde(deserialize_with = "read::listen")]
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) allowed_hosts: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JournalKeys {
    #[serde(deserialize_with = "read::keep_receipts")]
    pub(crate) keep_receipts: Option<Keep>,
    #[serde(deserialize_with = "read::anchor")]
    pub(crate) anchor: Option<AnchorFolder>,
}

/// How long receipts are kept; for ever where `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep(pub(crate) Option<Duration>);
