//! Where paths lead. The file system of a watched folder may not answer, and then that folder must hold up no other: its path counts as
//! it is written, and the folder is taken later only if it lies just there (see `commands::awaited`).

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{After, Folder};
use crate::budget;

/// Where the paths of folders lead, asked once.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<PathBuf, PathBuf>);

impl Places {
    /// The places of these folders, of the folders that their files are moved to, and of one more. Blocks, for [`budget::PLACES`] at most.
    pub(super) fn ask(folders: &[Folder], more: Option<&Path>) -> Self {
        let paths = folders.iter().flat_map(|folder| std::iter::once(folder.path.as_path()).chain(targets(folder)));
        Self::within(budget::PLACES, paths.chain(more).map(Path::to_owned).collect(), real)
    }

    /// Asks for all places at once, each on a thread of its own: one that hangs is left behind with its thread.
    fn within(limit: Duration, paths: Vec<PathBuf>, real: fn(&Path) -> PathBuf) -> Self {
        let (answers, answered) = mpsc::channel();
        let mut places = HashMap::new();
        for path in paths {
            if places.contains_key(&path) {
                continue;
            }
            places.insert(path.clone(), absolute(&path));
            let answers = answers.clone();
            std::thread::spawn(move || {
                let place = real(&path);
                // Nobody listens any more where the answer is late.
                answers.send((path, place)).ok();
            });
        }
        drop(answers);
        let end = Instant::now() + limit;
        while let Ok((path, place)) = answered.recv_timeout(end.saturating_duration_since(Instant::now())) {
            places.insert(path, place);
        }
        Self(places)
    }

    /// Where a path leads. One that was not asked for before is asked for now.
    pub(super) fn of(&self, path: &Path) -> PathBuf {
        self.0.get(path).cloned().unwrap_or_else(|| real(path))
    }

    /// Whether two paths lead to the same place.
    pub(super) fn same(&self, one: &Path, other: &Path) -> bool {
        self.of(one) == self.of(other)
    }
}

/// The folders that a folder's files are moved to.
pub(super) fn targets(folder: &Folder) -> impl Iterator<Item = &Path> {
    let moved = match &folder.policy.after {
        After::Move(dir) => Some(dir.as_path()),
        After::Delete | After::Keep => None,
    };
    [moved, folder.policy.failed_dir.as_deref()].into_iter().flatten()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Where a path leads once its links are followed. The part that does not exist is taken as it is written. Blocks.
pub(super) fn real(path: &Path) -> PathBuf {
    resolve(&absolute(path), Path::canonicalize)
}

fn resolve(path: &Path, canonical: impl Fn(&Path) -> io::Result<PathBuf>) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            Component::CurDir => {}
            _ => found.push(part),
        }
        if let Ok(followed) = canonical(&found) {
            found = followed;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(part: &Path) -> io::Result<PathBuf> {
        match part.to_str() {
            Some("/link") => Ok("/data/in".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    #[test]
    fn links_are_followed_before_parents() {
        for (path, leads) in
            [("/link/x", "/data/in/x"), ("/link/../x", "/data/x"), ("/no/./a/../b", "/no/b"), ("/../a", "/a")]
        {
            assert_eq!(resolve(Path::new(path), links), Path::new(leads), "{path}");
        }
    }

    /// A share that answers after a minute.
    fn hangs_at_share(path: &Path) -> PathBuf {
        if path.starts_with("/share") {
            std::thread::sleep(Duration::from_secs(60));
        }
        Path::new("/real").join(path.file_name().unwrap())
    }

    #[test]
    fn a_path_that_does_not_answer_counts_as_written_and_holds_up_no_other() {
        let start = Instant::now();
        let paths = ["/share/in", "/share/out", "/well/in"].map(PathBuf::from).to_vec();
        let places = Places::within(Duration::from_millis(200), paths, hangs_at_share);
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(places.of(Path::new("/share/in")), Path::new("/share/in"));
        assert_eq!(places.of(Path::new("/well/in")), Path::new("/real/in"));
    }
}
