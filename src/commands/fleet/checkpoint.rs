//! `fleet checkpoint`: the auditor's own memory of all chains, kept apart from the database and its administrators.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::commands::context::Context;
use crate::commands::output::Output;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::fleet::{self, Contradiction, Note, Session};
use crate::journal::Signer;
use crate::measure::{count, utc};
use crate::printable::printable;
use crate::removal::AtomicFile;
use crate::vault::{Content, RemotePath, Vault};

/// The folder of the key and of the last note, in the state directory.
const FOLDER: &str = "fleet-checkpoint";
const LAST: &str = "last.json";

/// The ends of all chains were noted, or contradict the last note.
#[derive(Serialize)]
struct CheckpointEvent<'a> {
    /// Whether the chains contradict the last note: then no new one was made.
    contradicted: bool,
    chains: usize,
    /// When the last note was made; null where there was none.
    last: Option<&'a str>,
    /// Where the note lies in the vault; null where it was not put there.
    remote_path: Option<String>,
    contradictions: Vec<ContradictionFields<'a>>,
}

#[derive(Serialize)]
struct ContradictionFields<'a> {
    host: &'a str,
    stream: &'a str,
    what: &'a str,
}

impl Event for CheckpointEvent<'_> {
    const TYPE: &'static str = "fleet_checkpoint";
}

/// What the last run has left.
struct Memory {
    folder: PathBuf,
    signer: Signer,
    /// The last note, and the same as it was written.
    last: Option<(Note, Vec<u8>)>,
}

pub(super) async fn run(
    context: Context,
    session: &Session,
    offline: bool,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let folder = context.config.state_dir.join(FOLDER);
    let memory = spawn_blocking(move || Memory::open(folder)).await.map_err(Fatal::internal)??;
    let streams = fleet::streams(session).await?;
    let found = match &memory.last {
        Some((note, _)) => note.contradictions(&streams, &fleet::hashes_at(session, &note.places()).await?),
        None => Vec::new(),
    };
    let last = memory.last.as_ref().map(|(note, _)| note.at.clone());
    if !found.is_empty() {
        return contradicted(&found, streams.len(), last.as_deref(), out);
    }
    let at = utc(SystemTime::now());
    let previous = memory.last.as_ref().map(|(_, document)| document.as_slice());
    let document = Note::new(&streams, at.clone(), &memory.signer, previous).document(&memory.signer);
    let remote_path = if offline { None } else { Some(put(context, &at, document.clone()).await?) };
    spawn_blocking(move || memory.keep(&document)).await.map_err(Fatal::internal)??;
    let event = CheckpointEvent {
        contradicted: false,
        chains: streams.len(),
        last: last.as_deref(),
        remote_path: remote_path.map(|path| path.to_string()),
        contradictions: Vec::new(),
    };
    out.print(&event, || {
        let place = event.remote_path.as_deref().map(|path| format!(" and in the vault at {}", printable(path)));
        format!("{} chains are noted here{}", count(event.chains as u64), place.unwrap_or_default())
    })?;
    Ok(Exit::Done)
}

/// No new note is made: it would cover the trace.
fn contradicted(
    found: &[Contradiction],
    chains: usize,
    last: Option<&str>,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let fields = |it| {
        let Contradiction { host, stream, what }: &Contradiction = it;
        ContradictionFields { host, stream, what }
    };
    let contradictions = found.iter().map(fields).collect();
    let event = CheckpointEvent { contradicted: true, chains, last, remote_path: None, contradictions };
    out.print(&event, || {
        let since = last.unwrap_or("ever");
        let line = |it: &Contradiction| format!("BROKEN  {}: {} (since {since})", printable(&it.host), it.what);
        found.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::SomeFailed)
}

impl Memory {
    /// Blocks.
    fn open(folder: PathBuf) -> Result<Self, Fatal> {
        let signer = Signer::at(&folder)?;
        let path = folder.join(LAST);
        let last = match read(&path) {
            Ok(document) => {
                let note = Note::read(&document, &signer).map_err(|why| {
                    let path = path.display();
                    Fatal::new(
                        Exit::SomeFailed,
                        format!("the last checkpoint {path} {why}; put it back from the vault, or move it away to begin anew"),
                    )
                })?;
                Some((note, document))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Fatal::new(
                    Exit::SomeFailed,
                    format!("the last checkpoint {} can't be read: {error}", path.display()),
                ));
            }
        };
        Ok(Self { folder, signer, last })
    }

    /// Writes the note in the place of the last one. Blocks.
    fn keep(&self, document: &[u8]) -> Result<(), Fatal> {
        let path = self.folder.join(LAST);
        let written = AtomicFile::create(&path).and_then(|mut file| {
            file.write_all(document)?;
            file.persist(true)
        });
        written.map_err(|error| {
            Fatal::new(Exit::SomeFailed, format!("the checkpoint {} can't be written: {error}", path.display()))
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Puts the note into the vault, under a name of its own. Returns where.
async fn put(context: Context, at: &str, document: Vec<u8>) -> Result<RemotePath, Fatal> {
    let folder = context.config.anchor_folder().ok_or_else(|| {
        Fatal::new(
            Exit::Usage,
            "no folder of the vault is known for the checkpoint: give ASTRAN_BACKUP_ANCHOR, or anchor = \"/Folder\" under [journal], or \
             --offline to keep it here alone",
        )
    })?;
    let name = format!("fleet-checkpoint-{}.json", at.replace(':', ""));
    let path = folder.join(&name);
    let asked = context.ask(async |vault| {
        let id = vault.folder(&folder).await?.id;
        let content = || {
            let body = Full::new(Bytes::from(document.clone())).map_err(|never| match never {}).boxed();
            Ok(Content { length: document.len() as u64, body })
        };
        vault.upload(&id, &name, &content).await?;
        Ok(Exit::Done)
    });
    match asked.await? {
        Exit::Done => Ok(path),
        exit => Err(Fatal::new(exit, "interrupted before the checkpoint was in the vault")),
    }
}
