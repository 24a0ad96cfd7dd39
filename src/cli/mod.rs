//! The grammar of the command line: global flags and the list of commands.
//!
//! Addresses and the realm stay text here: clap repeats a bad value in its message, and an address may hold a password.

#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links)] // these comments are what --help prints

mod args;
#[cfg(feature = "fleet")]
mod fleet;
mod overrides;
pub(crate) mod reference;

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tracing::Level;

use crate::observe::logging::Format;

#[cfg(feature = "sandbox")]
pub use args::Sandbox;
pub use args::{
    Check, Completions, Get, History, HistoryCommand, Init, Ls, Man, Notify, Push, Retry, Sending, VerifyReceipts,
    Watch,
};
#[cfg(feature = "fleet")]
pub use fleet::{Fleet, FleetCommand};

/// Uploads what appears in a folder into the Astran secure store, and deletes it locally once the store has it.
#[derive(Debug, Clone, Parser)]
#[command(name = "astran-backup", version, about, after_help = reference::after_help())]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// The flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The log level that `-v` and `-q` ask for; without them, information for the daemon and warnings for all other commands.
    pub fn level(&self) -> Level {
        match (self.global.quiet, self.global.verbose) {
            (true, _) => Level::ERROR,
            (_, 0) if matches!(&self.command, Command::Watch(watch) if !watch.once && !watch.dry_run) => Level::INFO,
            (_, 0) => Level::WARN,
            (_, 1) => Level::DEBUG,
            _ => Level::TRACE,
        }
    }

    /// The grammar, from which completions and manual pages are made.
    pub fn grammar() -> clap::Command {
        Self::command()
    }
}

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag; without the sandbox there is one less")]
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
    /// Log in though the same login was refused in an earlier run
    #[arg(long, global = true)]
    pub retry_login: bool,
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
    /// How logs are written to standard error [default: text; fields for systemd's journal where standard error goes there]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<Format>,
    /// Log more: -v to debug, -vv to trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Print nothing where all is well: only what needs a person, on standard error. Events of --json are printed all the same
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Bars for what is under way, on standard error: auto shows them on a terminal, and a line a minute elsewhere
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub progress: Progress,
}

/// When bars are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// On a terminal; elsewhere a line a minute.
    #[default]
    Auto,
    /// Also where standard error is no terminal.
    Always,
    /// Neither bars nor a line a minute.
    Never,
}

impl Global {
    /// Whether to run against the built-in sandbox; false where it is not compiled in.
    pub fn sandbox(&self) -> bool {
        #[cfg(feature = "sandbox")]
        return self.sandbox;
        #[cfg(not(feature = "sandbox"))]
        return false;
    }
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Keep uploading what appears in a folder
    Watch(Watch),
    /// Upload files now
    Push(Push),
    /// List a folder of the vault
    Ls(Ls),
    /// Take documents out of the vault
    Get(Get),
    /// Try configuration, login, destinations and folders, and say how to mend them
    Check(Check),
    /// Show what a running daemon does, and why each file is still here
    Status,
    /// Show the receipts of what was uploaded
    History(History),
    /// Read documents back and compare them with their receipts
    Verify(VerifyReceipts),
    /// Try failed files again
    Retry(Retry),
    /// Send a trial message to those whom [notify] tells of trouble
    Notify(Notify),
    /// Many machines: one database that has the receipts of all
    #[cfg(feature = "fleet")]
    Fleet(Fleet),
    /// Ask for the account and the folder, try them, and write the configuration
    Init(Init),
    /// Run a local stand-in of the service
    #[cfg(feature = "sandbox")]
    Sandbox(Sandbox),
    /// Print shell completions
    Completions(Completions),
    /// Print the manual page
    Man(Man),
}

impl Command {
    /// The command's name, as it is typed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Watch(_) => "watch",
            Self::Push(_) => "push",
            Self::Ls(_) => "ls",
            Self::Get(_) => "get",
            Self::Check(_) => "check",
            Self::Status => "status",
            Self::History(_) => "history",
            Self::Verify(_) => "verify",
            Self::Retry(_) => "retry",
            Self::Notify(_) => "notify",
            #[cfg(feature = "fleet")]
            Self::Fleet(_) => "fleet",
            Self::Init(_) => "init",
            #[cfg(feature = "sandbox")]
            Self::Sandbox(_) => "sandbox",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_the_name_by_which_it_is_typed() {
        let mut grammar = Cli::grammar().disable_help_subcommand(true);
        grammar.build();
        for command in grammar.get_subcommands() {
            let name = command.get_name();
            let argument = match name {
                "push" => Some("file"),
                "get" => Some("/document"),
                "completions" => Some("bash"),
                "notify" => Some("--test"),
                "fleet" => Some("status"),
                _ => None,
            };
            let line = ["astran-backup", name].into_iter().chain(argument);
            assert_eq!(Cli::try_parse_from(line).unwrap().command.name(), name);
        }
    }
}
