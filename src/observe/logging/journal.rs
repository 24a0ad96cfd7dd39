//! The log as systemd's journal wants it: a message with its priority, and each field of a line by itself, so that one can ask for them
//! (`journalctl ASTRAN_FOLDER=/srv/scans`).
//!
//! The lines come from the queue as JSON, so all that the queue and its layers promise holds here too. This is why the crate `tracing-journald` is
//! not used: it sends from the thread that logs, which would stand still while the journal does, and it sends names as they are.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::printable::printable;

/// Where the journal takes messages.
const SOCKET: &str = "/run/systemd/journal/socket";
const IDENTIFIER: &str = "astran-backup";
/// In front of the names of our own fields.
const PREFIX: &str = "ASTRAN_";

/// The priorities of syslog.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFORMATION: u8 = 6;
const DEBUG: u8 = 7;

/// Whether this file is a stream to the journal, as the variable `JOURNAL_STREAM` says of the one that systemd made.
pub(super) fn is_stream(stream: impl AsFd, variable: Option<&OsStr>) -> bool {
    let Some((device, inode)) = variable.and_then(OsStr::to_str).and_then(|text| text.split_once(':')) else {
        return false;
    };
    let is = |text: &str, number: u64| text.parse() == Ok(number);
    rustix::fs::fstat(stream).is_ok_and(|stat| is(device, stat.st_dev) && is(inode, stat.st_ino))
}

/// Sends each line to the journal.
pub(super) struct JournalWriter<F> {
    socket: UnixDatagram,
    to: PathBuf,
    /// A line that has no end yet.
    begun: Vec<u8>,
    /// Where lines go that the journal does not take.
    fallback: F,
}

impl<F: Write> JournalWriter<F> {
    pub(super) fn new(fallback: F) -> io::Result<Self> {
        Self::to(Path::new(SOCKET), fallback)
    }

    fn to(path: &Path, fallback: F) -> io::Result<Self> {
        Ok(Self { socket: UnixDatagram::unbound()?, to: path.to_owned(), begun: Vec::new(), fallback })
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        let entry = Entry::of_line(line);
        if self.socket.send_to(&entry.message(), &self.to).is_ok() {
            return Ok(());
        }
        // The journal is gone, or the line is too long for it. Standard error goes to the journal too; systemd reads the priority there.
        writeln!(self.fallback, "<{}>{}", entry.priority, entry.text)
    }
}

impl<F: Write> Write for JournalWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            self.send(String::from_utf8_lossy(&line).trim_end())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.fallback.flush()
    }
}

/// One line of the log. All texts are printable.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    priority: u8,
    /// What `journalctl` shows: the message, and the fields behind it.
    text: String,
    /// Names without the prefix, and values.
    fields: Vec<(String, String)>,
}

impl Entry {
    /// Reads a line of the queue: a JSON object, or else a message of the program itself, which is an error.
    fn of_line(line: &str) -> Self {
        match serde_json::from_str::<Map<String, Value>>(line) {
            Ok(object) => Self::of_object(object),
            Err(_) => Self { priority: ERROR, text: printable(line), fields: Vec::new() },
        }
    }

    fn of_object(mut object: Map<String, Value>) -> Self {
        let mut text = |name: &str| object.remove(name).map(|value| shown(&value)).unwrap_or_default();
        let (level, message, target) = (text("level"), text("message"), text("target"));
        text("timestamp");
        let spans = object.remove("spans").unwrap_or_default();
        let own = object.iter().map(|(name, value)| (name.clone(), shown(value)));
        let mut fields: Vec<_> = own.chain(of_spans(&spans)).collect();
        let mut shown = message;
        for (name, value) in &fields {
            // Writing to a String can't fail.
            write!(shown, " {name}={value}").ok();
        }
        if !target.is_empty() {
            fields.push(("target".into(), target));
        }
        Self { priority: priority(&level), text: shown, fields }
    }

    /// The message in the journal's own protocol: each field with the length of its value, which so may hold anything.
    fn message(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        put(&mut bytes, "MESSAGE", &self.text);
        put(&mut bytes, "PRIORITY", &self.priority.to_string());
        put(&mut bytes, "SYSLOG_IDENTIFIER", IDENTIFIER);
        for (name, value) in &self.fields {
            let allowed = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
            put(&mut bytes, &PREFIX.chars().chain(allowed).take(64).collect::<String>(), value);
        }
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

/// The fields of all spans. The path of a span is called like the span: `folder`, `file`.
fn of_spans(spans: &Value) -> impl Iterator<Item = (String, String)> {
    let spans = spans.as_array().into_iter().flatten().filter_map(Value::as_object);
    spans.flat_map(|span| {
        let name = span.get("name").and_then(Value::as_str).unwrap_or_default();
        let fields = span.iter().filter(|(key, _)| *key != "name");
        fields.map(move |(key, value)| (if key == "path" { name.to_owned() } else { key.clone() }, shown(value)))
    })
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| printable(&value.to_string()), printable)
}

fn priority(level: &str) -> u8 {
    match level {
        "ERROR" => ERROR,
        "WARN" => WARNING,
        "INFO" => INFORMATION,
        _ => DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::logging::{LogQueue, RateLimit, filter, subscriber};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tracing::Level;

    #[derive(Clone, Default)]
    struct Fallback(Arc<Mutex<Vec<u8>>>);

    impl Write for Fallback {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The fields of a message of the journal's protocol.
    fn fields(mut message: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = message.iter().position(|byte| *byte == b'\n') {
            let (name, rest) = message.split_at(end);
            let length = usize::try_from(u64::from_le_bytes(rest[1..9].try_into().unwrap())).unwrap();
            let value = String::from_utf8(rest[9..9 + length].to_vec()).unwrap();
            fields.push((String::from_utf8(name.to_vec()).unwrap(), value));
            assert_eq!(rest[9 + length], b'\n');
            message = &rest[10 + length..];
        }
        fields
    }

    /// What a journal gets of these lines, and what goes to standard error.
    fn logged(lines: impl FnOnce(&LogQueue)) -> (Vec<Vec<(String, String)>>, String) {
        let dir = tempfile::tempdir().unwrap();
        let journal = UnixDatagram::bind(dir.path().join("socket")).unwrap();
        journal.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let reader = std::thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let (mut received, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
                loop {
                    // The kernel holds few messages that nobody reads, so they are read while they are sent.
                    let was_done = done.load(Ordering::Relaxed);
                    match journal.recv(&mut buffer) {
                        Ok(length) => received.push(fields(&buffer[..length])),
                        Err(_) if was_done => return received,
                        Err(_) => {}
                    }
                }
            }
        });
        let fallback = Fallback::default();
        let writer = JournalWriter::to(&dir.path().join("socket"), fallback.clone()).unwrap();
        let limit = RateLimit::default();
        let queue = LogQueue::start(writer, true, false, limit.clone());
        let filter = filter(Level::TRACE, |_| None).unwrap();
        let subscriber = subscriber(crate::observe::logging::Format::Json, false, filter, limit, queue.clone());
        tracing::subscriber::with_default(subscriber, || lines(&queue));
        queue.flush();
        done.store(true, Ordering::Relaxed);
        let received = reader.join().unwrap();
        let fallback = String::from_utf8(fallback.0.lock().unwrap().clone()).unwrap();
        (received, fallback)
    }

    #[test]
    fn a_line_has_its_priority_and_its_fields_and_odd_names_are_escaped() {
        let (received, fallback) = logged(|_| {
            let _folder = tracing::error_span!("folder", path = "/srv/scans").entered();
            tracing::warn!(file = "a\u{1b}[2J\nb", number = 7, "it can't be read");
        });
        let value = |name: &str| {
            let mut found = received[0].iter().filter(|(key, _)| key == name);
            let value = found.next().map(|(_, value)| value.as_str());
            assert!(found.next().is_none(), "{name} is there twice");
            value
        };
        assert_eq!((received.len(), fallback.as_str()), (1, ""));
        assert_eq!((value("PRIORITY"), value("SYSLOG_IDENTIFIER")), (Some("4"), Some("astran-backup")));
        assert_eq!((value("ASTRAN_FOLDER"), value("ASTRAN_NUMBER")), (Some("/srv/scans"), Some("7")));
        assert_eq!(value("ASTRAN_FILE"), Some("a\\u{1b}[2J\\nb"));
        assert_eq!(value("MESSAGE"), Some("it can't be read file=a\\u{1b}[2J\\nb number=7 folder=/srv/scans"));
    }

    #[test]
    fn each_level_has_its_priority_and_the_last_message_is_an_error() {
        let (received, _) = logged(|queue| {
            tracing::error!("a");
            tracing::info!("b");
            tracing::debug!("c");
            tracing::trace!("d");
            queue.write_line("astran-backup: the login was refused");
        });
        let seen: Vec<_> = received.iter().map(|fields| (fields[0].1.as_str(), fields[1].1.as_str())).collect();
        assert_eq!(
            seen,
            [("a", "3"), ("b", "6"), ("c", "7"), ("d", "7"), ("astran-backup: the login was refused", "3")]
        );
    }

    #[test]
    fn lines_that_come_too_fast_are_counted_there_too() {
        let (received, _) = logged(|_| (0..500).for_each(|_| tracing::info!("again")));
        assert!(received.len() < 400, "{}", received.len());
        let last = &received.last().unwrap()[0].1;
        assert!(last.contains("more lines like this were left out: again"), "{last}");
    }

    #[test]
    fn without_a_journal_the_line_goes_to_standard_error_with_its_priority() {
        let fallback = Fallback::default();
        let mut writer = JournalWriter::to(Path::new("/nonexistent/socket"), fallback.clone()).unwrap();
        writeln!(writer, "{{\"level\":\"INFO\",\"message\":\"watching\",\"dest\":\"/HR\"}}").unwrap();
        assert_eq!(fallback.0.lock().unwrap().as_slice(), b"<6>watching dest=/HR\n");
    }

    #[test]
    fn only_the_stream_that_systemd_made_is_one() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let is = |text: &str| is_stream(&file, Some(OsStr::new(text)));
        assert!(is(&format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!is(&format!("{}:{}", stat.st_dev, stat.st_ino + 1)));
        assert!(!is("") && !is("7") && !is("a:b") && !is_stream(&file, None));
    }
}
