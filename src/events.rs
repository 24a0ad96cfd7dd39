//! Events: the lines of JSON that scripts read on standard output, version 1. One function makes every line.
//!
//! `docs/scripting.md` promises them: from version 1 on, fields and types are added, and none is renamed, dropped or given
//! another meaning. Each type has a schema in `docs/schema/`; `tests/docs.rs` compares both with the code.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::hex;
use crate::printable::json_line;

/// The version that each line carries as `v`.
const VERSION: u8 = 1;

/// The fields of one type of event. The type's name is a literal, because a test looks for the names in the source.
pub(crate) trait Event: Serialize {
    /// The value of the field `type`.
    const TYPE: &'static str;
}

/// The fields that every event has, followed by its own.
#[derive(Serialize)]
struct Line<'a, E> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    time: String,
    #[serde(flatten)]
    event: &'a E,
}

/// Returns an event as one line of JSON without its newline. `now` becomes the field `time`.
pub(crate) fn line<E: Event>(event: &E, now: SystemTime) -> String {
    json_line(&Line { v: VERSION, kind: E::TYPE, time: utc(now), event })
}

/// UTC with milliseconds. This form has no years before 1970, so an earlier time is shown as 1970.
fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// The fields of a local path: the path as text, and its bytes where the text can't hold them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LocalPath {
    local_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    local_path_bytes: Option<String>,
}

impl LocalPath {
    pub(crate) fn new(path: &Path) -> Self {
        Self { local_path: path.to_string_lossy().into_owned(), local_path_bytes: bytes_if_not_text(path) }
    }

    /// The path as text, with U+FFFD for each byte sequence that is none.
    pub(crate) fn text(&self) -> &str {
        &self.local_path
    }
}

/// The same fields for the path that a file was moved to; null where the file was not moved.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MovedTo {
    moved_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_to_bytes: Option<String>,
}

impl MovedTo {
    pub(crate) fn new(path: Option<&Path>) -> Self {
        Self {
            moved_to: path.map(|path| path.to_string_lossy().into_owned()),
            moved_to_bytes: path.and_then(bytes_if_not_text),
        }
    }
}

/// The path's bytes in hexadecimal, if the path is not UTF-8.
fn bytes_if_not_text(path: &Path) -> Option<String> {
    if path.to_str().is_some() { None } else { Some(hex(path.as_os_str().as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::time::Duration;

    #[derive(Serialize)]
    struct Found {
        #[serde(flatten)]
        path: LocalPath,
        #[serde(flatten)]
        moved: MovedTo,
    }

    impl Event for Found {
        const TYPE: &'static str = "stored";
    }

    fn found(path: &Path, moved: Option<&Path>, now: SystemTime) -> String {
        line(&Found { path: LocalPath::new(path), moved: MovedTo::new(moved) }, now)
    }

    #[test]
    fn a_line_begins_with_the_version_the_type_and_the_time_in_utc() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_593_600_250);
        assert_eq!(
            found(Path::new("/a"), None, now),
            r#"{"v":1,"type":"stored","time":"2026-11-25T08:00:00.250Z","local_path":"/a","moved_to":null}"#
        );
    }

    #[test]
    fn no_byte_of_a_path_is_lost_that_is_not_utf8_text() {
        let odd = Path::new(OsStr::from_bytes(b"/a\xff"));
        let line = found(odd, Some(odd), SystemTime::UNIX_EPOCH);
        assert!(line.contains("\"local_path\":\"/a\u{fffd}\",\"local_path_bytes\":\"2f61ff\""), "{line}");
        assert!(line.contains("\"moved_to\":\"/a\u{fffd}\",\"moved_to_bytes\":\"2f61ff\""), "{line}");
    }

    #[test]
    fn a_clock_before_1970_breaks_no_line() {
        let line = found(Path::new("/a"), None, SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert!(line.contains("1970-01-01T00:00:00.000Z"), "{line}");
    }
}
