//! The keys of the configuration file: each one's value, or `None`. No default is filled in, and nothing is combined.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::notify::{NotifyEvents, SecretUrl};
use super::values::KeepReceipts;
use super::{AnchorFolder, Database, Layout, MaxSize, OnConflict, RateLimit, ReceiptsMode, Transfers, Verify, read};
use crate::vault::RemotePath;

/// All tables.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) service: ServiceKeys,
    pub(super) login: LoginKeys,
    pub(super) upload: UploadKeys,
    pub(super) daemon: DaemonKeys,
    pub(super) journal: JournalKeys,
    pub(super) notify: NotifyKeys,
    pub(super) fleet: FleetKeys,
    pub(super) folder: Vec<UploadKeys>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServiceKeys {
    #[serde(deserialize_with = "read::realm")]
    pub(super) realm: Option<String>,
    #[serde(deserialize_with = "read::address")]
    pub(super) api_url: Option<Url>,
    #[serde(deserialize_with = "read::address")]
    pub(super) auth_url: Option<Url>,
    #[serde(deserialize_with = "read::content_type")]
    pub(super) content_type: Option<String>,
    #[serde(deserialize_with = "read::path")]
    pub(super) ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "read::rate_limit")]
    pub(super) limit_rate: Option<RateLimit>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LoginKeys {
    #[serde(deserialize_with = "read::nonempty")]
    pub(super) client_id: Option<String>,
    #[serde(deserialize_with = "read::nonempty")]
    pub(super) username: Option<String>,
    #[serde(deserialize_with = "read::path")]
    pub(super) password_file: Option<PathBuf>,
    #[serde(deserialize_with = "read::command")]
    pub(super) password_command: Option<Vec<String>>,
    #[serde(deserialize_with = "read::path")]
    pub(super) client_secret_file: Option<PathBuf>,
    pub(super) grant: Option<GrantWord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GrantWord {
    Password,
    ClientCredentials,
}

/// The keys of `[upload]` and of each `[[folder]]`.
///
/// `path` is only for folders. One type serves both tables, because serde can't flatten one struct into another and still say
/// which line is wrong. The list of keys (`keys.rs`) keeps `path` out of `[upload]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UploadKeys {
    #[serde(deserialize_with = "read::path")]
    pub(super) path: Option<PathBuf>,
    #[serde(deserialize_with = "read::remote_path")]
    pub(super) dest: Option<RemotePath>,
    #[serde(deserialize_with = "read::transfers")]
    pub(super) transfers: Option<Transfers>,
    #[serde(deserialize_with = "read::max_size")]
    pub(super) max_size: Option<MaxSize>,
    #[serde(deserialize_with = "read::duration")]
    pub(super) settle: Option<Duration>,
    pub(super) verify: Option<Verify>,
    pub(super) after: Option<AfterWord>,
    #[serde(deserialize_with = "read::path")]
    pub(super) move_to: Option<PathBuf>,
    pub(super) on_conflict: Option<OnConflict>,
    pub(super) layout: Option<Layout>,
    #[serde(deserialize_with = "read::path")]
    pub(super) failed_dir: Option<PathBuf>,
    #[serde(deserialize_with = "read::ignored")]
    pub(super) ignore: Option<Vec<String>>,
    #[serde(deserialize_with = "read::excluded")]
    pub(super) exclude: Option<Vec<String>>,
    #[serde(deserialize_with = "read::included")]
    pub(super) include: Option<Vec<String>>,
    #[serde(deserialize_with = "read::duration")]
    pub(super) min_age: Option<Duration>,
    pub(super) prune_empty: Option<bool>,
    #[serde(deserialize_with = "read::rescan")]
    pub(super) rescan: Option<Duration>,
    pub(super) allow_unleased: Option<bool>,
    #[serde(deserialize_with = "read::store_lag")]
    pub(super) store_lag: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AfterWord {
    Delete,
    Keep,
    Move,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DaemonKeys {
    #[serde(deserialize_with = "read::duration")]
    pub(super) grace: Option<Duration>,
    #[serde(deserialize_with = "read::listen")]
    pub(super) listen: Option<SocketAddr>,
    pub(super) allowed_hosts: Option<Vec<String>>,
    pub(super) page_names: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct JournalKeys {
    #[serde(deserialize_with = "read::keep_receipts")]
    pub(super) keep_receipts: Option<KeepReceipts>,
    #[serde(deserialize_with = "read::anchor")]
    pub(super) anchor: Option<AnchorFolder>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NotifyKeys {
    #[serde(deserialize_with = "read::notify_on")]
    pub(super) on: Option<NotifyEvents>,
    #[serde(deserialize_with = "read::notify_time")]
    pub(super) stuck_after: Option<Duration>,
    #[serde(deserialize_with = "read::notify_time")]
    pub(super) every: Option<Duration>,
    #[serde(deserialize_with = "read::command")]
    pub(super) command: Option<Vec<String>>,
    #[serde(deserialize_with = "read::secret_url")]
    pub(super) url: Option<SecretUrl>,
    #[serde(deserialize_with = "read::secret_url")]
    pub(super) ping: Option<SecretUrl>,
    pub(super) names: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FleetKeys {
    #[serde(deserialize_with = "read::host_name")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "read::database")]
    pub(super) database: Option<Database>,
    #[serde(deserialize_with = "read::path")]
    pub(super) password_file: Option<PathBuf>,
    #[serde(deserialize_with = "read::path")]
    pub(super) ca_file: Option<PathBuf>,
    pub(super) receipts: Option<ReceiptsMode>,
    #[serde(deserialize_with = "read::heartbeat")]
    pub(super) heartbeat: Option<Duration>,
}
