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
/// The largest answer that tells of one thing, in bytes.
pub(crate) const SMALL_BYTES: usize = 1 << 20;
/// The largest listing, in bytes.
pub(crate) const LISTING_BYTES: usize = 64 << 20;
/// The most entries of a listing: the smallest that can be kept have nine bytes, and each takes some hundred in memory.
pub(crate) const LISTING_ENTRIES: usize = 1_000_000;
/// The longest id, name or version of a document that is taken from an answer, in bytes: each goes into the journal.
pub(crate) const FIELD_BYTES: usize = 1024;
/// Forms of secrets that are looked for in quoted text: some six each of the login's own and of the tokens of the last hours.
pub(crate) const KNOWN_SECRETS: usize = 256;
/// A secret shorter than this, in bytes, can't be told from the text around it.
pub(crate) const SHORTEST_SECRET: usize = 4;

// --- Files and folders ------------------------------------------------------------------------------------------------

// --- The journal ------------------------------------------------------------------------------------------------------

/// How long a clean stop waits for the last anchor of the receipts: three small calls, and the next run puts one as well.
pub(crate) const ANCHOR_AT_STOP: Duration = Duration::from_secs(5);
/// How long `history --check` looks for anchors in the vault before it says that it could not compare: it is a local check first.
pub(crate) const ANCHORS_SOUGHT: Duration = Duration::from_secs(60);
/// Documents with anchors that are compared, the newest first: a month of days. Each is a download.
pub(crate) const ANCHORS: usize = 31;
/// The same for anchors of this journal that another key signed: one proves what there is to tell.
pub(crate) const ANCHORS_OF_ANOTHER_KEY: usize = 3;
/// The longest anchor, in bytes: some 700 with short names, and the names of a host, a folder and a service are short.
pub(crate) const ANCHOR_BYTES: usize = 64 << 10;

// --- Logs and health --------------------------------------------------------------------------------------------------

/// Log lines that may wait for a reader of standard error; beyond, they are counted and lost.
pub(crate) const LOG_LINES: usize = 10_000;
/// How long the end of the program waits for such a reader.
pub(crate) const LAST_LOG_LINES: Duration = Duration::from_secs(1);
