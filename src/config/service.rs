//! Where the service is: command line over environment over file.

use std::path::PathBuf;

use url::Url;

use super::file::ServiceKeys;
use super::inputs::Inputs;
use super::{ConfigError, addresses};

/// Where the service is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Service {
    /// The realm's name.
    pub realm: String,
    /// The base address of the API, to which the client adds `/api/v2.1`. It may have a path.
    pub api_url: Url,
    /// The base address of the login, to which the client adds `/auth/realms/…`. It may have a path.
    pub auth_url: Url,
    /// The content type of all documents.
    pub content_type: String,
    /// A file of certificates (PEM) that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

impl Service {
    /// Whether no input says where the service is. Only commands that ask something of the service need its address.
    pub fn leads_nowhere(&self) -> bool {
        self.api_url.host_str().is_some_and(|host| host.ends_with(".unset.invalid"))
    }
}

/// Where the service is. A command that asks nothing of it gets addresses under `.invalid` (RFC 2606), which lead nowhere.
pub(super) fn service(inputs: &Inputs<'_>) -> Result<Service, ConfigError> {
    let keys = &inputs.file.keys.service;
    let flags = inputs.overrides;
    let content_type = keys.content_type.clone().unwrap_or_else(|| "application/octet-stream".into());
    let ca_file = flags.ca_file.clone().or_else(|| inputs.environment.path("ASTRAN_BACKUP_CA_FILE"));
    let ca_file = ca_file.or_else(|| keys.ca_file.clone());
    if flags.sandbox {
        return nowhere("sandbox", content_type);
    }
    let Some(realm) = realm(inputs, keys)? else {
        return if flags.task.asks_service() { Err(no_realm(inputs)) } else { nowhere("unset", content_type) };
    };
    let api = Address {
        flag: ("--api-url", flags.api_url.as_deref()),
        variable: "ASTRAN_BACKUP_API_URL",
        key: keys.api_url.as_ref(),
        part: "api.s5",
    };
    let auth = Address {
        flag: ("--auth-url", flags.auth_url.as_deref()),
        variable: "ASTRAN_BACKUP_AUTH_URL",
        key: keys.auth_url.as_ref(),
        part: "auth",
    };
    let (api_url, auth_url) = (address(inputs, &api, &realm)?, address(inputs, &auth, &realm)?);
    Ok(Service { realm, api_url, auth_url, content_type, ca_file })
}

fn nowhere(realm: &str, content_type: String) -> Result<Service, ConfigError> {
    let url =
        |part| Url::parse(&format!("https://{part}.{realm}.invalid")).map_err(|e| ConfigError::new(e.to_string()));
    Ok(Service { realm: realm.into(), api_url: url("api")?, auth_url: url("auth")?, content_type, ca_file: None })
}

fn realm(inputs: &Inputs<'_>, keys: &ServiceKeys) -> Result<Option<String>, ConfigError> {
    let flag = ("--realm", inputs.overrides.realm.as_deref());
    match inputs.parsed(flag, "ASTRAN_BACKUP_REALM", addresses::realm)? {
        Some(realm) => Ok(Some(realm)),
        None => Ok(keys.realm.clone()),
    }
}

fn no_realm(inputs: &Inputs<'_>) -> ConfigError {
    let file = inputs.file_name();
    let or = super::or_init(inputs.file.origin.as_deref());
    ConfigError::new(format!(
        "no realm: give --realm NAME, ASTRAN_BACKUP_REALM, or realm under [service] in {file}{or}"
    ))
}

/// One of the two addresses.
struct Address<'a> {
    flag: (&'static str, Option<&'a str>),
    variable: &'static str,
    key: Option<&'a Url>,
    /// What stands between the realm and the domain.
    part: &'static str,
}

fn address(inputs: &Inputs<'_>, given: &Address<'_>, realm: &str) -> Result<Url, ConfigError> {
    if let Some(url) = inputs.parsed(given.flag, given.variable, addresses::service)? {
        return Ok(url);
    }
    if let Some(url) = given.key {
        return Ok(url.clone());
    }
    addresses::of_realm(realm, given.part)
        .map_err(|why| ConfigError::new(format!("{why}: give both --api-url and --auth-url, or api_url and auth_url")))
}
