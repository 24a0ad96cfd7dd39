//! How much of anything that comes from outside is taken: the one table of limits, each with its figure.
//!
//! Whatever a server, a file name, a writer of the folder or a reader of the log decides has a limit here: a size, a count, a
//! rate or a deadline. Without one, a single answer can take all memory, a single name all of the journal's disk, and a
//! single stalled connection all of the program's time.

use std::time::Duration;

// --- Answers of the service -------------------------------------------------------------------------------------------

/// The longest time from the request to the last byte of an answer that tells of one thing: a server that drips a byte a second
/// is never silent, and would be listened to for ever.
pub(crate) const SMALL_ANSWER: Duration = Duration::from_secs(60);
/// The same for a listing, which may be as long as [`LISTING_BYTES`].
pub(crate) const LISTING: Duration = Duration::from_secs(600);
/// The same for a token: all uploads wait for it.
pub(crate) const TOKEN_ANSWER: Duration = Duration::from_secs(30);
/// A token that takes longer than this is trouble that is told, in the log and by `/readyz`.
pub(crate) const TOKEN_SOON: Duration = Duration::from_secs(10);
/// The first wait before the store is asked again for an upload that was cut off; each further one is as long as all before it.
pub(crate) const FIRST_LOOK: Duration = Duration::from_secs(1);
/// So long after an upload was cut off its name is looked at once more before a newer file of that name is removed: some relays
/// try again for minutes, and no longer.
pub(crate) const LATE: Duration = Duration::from_secs(600);
/// Attempts of one name that are looked through for one that was cut off in an earlier process: the newest are the ones that count.
pub(crate) const LATE_ATTEMPTS: usize = 16;
/// Files that wait for a late store without a place among the uploads; more keep their places, which slows the sending to a
/// service that loses every answer.
pub(crate) const LATE_FILES: usize = 256;
/// The largest answer that tells of one thing, in bytes.
pub(crate) const SMALL_BYTES: usize = 1 << 20;
/// The ways in which a quoted text may be read by taking it out of its escapes; one that can be read in more is not quoted.
pub(crate) const READINGS: usize = 64;
/// The largest listing, in bytes.
pub(crate) const LISTING_BYTES: usize = 64 << 20;
/// The most entries of a listing: the smallest that can be kept have nine bytes, and each takes some hundred in memory.
pub(crate) const LISTING_ENTRIES: usize = 1_000_000;
/// The longest id, name or version of a document that is taken from an answer, in bytes: each goes into the journal.
pub(crate) const FIELD_BYTES: usize = 1024;
/// The beginning of an answer in which a text for people is looked for, in bytes: an error page tells what it is long before that.
pub(crate) const QUOTED_BYTES: usize = 64 << 10;
/// The most characters that are quoted of an answer: a sentence or two, on one line.
pub(crate) const QUOTED: usize = 200;
/// A word longer than this, in bytes, is no word: it may be a token that the server repeats.
pub(crate) const QUOTED_WORD: usize = 60;
/// The longest time that a `Retry-After` is believed: a server with a wrong clock must not stop the daemon for a day.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(10 * 60);
/// Secrets that are looked for in quoted text: the login's own and the tokens of the last hours.
pub(crate) const KNOWN_SECRETS: usize = 64;
/// A secret of so many bytes, as tokens have, is in no document's name by chance.
pub(crate) const LONG_SECRET: usize = 20;
/// So many times a quoted text is taken out of its escapes in search of a secret: an error page that quotes a proxy's answer in JSON
/// that quotes a form takes three.
pub(crate) const ESCAPES: usize = 4;
/// A secret shorter than this, in bytes, can't be told from the text around it.
pub(crate) const SHORTEST_SECRET: usize = 4;

// --- Files and folders ------------------------------------------------------------------------------------------------

// --- The journal ------------------------------------------------------------------------------------------------------

// --- Logs and health --------------------------------------------------------------------------------------------------

/// Log lines that may wait for a reader of standard error; beyond, they are counted and lost.
pub(crate) const LOG_LINES: usize = 10_000;
/// How long the end of the program waits for such a reader.
pub(crate) const LAST_LOG_LINES: Duration = Duration::from_secs(1);
