//! The service and the disks that answers are tried on.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::task::spawn_blocking;

use super::answers::Answers;
use super::dialogue::{FolderFound, World};
use crate::astran::Reachability;
use crate::budget;
use crate::cli::Global;
use crate::commands::open_folders::on_disk;
use crate::commands::session::{Memory, Session};
use crate::commands::take_folder::not_taken;
use crate::config::{Config, Environment, Grant, Login, Overrides};
use crate::exit::{Exit, Fatal};
use crate::file::lease::LeaseBreaks;
use crate::file::{FolderError, Root};
use crate::inventory::{self, Look, Standing};
use crate::secret::Source;
use crate::vault::{RemotePath, Vault};

/// Where the two files will be, and what holds for all tries.
pub(super) struct Live<'a> {
    pub(super) global: &'a Global,
    /// Without the variables that set values: the files must be enough.
    pub(super) environment: Environment,
    pub(super) config: PathBuf,
    pub(super) password: PathBuf,
    session: Option<Session>,
}

/// What lies in the folder now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// What would be uploaded.
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) ignored: u64,
    /// What can't be uploaded as it is.
    pub(super) others: u64,
    /// Whether there was time for all files.
    pub(super) complete: bool,
}

impl<'a> Live<'a> {
    pub(super) fn new(global: &'a Global, environment: Environment, config: PathBuf, password: PathBuf) -> Self {
        Self { global, environment, config, password, session: None }
    }

    /// Ends the session at the service.
    pub(super) async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// A session of this login. Sends nothing yet.
    async fn session(&self, answers: &Answers, login: Login) -> Result<Session, Fatal> {
        let config = self.checked(answers.as_flags()).await?;
        Session::unchecked(Config { login: Some(login), ..config }, self.global, Memory::Unused).await
    }

    /// The configuration that these flags make with an empty file at the place of the new one.
    async fn checked(&self, flags: Overrides) -> Result<Config, Fatal> {
        let state_dir = self.global.state_dir.clone();
        let flags = Overrides { state_dir, password_file: Some(self.password.clone()), ..flags };
        let (config, environment) = (self.config.clone(), self.environment.clone());
        on_disk(&self.config, move || Ok(Config::of_text(&config, "", &flags, &environment)?)).await
    }

    /// Counts what lies in the folder. One that is still to be made holds nothing.
    pub(super) async fn count(&self, answers: &Answers) -> Result<Found, Fatal> {
        let mut config = self.checked(answers.as_flags_of_watch()).await?;
        let Some(folder) = config.folders.pop() else { return Ok(Found::default()) };
        let breaks = LeaseBreaks::install()
            .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
        let (path, dest) = (answers.folder.clone(), answers.dest.clone());
        let counting = spawn_blocking(move || {
            let root = match Root::open_trusted(&path) {
                Err(error) if is_missing(&error) => return Ok(Found { complete: true, ..Found::default() }),
                opened => opened.map_err(|error| not_taken(&path, &error))?,
            };
            let look = Look::new(root.into(), folder.policy, dest, None, breaks).map_err(Fatal::internal)?;
            count(&look)
        });
        counting.await.map_err(Fatal::internal)?
    }
}

fn count(look: &Look) -> Result<Found, Fatal> {
    let (mut found, start) = (Found::default(), Instant::now());
    let all = inventory::visit(look, &mut |file| {
        match file.standing {
            Standing::Ready { .. } | Standing::Settling { .. } | Standing::OpenForWriting { .. } => {
                found.files += 1;
                found.bytes += file.size.unwrap_or(0);
            }
            Standing::Ignored { .. } => found.ignored += 1,
            _ => found.others += 1,
        }
        if start.elapsed() < budget::INVENTORY_TIME { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(Found { complete: all, ..found })
}

impl World for Live<'_> {
    async fn reach(&mut self, answers: &Answers) -> Result<String, Fatal> {
        let nobody = Login { client_id: String::new(), client_secret: None, grant: Grant::ClientCredentials };
        let session = self.session(answers, nobody).await?;
        let (login, api) = tokio::join!(session.client.find_realm(), session.client.reach_api());
        let failed = |what: &str, tried: &Reachability, why: &str| {
            Fatal::new(Exit::Unreachable, format!("{what} {}: {why}", tried.address))
        };
        match (&login.result, &api.result) {
            (Err(why), _) => Err(failed("the address of the login", &login, why)),
            (_, Err(why)) => Err(failed("the address of the API", &api, why)),
            (Ok(_), Ok(_)) => Ok(format!("{} and {} answer", login.address, api.address)),
        }
    }

    async fn log_in(&mut self, answers: &Answers) -> Result<String, Fatal> {
        self.close().await;
        let password = Source::Given(answers.password.clone());
        let grant = Grant::Password { username: answers.username.clone(), password };
        let login = Login { client_id: answers.client_id.clone(), client_secret: None, grant };
        let session = self.session.insert(self.session(answers, login).await?);
        session.client.log_in().await?;
        Ok(session.client.probe().await?)
    }

    async fn look_at_folder(&mut self, answers: &Answers) -> Result<FolderFound, Fatal> {
        let path = answers.folder.clone();
        // Checks that the folder is no system folder, and that the files of this program do not lie in it.
        self.checked(answers.as_flags_of_watch()).await?;
        on_disk(&answers.folder, move || look_at(&path)).await
    }

    async fn vault_folders(&mut self) -> Result<Vec<String>, Fatal> {
        let vault = &self.logged_in()?.client;
        let root = vault.folder(&RemotePath::default()).await?;
        let children = vault.children(&root.id).await?;
        let folders = children.into_iter().filter(|child| child.folder == Some(true));
        let mut names: Vec<String> = folders.filter_map(|child| child.name).collect();
        names.sort();
        Ok(names)
    }

    async fn look_at_dest(&mut self, answers: &Answers) -> Result<(), Fatal> {
        let vault = &self.logged_in()?.client;
        let folder = vault.folder(&answers.dest).await?;
        vault.children(&folder.id).await?;
        Ok(())
    }
}

impl Live<'_> {
    fn logged_in(&self) -> Result<&Session, Fatal> {
        self.session.as_ref().ok_or_else(|| Fatal::internal("there is no login yet"))
    }
}

/// Opens the folder as `watch` does; of a missing one, the nearest folder above it that is there. Blocks.
fn look_at(path: &Path) -> Result<FolderFound, Fatal> {
    match Root::open_trusted(path) {
        Ok(root) => Ok(FolderFound::There(root.path().to_owned())),
        Err(error) if is_missing(&error) => {
            let path = std::path::absolute(path).map_err(Fatal::internal)?;
            let above = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
            Root::open_trusted(above).map_err(|error| not_taken(above, &error))?;
            Ok(FolderFound::Missing(path))
        }
        Err(error) => Err(not_taken(path, &error)),
    }
}

fn is_missing(error: &FolderError) -> bool {
    matches!(error, FolderError::Io(error) if error.kind() == ErrorKind::NotFound)
}
