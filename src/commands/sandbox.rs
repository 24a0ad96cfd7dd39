//! `sandbox`: runs the local stand-in of the service until a signal stops it.

use std::path::Path;

use serde::Serialize;

use super::output::Output;
use crate::cli;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::removal;
use crate::sandbox::{Access, Options, Sandbox, SandboxError, random_password};
use crate::shutdown::{Shutdown, Stop};
use crate::vault::RemotePath;

/// Where the sandbox listens, and the login that it takes.
#[derive(Serialize)]
struct SandboxEvent<'a> {
    #[serde(flatten)]
    access: &'a Access,
    store: &'a str,
}

impl Event for SandboxEvent<'_> {
    const TYPE: &'static str = "sandbox";
}

/// Runs the sandbox. Where no folder for the vault is named, a temporary one is made, and discarded at the end.
pub(super) async fn run(typed: &cli::Sandbox, stop: Shutdown, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let temporary = match &typed.store {
        Some(_) => None,
        None => Some(removal::temporary_folder("sandbox").map_err(|error| {
            Fatal::new(
                Exit::SomeFailed,
                format!("no temporary folder for the vault can be made: {error}; give --store DIR"),
            )
        })?),
    };
    let store = typed.store.as_deref().or(temporary.as_deref()).unwrap_or(Path::new("."));
    let mut options = Options::new(store);
    options.folders = typed.folder.clone();
    options.listen = typed.listen;
    options.token_life = typed.token_life;
    options.password = match &typed.password {
        Some(password) => password.clone(),
        None => random_password()
            .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the sandbox can't make a password: {error}")))?,
    };
    let ended = serve(options, stop, out).await;
    if let Some(folder) = temporary {
        removal::discard(&folder);
    }
    ended
}

/// Starts a sandbox, prints its address and how to log in, and runs it until `stop`.
async fn serve(options: Options, mut stop: Shutdown, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let store = options.store.display().to_string();
    let first = options.folders.first().cloned().unwrap_or_default();
    let sandbox = Sandbox::start(options).await.map_err(|error| Fatal::new(exit_of(&error), error.to_string()))?;
    let access = sandbox.access();
    out.print(&SandboxEvent { access, store: &store }, || as_text(access, &store, &first))?;
    stop.reached(Stop::Gently).await;
    sandbox.stop().await;
    Ok(Exit::Done)
}

fn exit_of(error: &SandboxError) -> Exit {
    match error {
        SandboxError::Store { .. } => Exit::Missing,
        _ => Exit::Usage,
    }
}

fn as_text(access: &Access, store: &str, dest: &RemotePath) -> String {
    let token_url = format!("{}/auth/realms/{}/protocol/openid-connect/token", access.auth_url, access.realm);
    let Access { api_url, auth_url, realm, client_id, username, password } = access;
    format!(
        "\
The sandbox listens on {api_url} and keeps its vault in {store}. Ctrl-C ends it.

To use it, in another terminal:

  export ASTRAN_BACKUP_REALM='{realm}' ASTRAN_BACKUP_API_URL='{api_url}' ASTRAN_BACKUP_AUTH_URL='{auth_url}'
  export ASTRAN_BACKUP_CLIENT_ID='{client_id}' ASTRAN_BACKUP_USERNAME='{username}' ASTRAN_BACKUP_PASSWORD='{password}'
  mkdir -p TemporaryFolder
  astran-backup watch ./TemporaryFolder --dest '{dest}'

Or by hand, for a token:

  curl -d grant_type=password -d client_id='{client_id}' -d username='{username}' -d password='{password}' \\
    {token_url}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            api_url: "http://127.0.0.1:1".into(),
            auth_url: "http://127.0.0.1:1".into(),
            realm: "r".into(),
            client_id: "c".into(),
            username: "u".into(),
            password: "p".into(),
        }
    }

    #[test]
    fn people_get_what_they_can_paste() {
        let text = as_text(&access(), "/store", &RemotePath::parse("/HR_Backup").unwrap());
        assert!(text.contains("--dest '/HR_Backup'"), "{text}");
        for variable in ["REALM='r'", "API_URL='http://127.0.0.1:1'", "CLIENT_ID='c'", "USERNAME='u'", "PASSWORD='p'"] {
            assert!(text.contains(&format!("ASTRAN_BACKUP_{variable}")), "{variable} is not in {text}");
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_a_usage_error() {
        let store = tempfile::tempdir().unwrap();
        let first = Sandbox::start(Options::new(store.path())).await.unwrap();
        let mut options = Options::new(store.path());
        options.listen = first.access().api_url.strip_prefix("http://").unwrap().parse().unwrap();
        let (_trigger, stop) = crate::shutdown::channel();
        let fatal = serve(options, stop, &mut Output::new(Vec::new(), true)).await.unwrap_err();
        assert_eq!(fatal.exit, Exit::Usage);
        assert!(fatal.message.contains("something else does already"), "{}", fatal.message);
    }

    #[tokio::test]
    async fn it_ends_well_when_told_to_stop() {
        let store = tempfile::tempdir().unwrap();
        let (trigger, stop) = crate::shutdown::channel();
        trigger.raise();
        let mut out = Output::new(Vec::new(), true);
        assert_eq!(serve(Options::new(store.path()), stop, &mut out).await.unwrap(), Exit::Done);
    }
}
