//! The name of this machine, and where it goes into a destination. Pure, but for [`machine`].

use super::ConfigError;
use crate::printable::printable;
use crate::vault::RemotePath;

/// What stands for the machine's name in a destination.
const PLACEHOLDER: &str = "{host}";

/// The longest name: as long as a label of a domain name.
const MOST: usize = 63;

/// A name of a machine: letters, digits, `-`, `_` and `.`, so that it is one folder's name in every store, and no other machine's name
/// once it is written in another way.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let may = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let begins = text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
    match text.len() {
        0 => Err("is empty".into()),
        length if length > MOST => Err(format!("is longer than {MOST} characters")),
        _ if !begins || !text.chars().all(may) => Err(format!(
            "`{}` is no machine's name: write letters, digits, `-`, `_` and `.`, with a letter or digit first",
            printable(text)
        )),
        _ => Ok(text.to_owned()),
    }
}

/// The name that the system has for this machine.
pub(super) fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of this machine: the configured one, else the system's. `localhost` is every machine's name, so it tells none apart.
pub(super) fn name_of_this(configured: Option<&str>, system: &str) -> Result<String, String> {
    if let Some(name) = configured {
        return Ok(name.to_owned());
    }
    match system {
        "localhost" | "localhost.localdomain" => Err(format!("the system calls this machine {system}, as any other")),
        name => host_name(name).map_err(|why| format!("the name that the system has for this machine {why}")),
    }
}

/// The destination with the machine's name in the place of `{host}`. `name` is only asked for where it is needed.
pub(super) fn fill_in(
    dest: &RemotePath,
    name: impl FnOnce() -> Result<String, String>,
) -> Result<RemotePath, ConfigError> {
    if !dest.segments().iter().any(|segment| segment.contains(PLACEHOLDER)) {
        return Ok(dest.clone());
    }
    let name = name().map_err(|why| {
        let dest = printable(&dest.to_string());
        ConfigError::new(format!(
            "the destination {dest} has the place {PLACEHOLDER} for this machine's name, but {why}: add name = \"scan-01\" under \
             [fleet] in the configuration"
        ))
    })?;
    let filled = dest.segments().iter().map(|segment| segment.replace(PLACEHOLDER, &name));
    Ok(filled.fold(RemotePath::default(), |path, segment| path.join(&segment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(dest: &str, name: Result<&str, &str>) -> Result<String, String> {
        let name = name.map(str::to_owned).map_err(str::to_owned);
        let filled = fill_in(&RemotePath::parse(dest).unwrap(), || name);
        filled.map(|path| path.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_machines_name_takes_its_place_wherever_the_destination_has_one() {
        assert_eq!(filled("/HR/{host}", Ok("scan-01")).unwrap(), "/HR/scan-01");
        assert_eq!(filled("/{host}/in-{host}", Ok("a.b")).unwrap(), "/a.b/in-a.b");
        assert_eq!(filled("/HR/{hosts}", Err("unused")).unwrap(), "/HR/{hosts}");
        let why = filled("/HR/{host}", Err("it has none")).unwrap_err();
        assert!(why.contains("it has none") && why.contains("[fleet]"), "{why}");
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_or_is_every_machines_is_refused() {
        for bad in ["", ".", "..", "a/b", "../x", "-rf", "a b", "a\nb", "ü", "a\0", &"x".repeat(64)] {
            host_name(bad).unwrap_err();
            name_of_this(None, bad).unwrap_err();
        }
        for every in ["localhost", "localhost.localdomain"] {
            name_of_this(None, every).unwrap_err();
        }
        assert_eq!(name_of_this(None, "Scan_01.example").unwrap(), "Scan_01.example");
        assert_eq!(name_of_this(Some("own"), "no name").unwrap(), "own");
    }
}
