//! The command line as typed, nothing decided.
//!
//! Addresses and the realm stay text here: clap repeats a bad value in its message, and an address may hold a password.

#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links)] // these comments are what --help prints

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use tracing::Level;

use crate::config::values;
use crate::config::{Layout, OnConflict, Transfers, Verify};
use crate::observe::logging::Format;
use crate::vault::RemotePath;

const AFTER_HELP: &str = "\
Exit codes:
    0  all done
    1  some files failed
    2  the command line or the configuration can't be used
    3  the login was refused
    4  the destination or a local path is missing
    5  the service can't be reached
    6  another instance holds the folder
  130  interrupted

Examples:
  astran-backup watch ./TemporaryFolder --dest /HR_Backup
      upload what appears in the folder, and delete it once the store has it
  astran-backup watch --once
      upload what lies in every [[folder]] of the configuration, then exit
  astran-backup push report.pdf contracts/ --dest /Legal
      upload a file and a folder now, and keep them
  tar -c /etc | astran-backup push - --name etc.tar --dest /Backups
      upload standard input
  astran-backup check
      try the configuration, the login and the destinations, and say how to mend them

The password comes from a file, a command, a systemd credential, ASTRAN_BACKUP_PASSWORD or a prompt; never from a flag.";

/// Uploads what appears in a folder into the Astran secure store, and deletes it locally once the store has it.
#[derive(Debug, Clone, Parser)]
#[command(name = "astran-backup", version, about, after_help = AFTER_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// How much is logged: what `-v` and `-q` say, else information for the daemon and warnings for everything else.
    pub fn level(&self) -> Level {
        match (self.global.quiet, self.global.verbose) {
            (true, _) => Level::ERROR,
            (_, 0) if matches!(&self.command, Command::Watch(watch) if !watch.once) => Level::INFO,
            (_, 0) => Level::WARN,
            (_, 1) => Level::DEBUG,
            _ => Level::TRACE,
        }
    }

    /// The folder for anchors that was typed.
    pub fn anchor(&self) -> Option<&str> {
        match &self.command {
            Command::History(typed) => typed.anchor.as_deref(),
            _ => None,
        }
    }

    /// The grammar itself, for completions and manual pages.
    pub fn grammar() -> clap::Command {
        Self::command()
    }
}

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: ~/.config/astran-backup/config.toml, else /etc/astran-backup/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Realm; the addresses follow from it [env: ASTRAN_BACKUP_REALM]
    #[arg(long, global = true, value_name = "NAME")]
    pub realm: Option<String>,
    /// Address of the API [env: ASTRAN_BACKUP_API_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub api_url: Option<String>,
    /// Address of the login [env: ASTRAN_BACKUP_AUTH_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub auth_url: Option<String>,
    /// Certificates (PEM) to trust beside the system's [env: ASTRAN_BACKUP_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Client that logs in [env: ASTRAN_BACKUP_CLIENT_ID]
    #[arg(long, global = true, value_name = "ID")]
    pub client_id: Option<String>,
    /// User who logs in [env: ASTRAN_BACKUP_USERNAME]
    #[arg(long, global = true, value_name = "NAME")]
    pub username: Option<String>,
    /// File with the password, readable by its owner only
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Folder for the journal [default: ~/.local/state/astran-backup]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Run against the built-in stand-in of the service, without an account; with a state of its own, and without the
    /// configuration (unless --config names one) and its folders
    #[cfg(feature = "sandbox")]
    #[arg(long, global = true)]
    pub sandbox: bool,
    /// Print one JSON object a line on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// How logs are written to standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: Format,
    /// Log more: -v to debug, -vv to trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

impl Global {
    /// Whether to run against the stand-in; never, where it is not built in.
    pub fn sandbox(&self) -> bool {
        #[cfg(feature = "sandbox")]
        return self.sandbox;
        #[cfg(not(feature = "sandbox"))]
        return false;
    }
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Keep uploading what appears in a folder
    Watch(Watch),
    /// Upload files now
    Push(Push),
    /// List a folder of the vault
    Ls(Ls),
    /// Take a document out of the vault
    Get(Get),
    /// Try configuration, login, destinations and folders, and say how to mend them
    Check,
    /// Show the receipts of what was uploaded
    History(History),
    /// Read documents back and compare them with their receipts
    Verify(VerifyReceipts),
    /// Try failed files again
    Retry(Retry),
    /// Run a local stand-in of the service
    #[cfg(feature = "sandbox")]
    Sandbox(Sandbox),
    /// Print shell completions
    Completions(Completions),
    /// Print the manual page
    Man(Man),
}

/// How files are sent: what `watch` and `push` have in common.
#[derive(Debug, Clone, Default, Args)]
pub struct Sending {
    /// Folder in the vault, such as /HR_Backup [env: ASTRAN_BACKUP_DEST]
    #[arg(long, value_name = "PATH", value_parser = values::remote_path)]
    pub dest: Option<RemotePath>,
    /// How many uploads at once: a number, or auto to find out by measuring
    #[arg(long, value_name = "N|auto", value_parser = values::transfers)]
    pub transfers: Option<Transfers>,
    /// What it takes to believe that the store has a file
    #[arg(long, value_enum, value_name = "HOW")]
    pub verify: Option<Verify>,
    /// What happens where the name is taken by other content
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_conflict: Option<OnConflict>,
    /// Where files of sub-folders go
    #[arg(long, value_enum, value_name = "HOW")]
    pub layout: Option<Layout>,
    /// Names to leave alone, beside those of the configuration; can be given several times
    #[arg(long, value_name = "GLOB", value_parser = values::glob)]
    pub ignore: Vec<String>,
}

/// Keep uploading what appears in a folder.
///
/// A login that is refused while it runs suspends uploads; SIGHUP makes it try again at once.
#[derive(Debug, Clone, Default, Args)]
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
    /// How files are sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// Upload files now.
#[derive(Debug, Clone, Default, Args)]
pub struct Push {
    /// Files or folders to upload; - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
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

/// Take a document out of the vault.
#[derive(Debug, Clone, Args)]
pub struct Get {
    /// Document in the vault
    #[arg(value_name = "PATH", value_parser = values::remote_path)]
    pub path: RemotePath,
    /// Where to write it; - for standard output [default: its own name, here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace a file that is there, and fetch a document that is longer than its receipt says
    #[arg(long)]
    pub force: bool,
}

/// Show the receipts of what was uploaded.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct History {
    /// Only files of this name
    #[arg(value_name = "NAME")]
    pub name: Option<OsString>,
    /// Only files that failed
    #[arg(long)]
    pub failed: bool,
    /// Only uploads whose outcome is open
    #[arg(long)]
    pub pending: bool,
    /// Only the last so long, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub since: Option<Duration>,
    /// Check that no receipt is missing or altered, and compare with the anchors in the vault if it can be asked
    #[arg(long, conflicts_with_all = ["name", "failed", "pending", "since"])]
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
    /// Forget receipts older than this, such as 365d
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    #[arg(conflicts_with_all = ["name", "failed", "pending", "since", "check"])]
    pub prune_before: Option<Duration>,
    /// Something else about the receipts.
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
}

impl History {
    /// Whether anything was asked for that lists, checks or forgets receipts.
    pub fn asks(&self) -> bool {
        let flags = [self.failed, self.pending, self.check, self.since.is_some(), self.prune_before.is_some()];
        self.name.is_some() || flags.contains(&true)
    }
}

/// What else can be done about the receipts.
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
}

/// Try failed files again.
#[derive(Debug, Clone, Default, Args)]
pub struct Retry {
    /// Local files to try again; without any, all that failed
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
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
