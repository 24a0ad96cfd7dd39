//! What a run would do with each file: its standing in the folder, and what the vault has under its name. Asks, and changes nothing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::budget;
use crate::commands::push::arguments::Missing;
use crate::config::{After, OnConflict, Policy};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::inventory::{FileHere, Standing};
use crate::journal::Journal;
use crate::upload::preview::alternatives;
use crate::vault::{DocumentId, Kind, RemotePath, Vault, VaultError};

/// After so many questions about one folder of the vault, all its names are listed in one call.
const ASKED_ONE_BY_ONE: usize = 20;

/// A step of the plan: one file.
#[derive(Debug)]
pub(super) struct Step {
    /// Where the file lies: absolute, or `-` for standard input.
    pub(super) local: PathBuf,
    /// In bytes, where it is known.
    pub(super) size: Option<u64>,
    pub(super) action: Action,
}

/// What a run would do.
#[derive(Debug)]
pub(super) enum Action {
    /// Send the file. `note` says what may come otherwise.
    Upload { to: RemotePath, exists: bool, then: After, note: Option<String> },
    /// Nothing is sent, for the vault has these bytes already: they are compared, and then the local file is dealt with.
    Finish { to: RemotePath, then: After, receipt: Option<i64> },
    /// Leave the file where it is, or move it to `moved_to`, the folder for failed files.
    Leave(Left),
}

/// Why a file would be left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The reason in one word.
    pub(super) standing: &'static str,
    pub(super) reason: String,
    /// Where it is, or would go, in the vault, as far as that is known.
    pub(super) to: Option<RemotePath>,
    /// Since when, where the journal knows.
    pub(super) since: Option<SystemTime>,
    /// The receipt's number, for a file that is stored and kept.
    pub(super) receipt: Option<i64>,
    /// What a person can do.
    pub(super) mend: Option<String>,
    /// The folder for failed files that the file would be moved to.
    pub(super) moved_to: Option<PathBuf>,
}

/// The folder that the files come from, and where they go.
pub(super) struct Source<'a> {
    pub(super) root: &'a Arc<Root>,
    pub(super) policy: &'a Policy,
    pub(super) dest: &'a RemotePath,
}

/// Plans one file after the other.
pub(super) struct Planner<'a, V> {
    /// `None` where the vault is not asked.
    vault: Option<&'a V>,
    journal: Option<Journal>,
    folders: HashMap<RemotePath, Result<VaultFolder, VaultError>>,
    /// The names that earlier files of this run get, and those files.
    planned: HashMap<RemotePath, (Arc<Root>, PathBuf)>,
}

/// A folder of the vault.
struct VaultFolder {
    id: DocumentId,
    asked: usize,
    /// Its names, once they were listed.
    names: Option<HashSet<String>>,
}

/// Who has a name in the vault.
enum Taken {
    /// No other file.
    Free,
    /// Another local file of the same bytes.
    Same,
    /// Another local file.
    Other,
}

/// Where a file goes.
enum Place {
    Free(RemotePath),
    Same(RemotePath),
    None,
}

impl<'a, V: Vault> Planner<'a, V> {
    pub(super) fn new(vault: Option<&'a V>, journal: Option<Journal>) -> Self {
        Self { vault, journal, folders: HashMap::new(), planned: HashMap::new() }
    }

    /// What a run would do with a file.
    pub(super) async fn step(&mut self, source: &Source<'_>, file: FileHere) -> Result<Step, Fatal> {
        let local = source.root.path().join(&file.relative);
        let (size, action) = (file.size, self.action(source, file).await?);
        Ok(Step { local, size, action })
    }

    async fn action(&mut self, source: &Source<'_>, file: FileHere) -> Result<Action, Fatal> {
        let then = if file.may_leave { source.policy.after.clone() } else { After::Keep };
        match &file.standing {
            Standing::Stored { to, receipt, .. } => Ok(Action::Finish { to: to.clone(), then, receipt: *receipt }),
            Standing::Pending { to, .. } => {
                let note = "an earlier upload of it has no outcome yet: the vault is asked first, and the file is not sent if it is there";
                Ok(Action::Upload { to: to.clone(), exists: false, then, note: Some(note.to_owned()) })
            }
            Standing::Ready { to } => self.upload(source, (&file.relative, to), then, None).await,
            Standing::Settling { to, .. } => {
                self.upload(source, (&file.relative, to), then, Some(file.standing.to_string())).await
            }
            other => Ok(leave(other, source.policy)),
        }
    }

    async fn upload(
        &mut self,
        source: &Source<'_>,
        (relative, to): (&Path, &RemotePath),
        then: After,
        note: Option<String>,
    ) -> Result<Action, Fatal> {
        let (folder_path, name) = split(to);
        let folder = match self.folder(&folder_path).await {
            Ok(folder) => folder,
            Err(error) if is_own_trouble(&error, &folder_path, source) => return Ok(blocked(&error)),
            Err(error) => return Err(error.into()),
        };
        let place = self.place(source, relative, (&folder_path, &folder, &name)).await?;
        let to = match place {
            Place::Same(to) => return Ok(Action::Finish { to, then, receipt: None }),
            Place::None => return Ok(name_taken(to.clone(), source.policy)),
            Place::Free(to) => to,
        };
        let exists = self.exists(&folder_path, &split(&to).1).await?;
        if exists && source.policy.on_conflict == OnConflict::Fail {
            return Ok(may_fail(&to, source.policy));
        }
        if self.planned.len() < budget::PLANNED_NAMES {
            self.planned.insert(to.clone(), (Arc::clone(source.root), relative.to_owned()));
        }
        let notes: Vec<String> = note.into_iter().chain(exists.then(|| DOCUMENT_THERE.to_owned())).collect();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(Action::Upload { to, exists, then, note })
    }

    /// The name that a file gets: its own, or another one where its own is taken by another local file.
    async fn place(
        &self,
        source: &Source<'_>,
        relative: &Path,
        (folder_path, folder, name): (&RemotePath, &DocumentId, &str),
    ) -> Result<Place, Fatal> {
        let own = folder_path.join(name);
        match self.taken(source, relative, (folder, &own)).await? {
            Taken::Free => return Ok(Place::Free(own)),
            Taken::Same => return Ok(Place::Same(own)),
            Taken::Other => {}
        }
        if source.policy.on_conflict == OnConflict::Fail {
            return Ok(Place::None);
        }
        let Some(sha256) = hash(source.root, relative).await else { return Ok(Place::None) };
        for other in alternatives(name, relative, &sha256) {
            let to = folder_path.join(&other);
            match self.taken(source, relative, (folder, &to)).await? {
                Taken::Free => return Ok(Place::Free(to)),
                Taken::Same => return Ok(Place::Same(to)),
                Taken::Other => {}
            }
        }
        Ok(Place::None)
    }

    async fn taken(
        &self,
        source: &Source<'_>,
        relative: &Path,
        (folder, to): (&DocumentId, &RemotePath),
    ) -> Result<Taken, Fatal> {
        if let Some((root, other)) = self.planned.get(to) {
            let theirs = hash(root, other).await;
            let same = theirs.is_some() && theirs == hash(source.root, relative).await;
            return Ok(if same { Taken::Same } else { Taken::Other });
        }
        let Some(journal) = &self.journal else { return Ok(Taken::Free) };
        let Some(owner) = journal.owner_of_name(folder, &split(to).1).await? else { return Ok(Taken::Free) };
        if (owner.intent.root.as_path(), owner.intent.relative.as_path()) == (source.root.path(), relative) {
            return Ok(Taken::Free);
        }
        let stored = owner.stored.map(|stored| stored.sha256);
        let same = stored.is_some() && stored == hash(source.root, relative).await;
        Ok(if same { Taken::Same } else { Taken::Other })
    }

    async fn folder(&mut self, path: &RemotePath) -> Result<DocumentId, VaultError> {
        let Some(vault) = self.vault else { return Ok(DocumentId(String::new())) };
        if !self.folders.contains_key(path) {
            let found = vault.folder(path).await;
            let found = found.map(|folder| VaultFolder { id: folder.id, asked: 0, names: None });
            self.folders.insert(path.clone(), found);
        }
        match self.folders.get(path) {
            Some(Ok(folder)) => Ok(folder.id.clone()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(VaultError::new(Kind::Missing, "it is not there")),
        }
    }

    /// Whether the vault has a document of this name in a folder.
    async fn exists(&mut self, path: &RemotePath, name: &str) -> Result<bool, Fatal> {
        let (Some(vault), Some(Ok(folder))) = (self.vault, self.folders.get_mut(path)) else { return Ok(false) };
        folder.asked += 1;
        if folder.names.is_none() && folder.asked > ASKED_ONE_BY_ONE {
            let children = vault.children(&folder.id).await?;
            folder.names = Some(children.into_iter().filter_map(|child| child.name).collect());
        }
        match &folder.names {
            Some(names) => Ok(names.contains(name)),
            None => Ok(vault.at(&path.join(name)).await?.is_some()),
        }
    }
}

/// A folder below the destination that is missing holds up its own files only; the destination itself holds up all.
fn is_own_trouble(error: &VaultError, folder: &RemotePath, source: &Source<'_>) -> bool {
    folder != source.dest && matches!(error.kind, Kind::Missing | Kind::Forbidden)
}

fn leave(standing: &Standing, policy: &Policy) -> Action {
    let is_failure = matches!(standing, Standing::Failed { .. } | Standing::TooLarge { .. } | Standing::BadName(_));
    Action::Leave(Left {
        standing: standing.word(),
        reason: standing.to_string(),
        to: standing.remote().cloned(),
        since: standing.since(),
        receipt: standing.receipt(),
        mend: standing.mend(),
        moved_to: policy.failed_dir.clone().filter(|_| is_failure),
    })
}

fn blocked(error: &VaultError) -> Action {
    Action::Leave(Left {
        standing: "blocked",
        reason: format!("its folder in the vault can't be used: {error}"),
        mend: Some("make that folder in the vault; the file waits until then".to_owned()),
        ..Left::default()
    })
}

fn name_taken(to: RemotePath, policy: &Policy) -> Action {
    Action::Leave(Left {
        standing: "name_taken",
        reason: format!("there is a document of other content at {to} already"),
        to: Some(to),
        mend: Some("rename it".to_owned()),
        moved_to: policy.failed_dir.clone(),
        ..Left::default()
    })
}

const DOCUMENT_THERE: &str = "a document of this name is there: the service makes a new version of it or, if it refuses that, the file gets a \
                              name with a suffix";

/// Whether the bytes differ is found out by a run: here, each file would have to be read.
fn may_fail(to: &RemotePath, policy: &Policy) -> Action {
    match name_taken(to.clone(), policy) {
        Action::Leave(left) => Action::Leave(Left {
            reason: format!(
                "there is a document at {to} already: it is left as it is, and the file fails unless it has the same bytes"
            ),
            ..left
        }),
        other => other,
    }
}

/// The folder of a document, and its name.
fn split(path: &RemotePath) -> (RemotePath, String) {
    let Some((name, folder)) = path.segments().split_last() else { return (RemotePath::default(), String::new()) };
    (folder.iter().fold(RemotePath::default(), |path, segment| path.join(segment)), name.clone())
}

/// The SHA-256 of a file's content; `None` where it can't be read.
async fn hash(root: &Arc<Root>, relative: &Path) -> Option<String> {
    let (root, relative) = (Arc::clone(root), relative.to_owned());
    let hashed = tokio::task::spawn_blocking(move || root.open_file(&relative).ok()?.sha256().ok());
    hashed.await.ok().flatten()
}

/// What a run would do with standard input.
pub(super) fn standard_input(to: RemotePath) -> Step {
    let action = Action::Upload { to, exists: false, then: After::Keep, note: None };
    Step { local: "-".into(), size: None, action }
}

/// Something that was named, and is not there.
pub(super) fn missing(missing: Missing) -> Step {
    let left = Left { standing: "missing", reason: missing.why, ..Left::default() };
    Step {
        local: std::path::absolute(&missing.typed).unwrap_or(missing.typed),
        size: None,
        action: Action::Leave(left),
    }
}

/// The error for a task that panicked.
pub(super) fn panicked(error: &tokio::task::JoinError) -> Fatal {
    Fatal::new(Exit::SomeFailed, format!("internal error: {error}"))
}
