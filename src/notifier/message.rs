//! A message, as JSON for machines and as a line for people. Pure.
//!
//! Each text of a message exists twice: as it may leave this machine, and with names of local files and folders.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::trouble::{Event, Kind, Topic};
use crate::events::{self, LocalPath};
use crate::measure::{span, utc};
use crate::printable::printable;

/// The longest text in a message, in characters: a reason is a sentence or two.
const LONGEST: usize = 500;

/// A text as it may leave this machine, and as it may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// Names no local file and no local folder.
    pub(super) public: String,
    /// May name them.
    pub(super) full: String,
}

impl Words {
    pub(super) fn new(public: impl Into<String>, full: impl Into<String>) -> Self {
        Self { public: public.into(), full: full.into() }
    }

    fn get(&self, names: bool) -> &str {
        if names { &self.full } else { &self.public }
    }
}

/// A file that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedFile {
    /// Its absolute path.
    pub(super) path: PathBuf,
    pub(super) reason: Words,
}

impl NamedFile {
    /// The reason, with the file's path where names are allowed.
    pub(super) fn words(&self) -> Words {
        Words::new(&self.reason.public, format!("{}: {}", self.path.display(), self.reason.full))
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) event: Event,
    pub(super) topic: Topic,
    /// How many files: that failed, or that wait.
    pub(super) count: u64,
    /// The newest reasons; none where the trouble is over.
    pub(super) reasons: Vec<Words>,
    /// The newest files that failed.
    pub(super) files: Vec<NamedFile>,
    /// How long the trouble has lasted, as far as is known.
    pub(super) lasted: Option<Duration>,
}

/// The JSON of a message.
#[derive(Debug, Serialize)]
struct NotifyEvent<'a> {
    event: &'static str,
    /// What is over, for `recovered`.
    of: Option<&'static str>,
    host: &'a str,
    folder: Option<String>,
    count: u64,
    reason: Option<String>,
    seconds: Option<u64>,
    message: String,
    files: Vec<FileLine>,
}

#[derive(Debug, Serialize)]
struct FileLine {
    #[serde(flatten)]
    path: LocalPath,
    reason: String,
}

impl events::Event for NotifyEvent<'_> {
    const TYPE: &'static str = "notify";
}

impl Message {
    /// The message of `notify --test`.
    pub(super) fn test() -> Self {
        let topic = Topic { kind: Kind::Failed, folder: None };
        let reason = Words::new("this is a trial message", "this is a trial message");
        Self { event: Event::Test, topic, count: 0, reasons: vec![reason], files: Vec::new(), lasted: None }
    }

    /// One line of JSON without its end.
    pub(super) fn json(&self, host: &str, names: bool, now: SystemTime) -> String {
        let files = self
            .files
            .iter()
            .filter(|_| names)
            .map(|file| FileLine { path: LocalPath::new(&file.path), reason: short(file.reason.get(names)) });
        let event = NotifyEvent {
            event: self.word(),
            of: (self.event == Event::Recovered).then(|| self.topic.kind.word()),
            host,
            folder: self.folder(names),
            count: self.count,
            reason: self.reason(names),
            seconds: self.lasted.map(|lasted| lasted.as_secs()),
            message: self.text(host, names),
            files: files.collect(),
        };
        events::line(&event, now)
    }

    /// The message's words as environment variables. None holds a NUL or a line break.
    pub(super) fn variables(&self, host: &str, now: SystemTime) -> Vec<(&'static str, String)> {
        let words = [
            ("ASTRAN_BACKUP_EVENT", Some(self.word().to_owned())),
            ("ASTRAN_BACKUP_OF", (self.event == Event::Recovered).then(|| self.topic.kind.word().to_owned())),
            ("ASTRAN_BACKUP_TIME", Some(utc(now))),
            ("ASTRAN_BACKUP_HOST", Some(printable(host))),
            ("ASTRAN_BACKUP_FOLDER", self.folder(true).map(|folder| printable(&folder))),
            ("ASTRAN_BACKUP_COUNT", Some(self.count.to_string())),
            ("ASTRAN_BACKUP_REASON", self.reason(true)),
            ("ASTRAN_BACKUP_MESSAGE", Some(self.text(host, true))),
        ];
        words.into_iter().filter_map(|(name, word)| Some((name, word?))).collect()
    }

    /// The message in one line for people, such as the subject of a mail.
    pub(super) fn text(&self, host: &str, names: bool) -> String {
        let place = self.folder(names).map(|folder| format!(" in {folder}")).unwrap_or_default();
        let what = match (self.event, self.topic.kind, self.count) {
            (Event::Test, ..) => "test".to_owned(),
            (Event::Trouble, Kind::Failed, 0) => format!("uploads failed{place}"),
            (Event::Trouble, Kind::Failed, 1) => format!("1 file failed{place}"),
            (Event::Trouble, Kind::Failed, count) => format!("{count} files failed{place}"),
            (Event::Trouble, Kind::Stuck, _) => format!("uploads are stuck{place}{}", self.since()),
            (Event::Trouble, Kind::Login, _) => "the login is refused, and uploads are suspended".to_owned(),
            (Event::Recovered, Kind::Failed, _) => format!("what had failed is mended{place}"),
            (Event::Recovered, Kind::Stuck, _) => format!("uploads are no longer stuck{place}"),
            (Event::Recovered, Kind::Login, _) => "the login works again".to_owned(),
        };
        let reason = self.reason(names).map(|reason| format!(": {reason}")).unwrap_or_default();
        printable(&format!("astran-backup on {host}: {what}{reason}"))
    }

    /// The reasons in one line; `None` where there are none.
    pub(super) fn reason(&self, names: bool) -> Option<String> {
        let mut all: Vec<&str> = Vec::new();
        for reason in &self.reasons {
            let text = reason.get(names);
            if !all.contains(&text) {
                all.push(text);
            }
        }
        (!all.is_empty()).then(|| short(&all.join("; ")))
    }

    fn folder(&self, names: bool) -> Option<String> {
        self.topic.folder.as_ref().filter(|_| names).map(|folder| folder.to_string_lossy().into_owned())
    }

    fn since(&self) -> String {
        let lasted = self.lasted.filter(|lasted| lasted.as_secs() > 0);
        let shown = lasted.map(span);
        shown.map(|shown| format!(" for {shown}")).unwrap_or_default()
    }
}

/// A text on one line, cut where it is too long.
fn short(text: &str) -> String {
    let text = printable(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn failed() -> Message {
        let reason = Words::new("the service refuses a file", "Müller.pdf: 422 in /srv/hr");
        Message {
            event: Event::Trouble,
            topic: Topic { kind: Kind::Failed, folder: Some("/srv/hr".into()) },
            count: 3,
            reasons: vec![reason.clone(), reason.clone()],
            files: vec![NamedFile { path: "/srv/hr/Müller\n.pdf".into(), reason }],
            lasted: None,
        }
    }

    #[test]
    fn without_names_no_local_name_is_in_the_json() {
        let text = failed().json("host", false, SystemTime::UNIX_EPOCH);
        assert!(!text.contains("Müller") && !text.contains("/srv"), "{text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["reason"], "the service refuses a file");
        assert_eq!(json["message"], "astran-backup on host: 3 files failed: the service refuses a file");
        assert_eq!((&json["folder"], &json["files"]), (&Value::Null, &Value::Array(Vec::new())));
    }

    #[test]
    fn the_json_has_the_fields_that_the_documents_promise() {
        let json: Value = serde_json::from_str(&failed().json("host", true, SystemTime::UNIX_EPOCH)).unwrap();
        let documented = include_str!("../../docs/notify.md");
        for field in json.as_object().unwrap().keys() {
            assert!(documented.contains(&format!("| `{field}` |")), "docs/notify.md does not explain {field}");
        }
        for (variable, _) in failed().variables("host", SystemTime::UNIX_EPOCH) {
            assert!(documented.contains(variable), "docs/notify.md does not explain {variable}");
        }
        assert_eq!((&json["v"], &json["type"], &json["event"]), (&1.into(), &"notify".into(), &"failed".into()));
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["files"][0]["local_path"], "/srv/hr/Müller\n.pdf");
    }

    #[test]
    fn words_for_people_and_variables_are_one_short_line_each() {
        let mut message = failed();
        message.reasons = vec![Words::new("a", "x\0\n".repeat(5000))];
        for (name, word) in message.variables("ho\nst", SystemTime::UNIX_EPOCH) {
            assert!(!word.contains(['\0', '\n']) && word.len() < 6000, "{name}: {word}");
        }
    }
}
