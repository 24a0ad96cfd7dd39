//! Which folders must not be emptied, and what must not lie in a folder that is.

use std::path::{Path, PathBuf};

use super::places::{Places, real};
use super::{After, ConfigError, Folder};

/// A path that belongs to the program, and what messages call it.
pub(super) type OwnFile<'a> = (&'a str, &'a Path);

/// Checks that no two watched folders share files: each file must have exactly one destination.
pub(super) fn are_apart(folders: &[Folder], places: &Places) -> Result<(), ConfigError> {
    let lie: Vec<PathBuf> = folders.iter().map(|f| places.of(&f.path)).collect();
    for (i, inner) in lie.iter().enumerate() {
        for (j, outer) in lie.iter().enumerate() {
            if i != j && inner.starts_with(outer) {
                return Err(shared(&folders[i].path, &folders[j].path, inner == outer));
            }
        }
    }
    Ok(())
}

/// Checks that no folder that is emptied holds the program's own files, or a folder to which files are moved: their content would
/// be uploaded and deleted. The folders to which files of any configured folder are moved count too, as another process may
/// watch that folder. No flag allows this, because no user can mean it. `how` says in the message how the folders are emptied.
pub(super) fn hold_no_own_files(
    how: &str,
    folders: &[Folder],
    configured: &[Folder],
    own_files: &[OwnFile<'_>],
    places: &Places,
) -> Result<(), ConfigError> {
    let lie: Vec<PathBuf> = folders.iter().map(|f| places.of(&f.path)).collect();
    let targets = folders.iter().chain(configured).flat_map(|folder| move_targets(folder).into_iter().flatten());
    for (what, path) in targets.chain(own_files.iter().copied()) {
        let at = places.of(path);
        if let Some(i) = lie.iter().position(|place| at.starts_with(place)) {
            return Err(inside(what, path, how, &folders[i].path));
        }
    }
    Ok(())
}

fn move_targets(folder: &Folder) -> [Option<OwnFile<'_>>; 2] {
    let moved = match &folder.policy.after {
        After::Move(dir) => Some(("move_to", dir.as_path())),
        After::Delete | After::Keep => None,
    };
    [moved, folder.policy.failed_dir.as_deref().map(|dir| ("failed_dir", dir))]
}

fn shared(inner: &Path, outer: &Path, same: bool) -> ConfigError {
    let (inner, outer) = (inner.display(), outer.display());
    let how = if same { "is the same folder as" } else { "lies in" };
    ConfigError::new(format!(
        "{inner} {how} {outer}, and both are watched: each file must have one way to go, watch only one"
    ))
}

fn inside(what: &str, path: &Path, how: &str, folder: &Path) -> ConfigError {
    let (path, folder) = (path.display(), folder.display());
    ConfigError::new(format!(
        "{what} ({path}) lies in the {how} folder {folder}: what is there would be uploaded; put it elsewhere"
    ))
}

/// System folders that must not be emptied. Folders below them may be, as users make their own folders there.
const TOP: [&str; 24] = [
    "/Users",
    "/Volumes",
    "/home",
    "/lost+found",
    "/media",
    "/mnt",
    "/opt",
    "/private",
    "/private/tmp",
    "/private/var",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/mail",
    "/var/spool",
    "/var/spool/cron",
    "/var/tmp",
    "/dev/shm",
];
/// System folders that must not be emptied, and nothing below them either, except `/dev/shm`, where every user may have files.
const WHOLE: [&str; 19] = [
    "/Applications",
    "/Library",
    "/System",
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/private/etc",
    "/proc",
    "/sbin",
    "/snap",
    "/sys",
    "/usr",
];

/// Refuses to empty a home or system folder.
pub(super) fn refuse_surprises(paths: &[PathBuf], homes: &[PathBuf], places: &Places) -> Result<(), ConfigError> {
    for path in paths {
        if let Some(what) = surprise(&places.of(path), homes) {
            let path = path.display();
            return Err(ConfigError::new(format!(
                "{path} is {what}: all files in it would be uploaded and removed; name a folder made for that, or give --yes"
            )));
        }
    }
    Ok(())
}

/// What kind of folder this is, if it must not be emptied. Pure.
fn surprise(real: &Path, homes: &[PathBuf]) -> Option<&'static str> {
    let shared_memory = real.starts_with("/dev/shm");
    if real == Path::new("/") {
        return Some("the whole file system");
    }
    if TOP.iter().any(|top| real == Path::new(top)) {
        return Some("a system folder");
    }
    let whole = WHOLE.iter().any(|whole| real.starts_with(whole));
    if whole && !shared_memory {
        return Some("a system folder, or in one");
    }
    if homes.iter().any(|home| home == real) {
        return Some("a home folder");
    }
    homes.iter().any(|home| home.starts_with(real)).then_some("a folder with home folders in it")
}

/// The home folders of this machine, as far as /etc/passwd lists them.
pub(super) fn homes(own: Option<PathBuf>) -> Vec<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = users.lines().filter_map(|line| line.split(':').nth(5)).filter(|home| home.starts_with('/'));
    listed.map(PathBuf::from).chain(own).map(|home| real(&home)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Policy;

    fn folder(path: &Path) -> Folder {
        Folder { path: path.to_owned(), policy: Policy::default() }
    }

    /// The rule is tested as a pure function: no test ever gives a real folder to a program that may empty it.
    #[test]
    fn system_folders_and_homes_are_refused_and_folders_below_them_are_not() {
        let homes = [PathBuf::from("/home/me"), PathBuf::from("/data/sftp")];
        let kind = |path: &str| surprise(Path::new(path), &homes);
        for path in
            ["/", "/etc", "/etc/cron.d", "/usr/lib", "/lib64", "/var", "/var/spool", "/tmp", "/home", "/home/me"]
        {
            assert!(kind(path).is_some(), "{path}");
        }
        for path in ["/dev/null", "/dev/shm", "/proc/1", "/root", "/data/sftp", "/srv", "/nix/store", "/private/etc/x"]
        {
            assert!(kind(path).is_some(), "{path}");
        }
        assert_eq!(kind("/data"), Some("a folder with home folders in it"));
        for path in ["/srv/scans", "/home/me/in", "/var/spool/scans", "/tmp/x", "/dev/shm/x", "/data/in", "/library/in"]
        {
            assert_eq!(kind(path), None, "{path}");
        }
    }

    #[test]
    fn watched_folders_may_be_neighbours_but_not_nested() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = (temp.path().join("a"), temp.path().join("ab"));
        std::fs::create_dir(&a).unwrap();
        assert!(are_apart(&[folder(&a), folder(&b)], &Places::default()).is_ok());
        for inner in [a.join("in"), a.clone(), a.join("../a/./")] {
            let why = are_apart(&[folder(&a), folder(&inner)], &Places::default()).unwrap_err().to_string();
            assert!(why.contains("both are watched"), "{why}");
        }
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&a, &link).unwrap();
        assert!(are_apart(&[folder(&a), folder(&link)], &Places::default()).is_err());
    }

    #[test]
    fn a_watched_folder_with_own_files_or_a_move_target_is_refused() {
        let (watched, outside) = (Path::new("/w/in"), Path::new("/w/out"));
        let check = |folder: Folder, configured: &[Folder], own_files: &[OwnFile<'_>]| {
            hold_no_own_files("watched", &[folder], configured, own_files, &Places::default())
                .map_err(|error| error.to_string())
        };
        assert!(check(folder(watched), &[], &[("the journal", outside)]).is_ok());
        for own in [watched, &watched.join("x"), &watched.join("x/../y/z")] {
            assert!(check(folder(watched), &[], &[("the journal", own)]).is_err());
        }
        let (mut moving, mut failing) = (folder(watched), folder(watched));
        moving.policy.after = After::Move(watched.join("done"));
        failing.policy.failed_dir = Some(watched.to_owned());
        for (keeps, what) in [(moving, "move_to"), (failing, "failed_dir")] {
            assert!(check(keeps.clone(), &[], &[]).unwrap_err().contains(what));
            // Of another folder, which may be watched by another process.
            let other = Folder { path: "/w/other".into(), ..keeps };
            assert!(check(folder(watched), std::slice::from_ref(&other), &[]).unwrap_err().contains(what));
            assert!(check(folder(Path::new("/w/out")), &[other], &[]).is_ok());
        }
    }
}
