//! The arguments of each command.

#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links)] // these comments are what --help prints

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::values;
use crate::config::{Layout, MaxSize, OnConflict, RateLimit, Transfers, Verify};
use crate::vault::RemotePath;

/// The flags that `watch` and `push` have in common: how files are sent.
#[derive(Debug, Clone, Default, Args)]
pub struct Sending {
    /// Folder in the vault, such as /HR_Backup [env: ASTRAN_BACKUP_DEST]
    #[arg(long, value_name = "PATH", value_parser = values::remote_path)]
    pub dest: Option<RemotePath>,
    /// How many uploads at once: a number, or auto to find out by measuring
    #[arg(long, value_name = "N|auto", value_parser = values::transfers)]
    pub transfers: Option<Transfers>,
    /// How fast all uploads together may send in a second, such as 10MiB, or off
    #[arg(long, value_name = "RATE", value_parser = RateLimit::parse)]
    pub limit_rate: Option<RateLimit>,
    /// What it takes to believe that the store has a file
    #[arg(long, value_enum, value_name = "HOW")]
    pub verify: Option<Verify>,
    /// What happens where the name is taken by other content. rename: a suffix says why; but a changed file of the same path becomes a
    /// new version of its document. fail: the file fails and stays, and no document is changed
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_conflict: Option<OnConflict>,
    /// Where files of sub-folders go
    #[arg(long, value_enum, value_name = "HOW")]
    pub layout: Option<Layout>,
    /// Take only files that match, such as '*.pdf' or 'contracts/'; can be given several times
    #[arg(long, value_name = "GLOB", value_parser = values::included)]
    pub include: Vec<String>,
    /// Leave files and folders that match, beside those of the configuration, such as '*.bak' or 'logs/'; can be given several times
    #[arg(long, value_name = "GLOB", value_parser = values::excluded)]
    pub exclude: Vec<String>,
    /// The same as --exclude, but a leading ! is a letter of the name
    #[arg(long, value_name = "GLOB", value_parser = values::ignored)]
    pub ignore: Vec<String>,
    /// Take only files whose content has not changed for so long, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub min_age: Option<Duration>,
    /// The size of the largest file that is sent, such as 100GiB; a larger one fails, and stays
    #[arg(long, value_name = "SIZE", value_parser = values::max_size)]
    pub max_size: Option<MaxSize>,
    /// Remove sub-folders once the last file in them has been deleted or moved here
    #[arg(long)]
    pub prune_empty: bool,
}

/// Keep uploading what appears in a folder.
///
/// A folder or a destination that is missing waits until it appears, and the others go on; --once leaves it out, and ends with 4. A login
/// that is refused while it runs suspends uploads; SIGHUP makes it try again at once.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Watch {
    /// Folder to watch; without it, every [[folder]] of the configuration
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Upload what is there, then exit
    #[arg(long)]
    pub once: bool,
    /// Leave files where they are after the upload
    #[arg(long, conflicts_with = "move_to")]
    pub keep: bool,
    /// Move files into this folder after the upload, instead of deleting them
    #[arg(long, value_name = "DIR")]
    pub move_to: Option<PathBuf>,
    /// How long a closed file must stay untouched before it is taken, such as 500ms
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub settle: Option<Duration>,
    /// Move files that the store refuses into this folder
    #[arg(long, value_name = "DIR")]
    pub failed_dir: Option<PathBuf>,
    /// Watch this folder though it is a home or a system folder
    #[arg(long)]
    pub yes: bool,
    /// Let nothing pass: end with 4 at the start if a folder or a destination is missing, before anything is begun; with --once, end with 1
    /// if a file is left because a program writes it
    #[arg(long)]
    pub strict: bool,
    /// Say for each file that is there what would be done with it, and why not, then exit: nothing is sent, written or removed
    #[arg(long)]
    pub dry_run: bool,
    /// How files are sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// Upload files now.
///
/// A file that the store has already by its receipt, unchanged, is not sent again (see --again). A changed file becomes a new version of its
/// document (see --on-conflict). What is missing is reported, and the rest goes.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Push {
    /// Files or folders to upload; - for standard input
    #[arg(value_name = "FILE", required_unless_present = "files_from")]
    pub files: Vec<PathBuf>,
    /// Upload the files that this list names, one on each line; - for standard input
    #[arg(long, value_name = "FILE")]
    pub files_from: Option<PathBuf>,
    /// Names in the list end with NUL, as `find -print0` prints them, and not with a newline
    #[arg(short = '0', long, requires = "files_from")]
    pub null: bool,
    /// Send what the store has already, too
    #[arg(long)]
    pub again: bool,
    /// Name in the vault; needed for standard input
    #[arg(long, value_name = "NAME", value_parser = values::document_name)]
    pub name: Option<String>,
    /// Delete files once the store has them
    #[arg(long, conflicts_with = "move_to")]
    pub delete: bool,
    /// Move files into this folder once the store has them
    #[arg(long, value_name = "DIR")]
    pub move_to: Option<PathBuf>,
    /// Remove files from a folder though it is a home or a system folder
    #[arg(long)]
    pub yes: bool,
    /// Say for each file what would be done with it, and why not, then exit: nothing is sent, written or removed
    #[arg(long)]
    pub dry_run: bool,
    /// How files are sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// List a folder of the vault.
#[derive(Debug, Clone, Args)]
pub struct Ls {
    /// Folder in the vault
    #[arg(value_name = "PATH", default_value = "/", value_parser = values::remote_path)]
    pub path: RemotePath,
}

/// Take documents out of the vault.
#[derive(Debug, Clone, Args)]
pub struct Get {
    /// Documents in the vault
    #[arg(value_name = "PATH", required = true, value_parser = values::remote_path)]
    pub paths: Vec<RemotePath>,
    /// Where to write: a file, a folder that is there, or - for standard output [default: here, under the document's own name]
    #[arg(short, long, value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,
    /// Replace a file that is there, and fetch a document that is longer than its receipt says
    #[arg(long)]
    pub force: bool,
}

/// Try configuration, login, destinations and folders, and say how to mend them.
///
/// With a folder or a destination, tries these and not the configured ones: they need not be configured yet.
#[derive(Debug, Clone, Default, Args)]
pub struct Check {
    /// Folder to try as one to watch
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Folder in the vault to try, such as /HR_Backup [env: ASTRAN_BACKUP_DEST]
    #[arg(long, value_name = "PATH", value_parser = values::remote_path)]
    pub dest: Option<RemotePath>,
}

/// Show the receipts of what was uploaded.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct History {
    /// Only files of this name
    #[arg(value_name = "NAME")]
    pub name: Option<OsString>,
    /// Only files that failed, and what else in the folders of the configuration needs a person (unreadable, too large)
    #[arg(long)]
    pub failed: bool,
    /// Only uploads whose outcome is open, and what waits in the folders of the configuration (open for writing, settling)
    #[arg(long)]
    pub pending: bool,
    /// Only the last so long, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub since: Option<Duration>,
    /// Only the newest so many
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub limit: Option<usize>,
    /// Show times in UTC, and not in local time
    #[arg(long)]
    pub utc: bool,
    /// Check that no receipt is missing or altered, and compare with the anchors in the vault if it can be asked
    #[arg(long, conflicts_with_all = ["name", "failed", "pending", "since", "limit", "utc"])]
    pub check: bool,
    /// Compare with a head that was kept elsewhere, instead of the vault's; can be given several times
    #[arg(long, value_name = "SEQ:HASH", requires = "check")]
    pub against: Vec<String>,
    /// Don't ask the vault: check the journal by itself
    #[arg(long, requires = "check", conflicts_with = "against")]
    pub offline: bool,
    /// Folder in the vault for anchors: where --check looks for them, and `history anchor` puts one [env: ASTRAN_BACKUP_ANCHOR]
    #[arg(long, global = true, value_name = "PATH")]
    pub anchor: Option<String>,
    /// Ask the fleet's database instead, for the receipts of all machines, the newest last
    #[cfg(feature = "fleet")]
    #[arg(long, conflicts_with_all = ["failed", "pending", "check", "prune_before"])]
    pub all_hosts: bool,
    /// Only machines whose names match, such as 'scan-*'
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "GLOB", requires = "all_hosts")]
    pub host: Option<String>,
    /// Forget receipts older than this, such as 365d
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    #[arg(conflicts_with_all = ["name", "failed", "pending", "since", "limit", "utc", "check"])]
    pub prune_before: Option<Duration>,
    /// A command of its own about the receipts.
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
}

impl History {
    /// Whether a flag or a name was given that lists, checks or forgets receipts.
    pub fn lists_or_checks(&self) -> bool {
        let flags = [self.failed, self.pending, self.check, self.utc];
        let values = [self.since.is_some(), self.limit.is_some(), self.prune_before.is_some()];
        self.name.is_some() || flags.contains(&true) || values.contains(&true)
    }
}

/// The commands below `history`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum HistoryCommand {
    /// Put the receipts' newest number and hash into the vault, signed, and print them
    Anchor,
}

/// Read documents back and compare them with their receipts.
#[derive(Debug, Clone, Default, Args)]
pub struct VerifyReceipts {
    /// Only what was uploaded in the last so long, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub since: Option<Duration>,
    /// Only so many documents, chosen by chance; each has the same chance
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub sample: Option<usize>,
}

/// Try failed files again.
#[derive(Debug, Clone, Default, Args)]
pub struct Retry {
    /// Local files to try again; without any, all that failed
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Send a trial message to those whom [notify] tells of trouble.
#[derive(Debug, Clone, Default, Args)]
pub struct Notify {
    /// Send the message by each configured way, and say which way does not work
    #[arg(long, required = true)]
    pub test: bool,
}

/// Ask for the account and the folder, try them, and write the configuration.
///
/// On a terminal it asks for what no flag gives. Without one, or with --password-stdin, it asks nothing. It writes the file that --config
/// names, and the password into the file that --password-file names; a password file that is there already is used as it is.
#[derive(Debug, Clone, Default, Args)]
pub struct Init {
    /// Folder to watch
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Folder in the vault, such as /HR_Backup [env: ASTRAN_BACKUP_DEST]
    #[arg(long, value_name = "PATH")]
    pub dest: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Make the folder to watch where it is missing, without a question
    #[arg(long)]
    pub yes: bool,
}

/// Run a local stand-in of the service.
#[cfg(feature = "sandbox")]
#[derive(Debug, Clone, Args)]
pub struct Sandbox {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: std::net::SocketAddr,
    /// Folder that the vault is kept in [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Folder of the vault that is made where it is missing; can be given several times
    #[arg(long, value_name = "PATH", default_value = "/HR_Backup", value_parser = values::remote_path)]
    pub folder: Vec<RemotePath>,
    /// How long an access token lives
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = values::duration)]
    pub token_life: Duration,
    /// The password, for scripts that must know it: everybody on this machine who knows it can read the vault, and everybody
    /// can set faults [default: one by chance, which is printed]
    #[arg(long, value_name = "TEXT")]
    pub password: Option<String>,
}

/// Print shell completions.
#[derive(Debug, Clone, Args)]
pub struct Completions {
    /// Shell to print them for
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Print the manual page.
#[derive(Debug, Clone, Default, Args)]
pub struct Man {
    /// Command to print the page of; without it, the page of the program
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}
