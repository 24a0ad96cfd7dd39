//! A snapshot without names of files, folders, users and hosts, for a page that more people can reach than this machine's. Pure.

use std::path::Path;

use super::{FailedReload, FileStatus, FolderStatus, Snapshot, Trouble};
use crate::events::LocalPath;

/// Where the whole truth is.
const ELSEWHERE: &str = "`astran-backup status` on its machine says more";

impl Snapshot {
    /// The same snapshot without names: folders and files have numbers, and reasons are told in general words. Only what is known to hold
    /// no name is taken over.
    pub(crate) fn without_names(self) -> Self {
        let paths: Vec<_> = self.folders.iter().map(|folder| folder.path.text().to_owned()).collect();
        let number_of = |path: &String| paths.iter().position(|other| other == path).map(folder_name);
        let troubles = self.troubles.into_iter().map(|trouble| {
            let folder = trouble.folder.as_ref().map(|path| number_of(path).unwrap_or_else(|| "a folder".to_owned()));
            Trouble { folder, reason: reason_of(&trouble.component).to_owned(), ..trouble }
        });
        let troubles = troubles.collect();
        let folders = self.folders.into_iter().enumerate().map(|(at, folder)| folder.without_names(at)).collect();
        let failed_reload = self.failed_reload.map(|failed| FailedReload { reason: ELSEWHERE.to_owned(), ..failed });
        Self { user: None, failed_reload, troubles, folders, ..self }
    }
}

impl FolderStatus {
    fn without_names(mut self, at: usize) -> Self {
        let name = folder_name(at);
        self.path = made_up(&name);
        self.remote_path = format!("destination {}", at + 1);
        for (number, transfer) in (1..).zip(&mut self.transfers) {
            transfer.path = made_up(&format!("{name}/upload {number}"));
        }
        for (number, file) in (1..).zip(&mut self.files) {
            file.path = made_up(&format!("{name}/file {number}"));
            file.reason = in_general(file).to_owned();
            file.mend = file.needs_a_person.then(|| ELSEWHERE.to_owned());
        }
        self
    }
}

/// A path in place of a true one, of which not even the bytes are left.
fn made_up(path: &str) -> LocalPath {
    LocalPath::new(Path::new(path))
}

fn folder_name(at: usize) -> String {
    format!("folder {}", at + 1)
}

/// Why a part holds up uploads, without the addresses and paths of the reason itself.
fn reason_of(component: &str) -> &'static str {
    match component {
        "start" => "the program has not started yet",
        "service" => "the service can't be reached, or fails",
        "login" => "the login is refused, or fails",
        "journal" => "the journal can't be written",
        "destination" => "the destination can't be used",
        "folder" => "the folder can't be watched",
        "progress" => "files wait, and nothing moves",
        _ => ELSEWHERE,
    }
}

/// Why a file is still here, without the names and numbers of the reason itself.
fn in_general(file: &FileStatus) -> &'static str {
    match file.standing.as_str() {
        "ready" => "ready to be uploaded",
        "settling" => "changed just now",
        "open" => "open for writing",
        "too_young" => "younger than min_age",
        "ignored" => "its name is one to ignore",
        "unreadable" => "not readable",
        "not_regular" => "no regular file, or a link",
        "failed" => "failed",
        "too_large" => "larger than max_size",
        "bad_name" => "the vault can have no document of this name",
        "kept" => "stored, and kept here as configured",
        "stored" => "stored; only the local file is still to be dealt with",
        "set_aside" => "stored, and set aside to be removed",
        "pending" => "an upload was begun and has no outcome yet",
        _ => ELSEWHERE,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::events;
    use crate::status::{Sum, Transfer, Waiting};
    use std::os::unix::ffi::OsStrExt as _;
    use std::time::SystemTime;

    const WORDS: [&str; 15] = [
        "ready",
        "settling",
        "open",
        "too_young",
        "ignored",
        "unreadable",
        "not_regular",
        "failed",
        "too_large",
        "bad_name",
        "kept",
        "stored",
        "set_aside",
        "pending",
        "a word of a later version",
    ];

    /// A file of which all texts are secret.
    pub(in crate::status) fn file(standing: &str) -> FileStatus {
        FileStatus {
            path: LocalPath::new(Path::new(std::ffi::OsStr::from_bytes(b"/secret/secret\xff.pdf"))),
            size: Some(5),
            standing: standing.into(),
            reason: "matches `secret`".into(),
            since: None,
            mend: Some("ask secret".into()),
            needs_a_person: standing == "failed",
        }
    }

    pub(in crate::status) fn snapshot() -> Snapshot {
        let trouble = |component: &str, folder: Option<&str>| Trouble {
            component: component.into(),
            folder: folder.map(str::to_owned),
            reason: "secret.example does not answer".into(),
            since: None,
        };
        let folder = |path: &str| FolderStatus {
            path: made_up(path),
            remote_path: "/secret".into(),
            stored_today: Sum { files: 7, bytes: 70 },
            waiting: Waiting { files: 2, bytes: 20, oldest_seconds: Some(3) },
            failed: 1,
            transfers: vec![Transfer { path: made_up("/secret/x"), size: 10, sent: 5, rate: None, seconds_left: None }],
            files: WORDS.into_iter().map(file).collect(),
            complete: true,
        };
        Snapshot {
            running: true,
            version: "0.1.0".into(),
            pid: Some(1),
            since: None,
            user: Some("secret@example.com".into()),
            limit_rate: None,
            failed_reload: Some(FailedReload { at: "2026-11-25T08:00:00Z".into(), reason: "secret.toml".into() }),
            troubles: vec![
                trouble("service", None),
                trouble("folder", Some("/other-secret")),
                trouble("destination", Some("/a secret folder that is awaited")),
            ],
            folders: vec![folder("/secret"), folder("/other-secret")],
        }
    }

    #[test]
    fn no_name_is_left_and_all_counts_sizes_and_states_are() {
        let (with, without) = (snapshot(), snapshot().without_names());
        let line = events::line(&without, SystemTime::UNIX_EPOCH);
        assert!(!line.contains("secret") && !line.contains("local_path_bytes"), "{line}");
        assert_eq!(without.troubles[1].folder.as_deref(), Some("folder 2"), "one can tell which folder is meant");
        for (with, without) in with.folders.iter().zip(&without.folders) {
            assert_eq!(
                (with.stored_today, with.waiting, with.failed),
                (without.stored_today, without.waiting, without.failed)
            );
            assert_eq!(
                (with.transfers[0].sent, with.transfers[0].size),
                (without.transfers[0].sent, without.transfers[0].size)
            );
            for (with, without) in with.files.iter().zip(&without.files) {
                assert_eq!((&with.standing, with.size), (&without.standing, without.size));
            }
        }
    }

    #[test]
    fn each_standing_of_today_has_words_of_its_own() {
        for word in &WORDS[..14] {
            assert_ne!(in_general(&file(word)), ELSEWHERE, "{word}");
        }
    }
}
