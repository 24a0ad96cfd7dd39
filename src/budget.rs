//! How much of anything that comes from outside is taken: the one table of limits, each with its figure.
//!
//! Whatever a server, a file name, a writer of the folder or a reader of the log decides has a limit here: a size, a count, a
//! rate or a deadline. Without one, a single answer can take all memory, a single name all of the journal's disk, and a
//! single stalled connection all of the program's time.

use std::time::Duration;

// --- Answers of the service -------------------------------------------------------------------------------------------

/// To connect: name, TCP and TLS together. A network that loses packets takes some seconds; after more, no server is there.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// Between a request and its answer, and between two pieces of the answer; after more, the call has failed and is tried again.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// Between two pieces of an upload's content that the connection takes. A store that scans content for viruses pauses for a while.
pub(crate) const UPLOAD_IDLE: Duration = Duration::from_secs(60);
/// Between the last piece of an upload's content and its answer; and the time added for each 64 MiB, for stores that hash at the end.
pub(crate) const UPLOAD_ANSWER: Duration = Duration::from_secs(60);
pub(crate) const UPLOAD_ANSWER_PER_64_MIB: Duration = Duration::from_secs(1);
/// The lowest average rate of a download, in bytes per second over each [`DOWNLOAD_WINDOW`] of waiting: below, the answer counts as
/// broken off. Even a dial-up modem carries 5 KiB/s. Without this rate, a server that drips a byte every 29 s is never silent for
/// [`IDLE`], and `verify = "content"`, `get` and `verify` waited for it for ever.
pub(crate) const DOWNLOAD_RATE: u64 = 1 << 10;
/// The time over which that rate is measured: two [`IDLE`]s, so that one pause that is allowed does not break a download off.
pub(crate) const DOWNLOAD_WINDOW: Duration = Duration::from_secs(60);
/// For the logout at the end of a command: nothing depends on it.
pub(crate) const LOGOUT: Duration = Duration::from_secs(2);
/// How long an unused connection is kept. Servers close theirs after 20 s and more; a request that is sent as the server closes gets no
/// answer, and an upload without an answer must be looked up.
pub(crate) const POOL_IDLE: Duration = Duration::from_secs(15);
/// So often in a row the service may fail with one file while it works for small calls. Then the file is left to the next walk through
/// its folder: the others get their turn, and it is not sent for ever to a proxy that always cuts it.
pub(crate) const FAILURES_OF_ONE_FILE: u32 = 10;
/// How many names beside a missing folder of the vault an error lists.
pub(crate) const NAMES_BESIDE: usize = 10;
/// From the head of an answer about one thing to its last byte: a server that drips a byte a second is never silent, and would be
/// read for ever.
pub(crate) const SMALL_ANSWER: Duration = Duration::from_secs(60);
/// The same for a listing, which may be as long as [`LISTING_BYTES`].
pub(crate) const LISTING: Duration = Duration::from_secs(600);
/// From a request for a token to the last byte of its answer: all uploads wait for it.
pub(crate) const TOKEN_ANSWER: Duration = Duration::from_secs(30);
/// How long a process waits while others log in with the same account: twice what one login may take.
pub(crate) const LOGIN_TURN: Duration = Duration::from_secs(60);
/// A request for a token that takes longer than this is reported as trouble, in the log and by `/readyz`.
pub(crate) const TOKEN_SLOW: Duration = Duration::from_secs(10);
/// The first wait before the store is asked again for an upload that was cut off; each further one is as long as all before it.
pub(crate) const FIRST_LOOK: Duration = Duration::from_secs(1);
/// So long after an upload was cut off its name is looked at once more before a newer file of that name is removed: some relays
/// try again for minutes, and no longer. So it is the longest `store_lag`, too.
pub(crate) const LATE: Duration = Duration::from_secs(600);
/// Attempts of one name that are looked through for one that was cut off in an earlier process: the newest are the ones that count.
pub(crate) const LATE_ATTEMPTS: usize = 16;
/// How many open attempts of one file the store is asked for before the file is sent. Each such attempt is an upload that was cut off, so a
/// file with more of them is renamed all the time. The store is asked for the others at the file's next transfer, or the next start ends them.
pub(crate) const OPEN_ATTEMPTS: usize = 100;
/// Files that wait for a late store without a place among the uploads; more keep their places, which slows the sending to a
/// service that loses every answer.
pub(crate) const LATE_FILES: usize = 256;
/// The largest answer about one thing, in bytes.
pub(crate) const SMALL_BYTES: usize = 1 << 20;
/// The most readings that a quoted text may have once its escapes are removed; a text with more is not quoted.
pub(crate) const READINGS: usize = 64;
/// The largest listing, in bytes.
pub(crate) const LISTING_BYTES: usize = 64 << 20;
/// The most entries of a listing: the smallest that can be kept have nine bytes, and each takes some hundred bytes in memory.
pub(crate) const LISTING_ENTRIES: usize = 1_000_000;
/// The longest id, name or version of a document that is taken from an answer, in bytes: each goes into the journal.
pub(crate) const FIELD_BYTES: usize = 1024;
/// The part of an answer that is searched for a text for people, in bytes: an error page says what it is long before that.
pub(crate) const QUOTED_BYTES: usize = 64 << 10;
/// The most characters that are quoted of an answer: a sentence or two, on one line.
pub(crate) const QUOTED: usize = 200;
/// A longer word, in bytes, is not quoted: it may be a token that the server repeats.
pub(crate) const QUOTED_WORD: usize = 60;
/// The longest `Retry-After` that is honoured: a server with a wrong clock must not stop the daemon for a day. The only limit on it.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(10 * 60);
/// How many secrets are searched for in quoted texts: the login's own and the tokens of the last hours.
pub(crate) const KNOWN_SECRETS: usize = 64;
/// A secret of so many bytes, as tokens have, is not in a document's name by chance.
pub(crate) const LONG_SECRET: usize = 20;
/// How many times the escapes of a quoted text are removed in search of a secret: an error page that quotes a proxy's answer in JSON
/// that quotes a form takes three.
pub(crate) const ESCAPES: usize = 4;
/// A secret shorter than this, in bytes, can't be told from the text around it.
pub(crate) const SHORTEST_SECRET: usize = 4;

// --- Files and folders ------------------------------------------------------------------------------------------------

/// Links on the way to a folder: as many as the kernel follows.
pub(crate) const LINKS: u32 = 40;
/// Events of the kernel that may wait: as many files can be created between two turns of their reader. Beyond, events are lost, and the
/// folder is walked through.
pub(crate) const EVENTS: usize = 16_384;
/// How often a file may be returned by its upload, however quickly, before the patience of `--once` ends.
pub(crate) const RETURNS: u32 = 10;
/// Folders that a walk holds open at most, one below the other: a deeper tree must not take the descriptors that uploads need, of
/// which there may be 64 in all. To come back to a folder that was closed costs one more open.
pub(crate) const WALK_OPEN: usize = 10;
/// How long the start asks where the paths of the configured folders lead. The other checks of the configuration have the rest of
/// [`RECOVERY`].
pub(crate) const PLACES: Duration = Duration::from_secs(3);
/// How long all other folders wait at the start for one whose file system does not answer; also how long it may take to open and lock
/// all folders. A healthy folder takes milliseconds, unless its recovery must search the whole folder for a file that was moved. A
/// folder that takes longer starts later, and nothing else changes.
pub(crate) const RECOVERY: Duration = Duration::from_secs(10);
/// How long the end of a run waits for each of these: the removal of an empty private folder, the removals under way after the grace,
/// and the search for failures whose files are gone. What is left undone does no harm, and the next start does it.
pub(crate) const TIDY: Duration = Duration::from_secs(5);
/// Folders that a push of a list of names holds open, with some four descriptors each. Beyond, it waits for the files of some of them.
pub(crate) const PUSHED_FOLDERS: usize = 24;
/// The longest name in a list of names, in bytes: sixteen times as long as a path that the system takes at once.
pub(crate) const LISTED_NAME: u64 = 64 << 10;
/// Files in the table of one folder's candidates, some 300 bytes each. Beyond, walks pause, and more files wait in the folder.
pub(crate) const CANDIDATES: usize = 32_768;
/// The same for files that are ready, or may be: a few seconds' uploads. Beyond, walks pause.
pub(crate) const CANDIDATES_AHEAD: usize = CANDIDATES / 8;
/// The same for files that are too young, which may wait for days. Beyond, a later walk finds them again.
pub(crate) const CANDIDATES_TOO_YOUNG: usize = CANDIDATES / 4;
/// The same for files that events bring. Beyond, events are dropped, and the folder is walked through later.
pub(crate) const CANDIDATES_BY_EVENTS: usize = 2 * CANDIDATES;
/// Files of one folder whose upload has ended and that are known to remain there. Beyond, a walk may take one for a file of which no
/// event told: one warning too many.
pub(crate) const FILES_REMAINING: usize = 65_536;
/// A file of more bytes than this is large: it may take minutes or hours, and never has the places that are kept for others.
pub(crate) const LARGE_FILE: u64 = 64 << 20;
/// A file of more bytes than this is measured in bytes, and not as one of so many files, where the number of uploads at once is found
/// by measuring: it has buffers of its own while it is sent, and fills a line with few others.
pub(crate) const SMALL_FILE: u64 = 1 << 20;
/// The most uploads at once, whether that number is set or found.
pub(crate) const UPLOADS: usize = 256;
/// Descriptors that an upload may take: its file, the folders of that and of its private folder, and a connection.
pub(crate) const DESCRIPTORS_OF_AN_UPLOAD: usize = 4;
/// Descriptors that everything else may take together: the journal, watches, the listener, removals.
pub(crate) const OTHER_DESCRIPTORS: usize = 32;
/// How often files that wait for a place look also where none got free.
pub(crate) const PLACES_LOOK: Duration = Duration::from_secs(1);
/// Of so many uploads at once, one is kept for files that are not large; at least one, unless there is no other.
pub(crate) const KEPT_FOR_SMALL: usize = 4;
/// Large files that a daemon has in memory while they wait for a place. Beyond, they are left to the next walk through their folder,
/// for what is in memory counts against what a walk may bring: 33,000 of them would keep all others from being seen.
pub(crate) const LARGE_WAITING: usize = 1024;
/// The pause before a file is opened again where the process or the system has no descriptors left, and the longest it grows to.
pub(crate) const SCARCE_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const SCARCE_PAUSE_MOST: Duration = Duration::from_secs(10);
/// The pause after a number of tries in a row (1 or more) that found no descriptors left: it doubles with each.
pub(crate) fn scarce_pause(tries: u32) -> Duration {
    SCARCE_PAUSE.saturating_mul(2u32.saturating_pow(tries.saturating_sub(1))).min(SCARCE_PAUSE_MOST)
}
/// After so many tries in a row, some 45 s, a command that is to end gives up.
pub(crate) const SCARCE_TRIES: u32 = 10;
/// After such a shortage the number of uploads at once grows again in steps this far apart.
pub(crate) const SCARCE_STEP: Duration = Duration::from_secs(10);
/// How often a shortage of descriptors is told while it lasts.
pub(crate) const SCARCE_TOLD: Duration = Duration::from_secs(60);

/// The longest answer that a person types, in bytes: a longer line comes from a file that was given by mistake.
pub(crate) const ANSWER_BYTES: u64 = 64 << 10;
/// Files that one inventory of a folder lists, some 300 bytes each, and how long it may take: `status` and `history` show it to a
/// person who waits. Beyond, there are "more".
pub(crate) const INVENTORY_FILES: usize = 10_000;
pub(crate) const INVENTORY_TIME: Duration = Duration::from_secs(5);
/// Descriptors of other processes that are looked at to name those that write a file, and how long that may take.
pub(crate) const WRITERS_DESCRIPTORS: usize = 100_000;
pub(crate) const WRITERS_TIME: Duration = Duration::from_secs(1);
/// Processes that are named for one file.
pub(crate) const WRITERS_NAMED: usize = 4;
/// Names in the vault that a plan (`--dry-run`) remembers, some 200 bytes each, to tell two files that would get one name apart.
pub(crate) const PLANNED_NAMES: usize = 100_000;

// --- The journal ------------------------------------------------------------------------------------------------------

/// Failures without a receipt that the journal keeps, some 300 bytes each; beyond, the oldest are forgotten. Any number of names that
/// can't be sent may be put into a folder.
pub(crate) const FAILURES: usize = 100_000;
/// They are counted after so many new ones: that looks along all of them.
pub(crate) const FAILURES_COUNTED_EVERY: u64 = 1000;
/// How long a failure is kept whose file is gone: for people to see it.
pub(crate) const FAILURE_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a clean stop waits for the last anchor of the receipts: three small calls, and the next run puts one as well.
pub(crate) const ANCHOR_AT_STOP: Duration = Duration::from_secs(5);
/// How long one process waits for another that puts an anchor of the same journal: less than a clean stop has for all of it.
pub(crate) const ANCHOR_LOCK: Duration = Duration::from_secs(3);
/// How long `history --check` waits for its login: a service that is there answers in a second. With [`LOGOUT`] less than
/// [`TOKEN_SLOW`], which warns of uploads that wait: none does here.
pub(crate) const ANCHORS_LOGIN: Duration = Duration::from_secs(7);
/// How long `history --check` looks for anchors in the vault before it says that it could not compare: it is a local check first.
pub(crate) const ANCHORS_SOUGHT: Duration = Duration::from_secs(60);
/// Documents with anchors that are compared, the newest first: a month of days. Each is a download.
pub(crate) const ANCHORS: usize = 31;
/// The same for anchors of this journal that another key signed: one proves what there is to tell.
pub(crate) const ANCHORS_OF_ANOTHER_KEY: usize = 3;
/// The longest anchor, in bytes: some 700 with short names, and the names of a host, a folder and a service are short.
pub(crate) const ANCHOR_BYTES: usize = 64 << 10;

// --- Logs and health --------------------------------------------------------------------------------------------------

/// Lines about files that may wait for a reader of standard output who is in no hurry (a pager, a stopped terminal). Beyond, they are
/// not told: the journal has them all.
pub(crate) const LINES_ABOUT_FILES: usize = 10_000;
/// How long the end of the program waits for such a reader.
pub(crate) const LAST_LINES_ABOUT_FILES: Duration = Duration::from_secs(2);
/// Log lines that may wait for a reader of standard error; beyond, they are counted and lost.
pub(crate) const LOG_LINES: usize = 10_000;
/// Lines that one place of the program may log in a second; beyond, they are counted and left out. A folder with thousands of files
/// in the same trouble says the same of each.
pub(crate) const LOG_LINES_A_SECOND: u32 = 20;
/// How long a question for the status waits for looks at the folders. A look that takes longer than `STATUS_HANGS` is one at a file
/// system that does not answer: an inventory takes `INVENTORY_TIME` at most, and the count of failed files after it `STATUS_FAILED`.
pub(crate) const STATUS_LOOK: Duration = Duration::from_secs(8);
pub(crate) const STATUS_HANGS: Duration = Duration::from_secs(7);
pub(crate) const STATUS_FAILED: Duration = Duration::from_secs(1);
/// How long the status socket may take to be made. Uploads begin without one then.
pub(crate) const STATUS_START: Duration = Duration::from_secs(2);
/// Connections to the status socket at once: more wait. How long one may take, the look at the folders included; and how long an answer may
/// be in bytes, which is some thousand files.
pub(crate) const STATUS_CONNECTIONS: usize = 4;
pub(crate) const STATUS_CONNECTION: Duration = Duration::from_secs(15);
pub(crate) const STATUS_BYTES: u64 = 64 << 20;
/// How long a daemon may take to say that it holds a folder, for an error message that is as right without it.
pub(crate) const STATUS_OF_HOLDER: Duration = Duration::from_secs(2);
/// Messages of `[notify]` that may wait for one way to tell them; beyond, new ones are dropped. A message is some kilobytes, and there
/// is one for each trouble in an hour.
pub(crate) const NOTIFY_QUEUE: usize = 16;
/// Failed files that may wait for the task that tells them; beyond, they are only counted.
pub(crate) const NOTIFY_INPUTS: usize = 1024;
/// How long a command of `[notify]` may run: to send a mail takes seconds. Then it is killed with its children.
pub(crate) const NOTIFY_COMMAND: Duration = Duration::from_secs(60);
/// How much of what the command writes to standard error is kept for the log, in bytes.
pub(crate) const NOTIFY_STDERR: usize = 4096;
/// How long an address of `[notify]` has to take a message, and to answer.
pub(crate) const NOTIFY_ANSWER: Duration = Duration::from_secs(20);
/// The pauses before a message is sent again that could not be sent. After the last one it is given up.
pub(crate) const NOTIFY_PAUSES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(1200)];
/// The time between two signs of life to `ping`.
pub(crate) const NOTIFY_ALIVE: Duration = Duration::from_secs(300);
/// How long the end of a run waits for its messages.
pub(crate) const NOTIFY_AT_END: Duration = Duration::from_secs(5);
/// Troubles whose last message is remembered, and the bytes of the file with them.
pub(crate) const NOTIFY_MARKS: usize = 1000;
pub(crate) const NOTIFY_MARKS_BYTES: u64 = 8 << 20;
/// How long one process waits for another that uses this file, which takes a millisecond.
pub(crate) const NOTIFY_LOCK: Duration = Duration::from_secs(1);
/// How long a message to the service manager may wait until it is taken: it takes them at once unless it hangs.
pub(crate) const SERVICE_MANAGER: Duration = Duration::from_secs(1);
/// How long all files may stand still, though nothing outside is in trouble and no upload is in flight, before the watchdog of systemd is let
/// down. Longer than the longest call that is no upload, a [`LISTING`].
pub(crate) const OWN_STALL: Duration = Duration::from_secs(900);
/// How long a start may wait before systemd is told that the daemon is ready all the same: it would be killed after `TimeoutStartSec`.
pub(crate) const READY: Duration = Duration::from_secs(10);
/// How long a scrape of the metrics waits for counts of failed files, each of which is looked at.
pub(crate) const SCRAPE_LOOK: Duration = Duration::from_secs(2);
/// Connections to the metrics at once: the oldest makes room for the newest.
pub(crate) const MONITOR_CONNECTIONS: usize = 16;
/// How long such a connection may take from its first byte to its last; a scrape takes milliseconds.
pub(crate) const MONITOR_CONNECTION: Duration = Duration::from_secs(5);
/// Room for such a request's line and headers, in bytes.
pub(crate) const MONITOR_HEAD: usize = 16 * 1024;
/// How long one status serves all pages that ask; how long a page waits for it, which is less than [`MONITOR_CONNECTION`]; and the files
/// of each folder that the page gets.
pub(crate) const PAGE_FRESH: Duration = Duration::from_secs(1);
pub(crate) const PAGE_STATUS: Duration = Duration::from_secs(4);
pub(crate) const PAGE_FILES: usize = 200;
/// How long nothing may move while files wait before that is told as a standstill: as long as a small upload may wait for its answer.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(60);
/// Failures that are told to people on standard output in a second; beyond, they are counted, and the journal has them.
pub(crate) const FAILURE_LINES_A_SECOND: u32 = 100;
/// How long the end of the program waits for such a reader.
pub(crate) const LAST_LOG_LINES: Duration = Duration::from_secs(1);

// --- The fleet's database -----------------------------------------------------------------------------------------------

/// How long a file's removal waits for the database to have its receipt; then the file's lease is given up.
pub(crate) const FLEET_ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// Files that wait so at once, each with its lease and descriptors. More are left to the next walk at once.
pub(crate) const FLEET_WAITING: usize = 256;

#[cfg(feature = "fleet")]
pub(crate) use fleet::*;

/// The other limits for the database, which only a build with fleets has.
#[cfg(feature = "fleet")]
mod fleet {
    use std::time::Duration;

    /// To connect: name, TCP, TLS and login together.
    pub(crate) const FLEET_CONNECT: Duration = Duration::from_secs(10);
    /// How long an unused connection stands still before the system asks whether the other side is there.
    pub(crate) const FLEET_KEEPALIVE: Duration = Duration::from_secs(30);
    /// How long sent data may stay without the other side's acknowledgement before the connection counts as broken.
    pub(crate) const FLEET_UNACKED: Duration = Duration::from_secs(20);
    /// From a request of a host to the last byte of its answer. A batch takes a tenth of a second; the database itself gives up a little
    /// earlier ([`FLEET_STATEMENT`]), so that it says why.
    pub(crate) const FLEET_ANSWER: Duration = Duration::from_secs(30);
    pub(crate) const FLEET_STATEMENT: Duration = Duration::from_secs(25);
    /// The same for a request of a person, who may look along ten million receipts.
    pub(crate) const FLEET_SEARCH: Duration = Duration::from_secs(600);
    /// Receipts in one batch.
    pub(crate) const FLEET_BATCH: usize = 1000;
    /// The bytes of names and paths in one batch; a batch has one receipt at least.
    pub(crate) const FLEET_BATCH_BYTES: usize = 4 << 20;
    /// How long new receipts are gathered before they are shipped, where no file waits for that.
    pub(crate) const FLEET_GATHER: Duration = Duration::from_secs(1);
    /// How long the end of a run waits until the database has the newest receipts. The next run ships what is left.
    pub(crate) const FLEET_AT_STOP: Duration = Duration::from_secs(5);
    /// The rows that a search of all hosts prints at most.
    pub(crate) const FLEET_ROWS: i64 = 10_000;
    /// A token is some 200 bytes.
    pub(crate) const FLEET_TOKEN: u64 = 4096;
    /// A host that was not heard of for so long is silent, and receipts that wait longer are trouble: some heartbeats and a restart.
    pub(crate) const FLEET_SILENT: Duration = Duration::from_secs(5 * 60);
    /// How wrong a host's clock may be before `fleet status` says so. The time of a message on its way counts too.
    pub(crate) const FLEET_CLOCK: Duration = Duration::from_secs(30);
}
