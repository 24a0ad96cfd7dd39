//! Which folders lie in which, and what must not lie in a watched one.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::{After, ConfigError, Folder};

/// A path that is ours, and what it is called in an error.
pub(super) type Ours<'a> = (&'a str, &'a Path);

/// No two watched folders may share files: each file must have one way to go.
pub(super) fn are_apart(folders: &[Folder]) -> Result<(), ConfigError> {
    let places: Vec<PathBuf> = folders.iter().map(|f| real(&f.path)).collect();
    for (i, inner) in places.iter().enumerate() {
        for (j, outer) in places.iter().enumerate() {
            if i != j && inner.starts_with(outer) {
                return Err(shared(&folders[i].path, &folders[j].path, inner == outer));
            }
        }
    }
    Ok(())
}

/// No folder that is emptied may hold what is ours, nor where any folder's files are kept, of those too that are not watched just
/// now: it would be uploaded and deleted. There is no flag to allow it: that can't be what anybody means. `how` the folders are
/// emptied is a word of the error.
pub(super) fn hold_nothing_of_ours(
    how: &str,
    folders: &[Folder],
    configured: &[Folder],
    ours: &[Ours<'_>],
) -> Result<(), ConfigError> {
    let places: Vec<PathBuf> = folders.iter().map(|f| real(&f.path)).collect();
    let of_policies = folders.iter().chain(configured).flat_map(|folder| of_policy(folder).into_iter().flatten());
    for (what, path) in of_policies.chain(ours.iter().copied()) {
        let at = real(path);
        if let Some(i) = places.iter().position(|place| at.starts_with(place)) {
            return Err(inside(what, path, how, &folders[i].path));
        }
    }
    Ok(())
}

fn of_policy(folder: &Folder) -> [Option<Ours<'_>>; 2] {
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

/// System folders that nobody means to have emptied; themselves only, what people make in them is theirs.
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
/// System folders with all that is below them, but for `/dev/shm`, where anybody may have files.
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

/// Refuses to watch what nobody means to have emptied.
pub(super) fn refuse_surprises<'a>(
    paths: impl Iterator<Item = &'a Path>,
    homes: &[PathBuf],
) -> Result<(), ConfigError> {
    for path in paths {
        if let Some(what) = surprise(&real(path), homes) {
            let path = path.display();
            return Err(ConfigError::new(format!(
                "{path} is {what}: all files in it would be uploaded and removed; name a folder made for that, or give --yes"
            )));
        }
    }
    Ok(())
}

/// What a folder is that is better not emptied. Pure.
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

/// The home folders of this machine, as far as they are known.
pub(super) fn homes(own: Option<PathBuf>) -> Vec<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = users.lines().filter_map(|line| line.split(':').nth(5)).filter(|home| home.starts_with('/'));
    listed.map(PathBuf::from).chain(own).map(|home| real(&home)).collect()
}

/// Whether two paths are the same place.
pub(super) fn same(one: &Path, other: &Path) -> bool {
    real(one) == real(other)
}

/// Where a path leads once its links are followed, as far as it exists; the rest by its words.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    resolve(&path, Path::canonicalize)
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
    use crate::config::Policy;

    fn folder(path: &Path) -> Folder {
        Folder { path: path.to_owned(), policy: Policy::default() }
    }

    fn links(part: &Path) -> io::Result<PathBuf> {
        match part.to_str() {
            Some("/link") => Ok("/data/in".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A pure look at the rule: no test ever names a real folder to a program that may empty it.
    #[test]
    fn system_folders_and_homes_are_surprises_and_folders_made_for_it_are_not() {
        let homes = [PathBuf::from("/home/me"), PathBuf::from("/data/sftp")];
        let told = |path: &str| surprise(Path::new(path), &homes);
        for path in
            ["/", "/etc", "/etc/cron.d", "/usr/lib", "/lib64", "/var", "/var/spool", "/tmp", "/home", "/home/me"]
        {
            assert!(told(path).is_some(), "{path}");
        }
        for path in ["/dev/null", "/dev/shm", "/proc/1", "/root", "/data/sftp", "/srv", "/nix/store", "/private/etc/x"]
        {
            assert!(told(path).is_some(), "{path}");
        }
        assert_eq!(told("/data"), Some("a folder with home folders in it"));
        for path in ["/srv/scans", "/home/me/in", "/var/spool/scans", "/tmp/x", "/dev/shm/x", "/data/in", "/library/in"]
        {
            assert_eq!(told(path), None, "{path}");
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

    #[test]
    fn neighbours_are_fine_and_nests_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = (temp.path().join("a"), temp.path().join("ab"));
        std::fs::create_dir(&a).unwrap();
        assert!(are_apart(&[folder(&a), folder(&b)]).is_ok());
        for inner in [a.join("in"), a.clone(), a.join("../a/./")] {
            let why = are_apart(&[folder(&a), folder(&inner)]).unwrap_err().to_string();
            assert!(why.contains("both are watched"), "{why}");
        }
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&a, &link).unwrap();
        assert!(are_apart(&[folder(&a), folder(&link)]).is_err());
    }

    #[test]
    fn what_is_ours_lies_elsewhere() {
        let (watched, outside) = (Path::new("/w/in"), Path::new("/w/out"));
        let check = |folder: Folder, configured: &[Folder], ours: &[Ours<'_>]| {
            hold_nothing_of_ours("watched", &[folder], configured, ours).map_err(|error| error.to_string())
        };
        assert!(check(folder(watched), &[], &[("the journal", outside)]).is_ok());
        for ours in [watched, &watched.join("x"), &watched.join("x/../y/z")] {
            assert!(check(folder(watched), &[], &[("the journal", ours)]).is_err());
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
