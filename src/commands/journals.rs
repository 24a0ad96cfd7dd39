//! Which journal a command uses: each service has its own, as the receipts of one service must never count for another.

use std::path::Path;

use crate::cli::Global;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::journal::{Journal, Ownership};

/// The service of the receipts, in words; `None` where the configuration names none.
pub(super) fn service_of(config: &Config, global: &Global) -> Option<String> {
    if global.sandbox() {
        // The sandbox has a state folder of its own, and its address changes with each run.
        return Some("the sandbox".to_owned());
    }
    let (service, login) = (&config.service, config.login.as_ref()?);
    let named = format!("{} (realm {}, user {})", service.api_url, service.realm, login.user());
    (!service.leads_nowhere()).then_some(named)
}

/// Opens the journal of the configured service, which is made if it is missing. Where no service is configured, opens the only journal.
pub(super) async fn open(config: &Config, global: &Global) -> Result<Journal, Fatal> {
    let Some(service) = service_of(config, global) else { return only_journal(&config.state_dir).await };
    let (journal, ownership) = Journal::open_for(&config.state_dir, &service).await?;
    let state = config.state_dir.display();
    match ownership {
        Ownership::Own => {}
        Ownership::Claimed => tracing::warn!(
            "the receipts in {state} don't say which service they are of; from now on they are those of {service}"
        ),
        Ownership::Separate => tracing::warn!(
            "the receipts in {state} are of another service; {service} gets a journal of its own there, and what the other one has \
             does not count for it"
        ),
    }
    Ok(journal)
}

/// Opens the journal for a command that only reads it. Where there are journals of other services only, this is an error, as most
/// likely a name was mistyped; no journal is made beside them.
pub(super) async fn open_known(config: &Config, global: &Global) -> Result<Journal, Fatal> {
    if let Some(service) = service_of(config, global)
        && Journal::find(&config.state_dir, &service).await?.is_none()
    {
        let all = Journal::all(&config.state_dir)?;
        if !all.is_empty() {
            let (state, known) = (config.state_dir.display(), services(&all).await?);
            let why = format!("{state} has no receipts of {service}, but those of {known}: name the one that you mean");
            return Err(Fatal::new(Exit::Usage, why));
        }
    }
    open(config, global).await
}

async fn services(journals: &[Journal]) -> Result<String, Fatal> {
    let mut named = Vec::new();
    for journal in journals {
        named.push(journal.service().await?.unwrap_or_else(|| "a service that they don't name".to_owned()));
    }
    Ok(named.join("; "))
}

/// Opens the journal where no service is configured: there must not be more than one.
async fn only_journal(state_dir: &Path) -> Result<Journal, Fatal> {
    let mut all = Journal::all(state_dir)?;
    if all.len() > 1 {
        let (state, named) = (state_dir.display(), services(&all).await?);
        return Err(Fatal::new(
            Exit::Usage,
            format!(
                "{state} has the receipts of several services ({named}): say which with --realm, --client-id and --username, and \
                 with --api-url where it does not follow from the realm, or name a configuration"
            ),
        ));
    }
    all.pop().map_or_else(|| Ok(Journal::open(state_dir)?), Ok)
}
