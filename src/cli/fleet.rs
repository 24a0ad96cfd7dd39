//! The grammar of `fleet`.

use clap::{Args, Subcommand};

/// Many machines: one PostgreSQL database that has the receipts of all.
///
/// [fleet] in the configuration, or ASTRAN_BACKUP_FLEET_DATABASE, _PASSWORD_FILE and _CA_FILE, say where the database is. All commands but `join`
/// log in as the user in its address: postgres://admin@db.example/fleet.
#[derive(Debug, Clone, Args)]
pub struct Fleet {
    /// What is done.
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// The commands below `fleet`.
#[derive(Debug, Clone, Subcommand)]
pub enum FleetCommand {
    /// Make the tables and roles in the database, or bring them to this version; also makes room for the months to come
    Migrate,
    /// Make a login for a machine, and print the token with which it joins
    Enroll {
        /// The machine's name, as `name` under [fleet] or the system says it there
        #[arg(value_name = "NAME")]
        name: String,
        /// The department whose auditors may read its receipts
        #[arg(long, value_name = "DEPT")]
        dept: String,
    },
    /// Join with a token, on the machine itself: pins the journal's key, and replaces the password that the token has
    Join {
        /// What `fleet enroll` printed; - reads it from standard input
        #[arg(value_name = "TOKEN")]
        token: String,
    },
    /// Take a machine out: its login and its chain end, its receipts stay
    Retire {
        /// The machine's name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List the machines, and which are silent or in trouble
    Status,
    /// Check that no receipt in the database is missing or altered, and that no setting there endangers them
    Check,
    /// Compare the ends of all chains with the last note of them, and note them anew, signed, here and in the vault
    Checkpoint {
        /// Don't put the note into the vault
        #[arg(long)]
        offline: bool,
    },
}

impl Fleet {
    /// Whether the command asks something of the service, and not only of the database.
    pub(super) fn asks_service(&self) -> bool {
        matches!(self.command, FleetCommand::Checkpoint { offline: false })
    }
}
