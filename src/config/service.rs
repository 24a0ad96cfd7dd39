//! Where the service is: flags over environment over file.

use url::Url;

use super::file::ServiceKeys;
use super::load::Inputs;
use super::{ConfigError, Service, values};
use crate::cli::Command;

/// Where the service is. `.invalid` (RFC 2606), which leads nowhere, for commands that ask for no service.
pub(super) fn service(given: &Inputs<'_>) -> Result<Service, ConfigError> {
    let keys = &given.written.keys.service;
    let flags = &given.cli.global;
    let content_type = keys.content_type.clone().unwrap_or_else(|| "application/octet-stream".into());
    let ca_file = flags.ca_file.clone().or_else(|| given.environment.path("ASTRAN_BACKUP_CA_FILE"));
    let ca_file = ca_file.or_else(|| keys.ca_file.clone());
    if flags.sandbox() {
        return nowhere("sandbox", content_type);
    }
    let Some(realm) = realm(given, keys)? else {
        return if asks_service(&given.cli.command) { Err(no_realm(given)) } else { nowhere("unset", content_type) };
    };
    let api_url = address(given, &API, keys.api_url.as_ref(), &realm)?;
    let auth_url = address(given, &AUTH, keys.auth_url.as_ref(), &realm)?;
    Ok(Service { realm, api_url, auth_url, content_type, ca_file })
}

fn nowhere(realm: &str, content_type: String) -> Result<Service, ConfigError> {
    let url =
        |part| Url::parse(&format!("https://{part}.{realm}.invalid")).map_err(|e| ConfigError::new(e.to_string()));
    Ok(Service { realm: realm.into(), api_url: url("api")?, auth_url: url("auth")?, content_type, ca_file: None })
}

fn asks_service(command: &Command) -> bool {
    matches!(
        command,
        Command::Watch(_) | Command::Push(_) | Command::Ls(_) | Command::Get(_) | Command::Check | Command::Verify(_)
    )
}

fn realm(given: &Inputs<'_>, keys: &ServiceKeys) -> Result<Option<String>, ConfigError> {
    let flag = given.cli.global.realm.as_deref();
    match given.typed("--realm", flag, "ASTRAN_BACKUP_REALM", values::realm)? {
        Some(realm) => Ok(Some(realm)),
        None => Ok(keys.realm.clone()),
    }
}

fn no_realm(given: &Inputs<'_>) -> ConfigError {
    let file = given.file_named();
    ConfigError::new(format!("no realm: give --realm NAME, ASTRAN_BACKUP_REALM, or realm under [service] in {file}"))
}

/// One of the two addresses.
struct Side {
    flag: &'static str,
    variable: &'static str,
    /// What stands between realm and domain.
    part: &'static str,
}

const API: Side = Side { flag: "--api-url", variable: "ASTRAN_BACKUP_API_URL", part: "api.s5" };
const AUTH: Side = Side { flag: "--auth-url", variable: "ASTRAN_BACKUP_AUTH_URL", part: "auth" };

fn address(given: &Inputs<'_>, side: &Side, key: Option<&Url>, realm: &str) -> Result<Url, ConfigError> {
    let global = &given.cli.global;
    let typed = if side.flag == API.flag { &global.api_url } else { &global.auth_url };
    if let Some(url) = given.typed(side.flag, typed.as_deref(), side.variable, values::address)? {
        return Ok(url);
    }
    if let Some(url) = key {
        return Ok(url.clone());
    }
    values::realm_address(realm, side.part)
        .map_err(|why| ConfigError::new(format!("{why}: give both --api-url and --auth-url, or api_url and auth_url")))
}
