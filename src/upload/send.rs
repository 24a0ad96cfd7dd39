//! Sending a file: to which folder, under which name, and what the store's refusals mean.

use super::attempt::{Confirmed, Halt, hashed, load, unread};
use super::body::Source;
use super::naming;
use super::{Outcome, Pipeline};
use crate::config::{Layout, OnConflict};
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::journal::{AttemptId, Begun, End, Intent};
use crate::vault::{DocumentId, Kind, RemotePath, Vault, VaultError};

impl<V: Vault> Pipeline<V> {
    /// Sends a file, under another name where its own is taken by other content.
    pub(super) async fn upload(&self, file: &Settled, source: &Source) -> Result<Confirmed, Halt> {
        if let Some(reason) = self.beyond_max_size(source) {
            return Err(self.fail_unsent(file, source, reason).await);
        }
        load(file, source).await?;
        let (dest, name) = match self.dest_of(file) {
            Ok(place) => place,
            Err(error) => return Err(self.fail_unsent(file, source, error.to_string()).await),
        };
        let folder = self.destinations.folder(&*self.shared.vault, &dest).await;
        let folder = folder.map_err(|error| self.no_destination(&dest, error))?;
        if let Some(confirmed) = self.upload_as(file, source, &dest, &folder, &name).await? {
            return Ok(confirmed);
        }
        if self.policy.on_conflict == OnConflict::Rename {
            let sha256 = hashed(file, source).await?;
            for other in naming::alternatives(&name, &file.origin, &sha256) {
                if let Some(confirmed) = self.upload_as(file, source, &dest, &folder, &other).await? {
                    return Ok(confirmed);
                }
            }
        }
        let reason = format!("there is a document of other content at {} already", dest.join(&name));
        Err(self.fail_unsent(file, source, reason).await)
    }

    /// Sends it under one name; `None` where that name is taken by other content.
    async fn upload_as(
        &self,
        file: &Settled,
        source: &Source,
        dest: &RemotePath,
        folder: &DocumentId,
        name: &str,
    ) -> Result<Option<Confirmed>, Halt> {
        // Whoever has the name just now may come to nothing, or to the same bytes: only its end says.
        let _turn = self.shared.names.take(dest.join(name).to_string().into()).await;
        let intent = intent(file, source, dest, folder, name);
        self.nothing_late(&intent).await?;
        failpoint("before-intent");
        let attempt = match self.begin(file, &intent).await? {
            Begun::Go(attempt) => attempt,
            Begun::NameTaken(owner) => return self.adopt(file, source, intent, &owner).await,
        };
        failpoint("after-intent");
        let mut sending = self.shared.late.sending(dest.join(name), source);
        let answer = self.timed(self.shared.vault.upload(folder, name, &|| Ok(source.content()))).await;
        failpoint("after-send");
        sending.answered(answer.as_ref().err());
        match answer {
            Ok(document) => {
                let confirmed = self.confirm(file, source, attempt, intent.clone(), document).await?;
                self.not_covered(file, &intent, &confirmed).await?;
                Ok(Some(confirmed))
            }
            Err(error) if error.maybe_stored => Err(Halt::AnswerLost(error)),
            Err(error) if error.kind == Kind::Conflict => self.conflict(file, source, attempt, &intent).await,
            Err(error) => Err(self.not_taken(file, source, attempt, dest, error).await?),
        }
    }

    /// The store took nothing: whose trouble that is.
    async fn not_taken(
        &self,
        file: &Settled,
        source: &Source,
        attempt: AttemptId,
        dest: &RemotePath,
        error: VaultError,
    ) -> Result<Halt, Halt> {
        if error.kind == Kind::Refused {
            return Ok(self.fail(source, attempt, error.message).await);
        }
        if error.kind == Kind::Unavailable {
            // A proxy may say "busy" of what was stored behind it: the intent stays open, and is asked for before the file
            // is sent again.
            return Ok(Halt::Service(error));
        }
        self.abandon(attempt, &error.message).await?;
        Ok(match error.kind {
            Kind::Content => unread(file, source, error.message),
            Kind::Missing | Kind::Forbidden => {
                self.destinations.forget(dest);
                self.no_destination(dest, error)
            }
            _ => Halt::Service(error),
        })
    }

    /// The destination can't be used. A sub-folder of it holds up its own files only.
    fn no_destination(&self, dest: &RemotePath, error: VaultError) -> Halt {
        match error.kind {
            Kind::Unavailable | Kind::Unknown | Kind::Login => Halt::Service(error),
            _ if *dest != self.dest => {
                Halt::Ended(Outcome::Blocked { reason: format!("its folder in the vault can't be used: {error}") })
            }
            _ => Halt::Destination(error),
        }
    }

    pub(super) async fn abandon(&self, attempt: AttemptId, reason: &str) -> Result<(), Halt> {
        Ok(self.shared.journal.end(attempt, End::Abandoned { reason: reason.to_owned() }).await?)
    }

    /// Writes down that an attempt failed for a reason that is this file's own.
    pub(super) async fn fail(&self, source: &Source, attempt: AttemptId, reason: String) -> Halt {
        match self.shared.journal.end(attempt, End::Failed { reason: reason.clone() }).await {
            Ok(()) => Halt::Refused(source.clone(), reason),
            Err(error) => error.into(),
        }
    }

    /// The same for a file that can't be sent at all. The intent names no folder, so that it takes nobody's name.
    async fn fail_unsent(&self, file: &Settled, source: &Source, reason: String) -> Halt {
        let name = file.origin.to_string_lossy();
        let intent = intent(file, source, &self.dest, &DocumentId(String::new()), &name);
        match self.shared.journal.refuse(intent, reason.clone()).await {
            Ok(_) => Halt::Refused(source.clone(), reason),
            Err(error) => error.into(),
        }
    }

    /// Where a file goes, and as what.
    fn dest_of(&self, file: &Settled) -> Result<(RemotePath, String), naming::NameError> {
        let name = naming::remote_name(&file.origin)?;
        let dest = match self.policy.layout {
            Layout::Flat => self.dest.clone(),
            Layout::Mirror => {
                let folders = naming::remote_folders(&file.origin)?;
                folders.iter().fold(self.dest.clone(), |dest, folder| dest.join(folder))
            }
        };
        Ok((dest, name))
    }
}

fn intent(file: &Settled, source: &Source, dest: &RemotePath, folder: &DocumentId, name: &str) -> Intent {
    Intent {
        root: file.root.path().to_owned(),
        relative: file.origin.clone(),
        stamp: source.opened.stamp,
        dest: dest.clone(),
        folder: folder.clone(),
        name: name.to_owned(),
    }
}
