//! What `--help` and the manual pages say besides the flags: exit codes, environment variables, files and examples, each in one table.

/// An exit code, and what it means.
pub(crate) const EXIT_CODES: [(u8, &str); 8] = [
    (0, "all done, or watch was stopped by a signal; a file that a program writes just now waits for the next run"),
    (1, "some files failed; with --strict also files that wait; a file that was named to push and is written just now"),
    (2, "the command line or the configuration can't be used"),
    (3, "the login was refused"),
    (
        4,
        "a destination or a local path is missing; watch without --once waits for them instead, unless --strict is given",
    ),
    (5, "the service can't be reached"),
    (6, "another instance holds the folder"),
    (130, "interrupted; watch without --once only by a second signal"),
];

/// An environment variable, and what it is for. Flags win over variables, and variables over the configuration.
pub(crate) const ENVIRONMENT: [(&str, &str); 32] = [
    ("ASTRAN_BACKUP_CONFIG", "The configuration file, as --config."),
    ("ASTRAN_BACKUP_REALM", "The realm, as --realm."),
    ("ASTRAN_BACKUP_API_URL", "The address of the API, as --api-url."),
    ("ASTRAN_BACKUP_AUTH_URL", "The address of the login, as --auth-url."),
    ("ASTRAN_BACKUP_CA_FILE", "Certificates to trust beside the system's, as --ca-file."),
    ("ASTRAN_BACKUP_CLIENT_ID", "The client that logs in, as --client-id."),
    ("ASTRAN_BACKUP_USERNAME", "The user who logs in, as --username."),
    (
        "ASTRAN_BACKUP_PASSWORD",
        "The password. A file or a command is better: a variable is passed on to every program that the same shell starts.",
    ),
    ("ASTRAN_BACKUP_DEST", "The folder in the vault of push and of folders that name none, as --dest."),
    ("ASTRAN_BACKUP_STORE_LAG", "How long the service may still be storing a file after a cut, as the key store_lag."),
    ("ASTRAN_BACKUP_ANCHOR", "The folder in the vault for anchors, as the key anchor; off puts none."),
    (
        "ASTRAN_BACKUP_FLEET_DATABASE",
        "The database of a fleet, as the key database of [fleet], in a build with fleets.",
    ),
    (
        "ASTRAN_BACKUP_FLEET_PASSWORD_FILE",
        "The file with the password of its login, as the key password_file of [fleet].",
    ),
    ("ASTRAN_BACKUP_FLEET_CA_FILE", "The certificates that it is verified with, as the key ca_file of [fleet]."),
    (
        "ASTRAN_BACKUP_LOG",
        "What is logged, in place of -v and -q: a level such as debug, or levels of parts such as astran_backup=debug.",
    ),
    ("RUST_LOG", "The same, where ASTRAN_BACKUP_LOG is not set."),
    ("HOME", "Where the configuration and the state lie, unless a variable or a flag below says otherwise."),
    ("XDG_CONFIG_HOME", "The folder that holds astran-backup/config.toml, in place of ~/.config."),
    ("XDG_STATE_HOME", "The folder that holds the state folder astran-backup, in place of ~/.local/state."),
    ("STATE_DIRECTORY", "The state folder itself. Set by systemd for units with StateDirectory=."),
    (
        "CREDENTIALS_DIRECTORY",
        "The folder with the credential password or astran-backup.password. Set by systemd for units with LoadCredential=.",
    ),
    (
        "NOTIFY_SOCKET",
        "The socket on which systemd hears of the start, reloads, the state and the end. Set by systemd.",
    ),
    (
        "WATCHDOG_USEC",
        "How often systemd expects a sign of life, in microseconds. Set by systemd for units with WatchdogSec=.",
    ),
    ("WATCHDOG_PID", "The process of which systemd expects it. Set by systemd."),
    (
        "JOURNAL_STREAM",
        "Tells that standard error goes to systemd's journal, so that log lines get fields. Set by systemd.",
    ),
    (
        "HTTPS_PROXY",
        "The proxy for the service; also in lower case. A loopback address is never reached through a proxy.",
    ),
    ("ALL_PROXY", "The same, where HTTPS_PROXY is not set; also in lower case."),
    ("NO_PROXY", "Hosts that are reached without a proxy, separated by commas; also in lower case."),
    ("SSL_CERT_FILE", "A file of trusted certificates (PEM), in place of the system's."),
    ("SSL_CERT_DIR", "Folders of trusted certificates, in place of the system's."),
    ("NO_COLOR", "If set and not empty, the log has no colours at a terminal."),
    ("TERM", "If it is dumb, empty or missing, there are no bars."),
];

/// A file that the program reads or writes, and what it holds.
pub(crate) const FILES: [(&str, &str); 11] = [
    ("~/.config/astran-backup/config.toml", "The configuration of a user. Only its owner may write it."),
    ("/etc/astran-backup/config.toml", "The configuration of the service, and of users who have none of their own."),
    ("/etc/astran-backup/password", "The password, which systemd hands to the service. Only its owner may read it."),
    (
        "~/.local/state/astran-backup/",
        "The state folder of a user; /var/lib/astran-backup/ is the service's. It must lie on a local disk.",
    ),
    (
        "STATE/journal.sqlite",
        "The journal with the receipts of one service, realm and user. services/ holds those of others.",
    ),
    ("STATE/anchor.key", "The key that signs anchors."),
    ("STATE/login-*.json", "Which login was refused last, so that it is not repeated. It holds no secret."),
    ("STATE/notify.json", "What was told by [notify], so that the same thing is not told too often."),
    ("STATE/fleet.password", "The password of this machine in a fleet, which fleet join writes."),
    ("FOLDER/.astran-backup/", "In a watched folder: stored files for a second before they are deleted, and a lock."),
    ("FOLDER/.astran-backup~*~NAME", "A file that was set aside where the folder .astran-backup can't be used."),
];

/// A command line, and what it does.
pub(crate) type Example = (&'static str, &'static str);

/// Examples of the program as a whole.
pub(crate) const EXAMPLES: [Example; 6] = [
    ("astran-backup init", "ask for the account and the folder, try them, and write the configuration"),
    (
        "astran-backup watch ./TemporaryFolder --dest /HR_Backup",
        "upload what appears in the folder, and delete it once the store has it",
    ),
    ("astran-backup watch --once", "upload what lies in every [[folder]] of the configuration, then exit"),
    ("astran-backup push report.pdf contracts/ --dest /Legal", "upload a file and a folder now, and keep them"),
    ("tar -c /etc | astran-backup push - --name etc.tar --dest /Backups", "upload standard input"),
    ("astran-backup check", "try the configuration, the login and the destinations, and say how to mend them"),
];

/// Examples of one command, for its manual page; without any for an unknown command.
pub(crate) fn examples(command: &str) -> &'static [Example] {
    match command {
        "watch" => &[
            ("astran-backup watch", "upload what appears in every [[folder]] of the configuration, until stopped"),
            ("astran-backup watch ./scans --dest /HR_Backup --keep", "leave files where they are after the upload"),
            (
                "astran-backup watch ./scans --dest /HR_Backup --dry-run",
                "say what would be done with each file; change nothing",
            ),
            ("astran-backup watch --once --quiet", "for cron: upload what is there; print only what needs a person"),
        ],
        "push" => &[
            ("astran-backup push report.pdf contracts/ --dest /Legal", "upload a file and a folder, and keep them"),
            ("astran-backup push report.pdf --dest /Legal --delete", "delete the file once the store has it"),
            ("pg_dump db | astran-backup push - --name db.sql --dest /Backups", "upload standard input"),
            (
                "find . -name '*.pdf' -print0 | astran-backup push --files-from - -0 --dest /Legal",
                "upload the files that a list names",
            ),
        ],
        "ls" => &[
            ("astran-backup ls", "list the top of the vault"),
            ("astran-backup ls /HR_Backup --json", "list a folder, a line of JSON for each document"),
        ],
        "get" => &[
            ("astran-backup get /Legal/report.pdf", "fetch a document into this folder"),
            ("astran-backup get /Legal/a.pdf /Legal/b.pdf -o restored/", "fetch several into a folder that is there"),
            ("astran-backup get /Backups/db.sql -o - | psql db", "write to standard output"),
        ],
        "check" => &[
            ("astran-backup check", "try all that the configuration says"),
            (
                "astran-backup check ./scans --dest /HR_Backup",
                "try a folder and a destination that are not configured yet",
            ),
        ],
        "fleet" => &[
            ("astran-backup fleet enroll scan-01 --dept HR", "make a login for a machine, and print its token"),
            ("astran-backup fleet join -", "join as this machine, with a token from standard input"),
            ("astran-backup fleet status", "how each machine is"),
        ],
        "status" => &[
            ("astran-backup status", "what runs, what holds up uploads, and why each file is still here"),
            ("astran-backup status --json | jq .", "the same for scripts"),
        ],
        "history" => &[
            ("astran-backup history report.pdf", "the receipts of files of this name"),
            ("astran-backup history --failed", "what failed, and why; what else needs a person"),
            ("astran-backup history --since 7d --json", "the uploads of the last week, for scripts"),
            ("astran-backup history --check", "check that no receipt is missing or altered"),
            ("astran-backup history anchor", "put the newest hash into the vault, signed, and print it"),
        ],
        "verify" => &[
            ("astran-backup verify --since 7d", "read back what was uploaded in the last week, and compare"),
            ("astran-backup verify --sample 10", "read back 10 documents that are chosen by chance"),
        ],
        "retry" => &[
            ("astran-backup retry", "try all failed files again"),
            ("astran-backup retry scans/report.pdf", "try one file again"),
        ],
        "notify" => &[("astran-backup notify --test", "send a trial message each way")],
        "init" => &[
            ("astran-backup init", "ask at the terminal"),
            (
                "astran-backup init --realm my-realm --client-id my-client --username me@example.com --password-file password \
                 --folder ./scans --dest /HR_Backup",
                "ask nothing",
            ),
        ],
        "sandbox" => &[
            ("astran-backup sandbox", "run a stand-in of the service, and print how to use it"),
            ("astran-backup sandbox --store ./vault --json", "keep the vault in a folder; the login as JSON"),
        ],
        "completions" => &[("astran-backup completions bash > astran-backup.bash", "write the completions of a shell")],
        "man" => &[("astran-backup man watch | man -l -", "read the page of a command")],
        _ => &[],
    }
}

/// What `--help` says below the list of commands.
pub(super) fn after_help() -> String {
    let codes = EXIT_CODES.map(|(code, meaning)| format!("  {code:>3}  {meaning}\n")).concat();
    let examples = EXAMPLES.map(|(line, words)| format!("  {line}\n      {words}\n")).concat();
    format!(
        "Exit codes:\n{codes}\nExamples:\n{examples}\nThe password comes from a file, a command, a systemd credential, \
         ASTRAN_BACKUP_PASSWORD or a prompt; never from a flag. `astran-backup man` has the environment variables and the files."
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    /// The arguments of astran-backup in an example: what stands before and after it in the shell is left out.
    fn arguments(line: &str) -> Vec<String> {
        let own = &line[line.find("astran-backup").unwrap()..];
        let own = own.split([' ']).take_while(|word| !["|", ">"].contains(word));
        own.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn each_example_is_a_command_line_and_each_command_has_one() {
        let mut grammar = Cli::grammar().disable_help_subcommand(true);
        grammar.build();
        for command in grammar.get_subcommands().map(clap::Command::get_name) {
            assert!(!examples(command).is_empty(), "{command} has no example");
            for (line, _) in examples(command) {
                let parsed = Cli::try_parse_from(arguments(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(parsed.command.name(), command, "{line}");
            }
        }
        for (line, _) in EXAMPLES {
            Cli::try_parse_from(arguments(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
