//! Which daemon holds a folder, for the message of a second one that can't have it.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Snapshot;
use super::socket::{names, open, place};
use crate::budget;

/// A daemon that holds a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// When it was started, in UTC.
    pub(crate) since: String,
}

/// The daemon of this state directory that watches a folder; `None` where none says so, as with one of another state directory. Blocks, no
/// longer than [`budget::STATUS_OF_HOLDER`] for each piece of an answer.
pub(crate) fn holder_of(state_dir: &Path, folder: &Path) -> Option<Holder> {
    let dir = open(state_dir).ok()?;
    names(&dir).ok()?.iter().find_map(|name| {
        let snapshot = ask(&place(&dir, name))?;
        let is_held = snapshot.folders.iter().any(|held| Path::new(held.path.text()) == folder);
        if is_held { Some(Holder { pid: snapshot.pid?, since: snapshot.since? }) } else { None }
    })
}

fn ask(socket: &Path) -> Option<Snapshot> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(budget::STATUS_OF_HOLDER)).ok()?;
    let mut line = Vec::new();
    stream.take(budget::STATUS_BYTES).read_to_end(&mut line).ok()?;
    serde_json::from_slice(&line).ok()
}
