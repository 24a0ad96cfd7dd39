//! What was named on the command line, and the files that it stands for.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cli::Push;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::file::{PRIVATE, Root, Settled};
use crate::remove;
use crate::watch::{Found, Names, Walker};

/// Something that was named.
pub(super) enum Named {
    /// A file.
    File(Settled),
    /// A folder, of which all files are meant whose names don't say "in progress".
    Folder(Arc<Root>, Arc<Names>),
    /// Standard input, to be called this, by way of this folder: its length must be known before it is sent.
    Input(String, PathBuf),
}

/// A file to upload; or why something was not found, to be told and counted.
pub(super) type Found1 = Result<Settled, String>;

impl Named {
    /// All are looked at before any is uploaded, so that a typing error leaves nothing half done.
    pub(super) fn find(file: &Path, typed: &Push, config: &Config) -> Result<Self, Fatal> {
        if file == Path::new("-") {
            let name = typed.name.clone();
            let name = name.ok_or_else(|| Fatal::new(Exit::Usage, "standard input has no name: give --name NAME"))?;
            return Ok(Self::Input(name, config.state_dir.join("stdin")));
        }
        if typed.name.is_some() {
            return Err(Fatal::new(Exit::Usage, "--name goes with - (standard input); files have their own names"));
        }
        let missing =
            |error: io::Error| Fatal::new(Exit::Missing, format!("{} can't be uploaded: {error}", file.display()));
        if std::fs::symlink_metadata(file).map_err(missing)?.is_dir() {
            let names =
                Names::new(&config.upload.ignore).map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
            return Ok(Self::Folder(Arc::new(Root::open(file).map_err(missing)?), Arc::new(names)));
        }
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().ok_or_else(|| missing(io::ErrorKind::InvalidFilename.into()))?;
        Ok(Self::File(Settled::new(Arc::new(Root::open(parent).map_err(missing)?), name.into())))
    }
}

impl Named {
    /// Puts back what an earlier push was about to remove when it died; not where a `watch` does that itself.
    pub(super) fn recover(&self) {
        let (Self::File(Settled { root, .. }) | Self::Folder(root, _)) = self else { return };
        let own = Root::open(root.path()).and_then(|own| Ok((own.lock()?, own)));
        if let Ok((true, own)) = own {
            remove::recover(&own, Path::new(""));
            remove::tidy(&own);
        }
    }
}

/// Finds all files that were named, in their order, at the pace of whoever takes them.
pub(super) async fn find_all(named: Vec<Named>, found: mpsc::Sender<Found1>) -> Result<(), Fatal> {
    for named in named {
        match named {
            // Nobody takes them any more: the upload has been given up, and says so.
            Named::File(file) => found.send(Ok(file)).await.unwrap_or_default(),
            Named::Folder(root, names) => walk(root, names, &found).await?,
            Named::Input(name, folder) => found.send(Ok(spool(name, folder).await?)).await.unwrap_or_default(),
        }
    }
    Ok(())
}

async fn walk(root: Arc<Root>, names: Arc<Names>, found: &mpsc::Sender<Found1>) -> Result<(), Fatal> {
    let (sender, mut walked) = mpsc::channel(4);
    let walker = Walker { root: Arc::clone(&root), names, found: sender };
    let walking = tokio::task::spawn_blocking(move || walker.walk(&[PathBuf::new()], false, |_| ()));
    while let Some(message) = walked.recv().await {
        let files: Vec<Found1> = match message {
            Found::Files(files) => files.into_iter().map(|file| Ok(Settled::new(Arc::clone(&root), file))).collect(),
            Found::Unreadable(path, why) => {
                vec![Err(format!("{} can't be read: {why}", root.path().join(path).display()))]
            }
            Found::End => break,
        };
        for file in files {
            if found.send(file).await.is_err() {
                return Ok(());
            }
        }
    }
    walking.await.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))
}

/// Writes standard input to a file of its own, from where it is uploaded as `name`. Whatever is piped in never has to fit
/// into memory, and is still there if the upload fails.
async fn spool(name: String, folder: PathBuf) -> Result<Settled, Fatal> {
    let shown = folder.display().to_string();
    let spooled = tokio::task::spawn_blocking(move || {
        let mut random = [0u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        // Its place says what it is called, as that of a file set aside does.
        let relative = Path::new(PRIVATE).join(format!("{:016x}", u64::from_ne_bytes(random))).join(name);
        let place = folder.join(&relative);
        let parent = place.parent().unwrap_or(&folder);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place)?;
        io::copy(&mut io::stdin().lock(), &mut file)?;
        file.sync_all()?;
        Ok::<_, io::Error>(Settled::new(Arc::new(Root::open(&folder)?), relative))
    });
    let failed = |error: &dyn std::fmt::Display| {
        Fatal::new(Exit::SomeFailed, format!("standard input can't be kept in {shown} until it is uploaded: {error}"))
    };
    spooled.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}
