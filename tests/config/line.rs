//! The grammar of the command line, and its error messages.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use astran_backup::cli::{Cli, Command};
use clap::Parser as _;

use crate::support::{refused, typed};

#[test]
fn the_grammar_is_sound() {
    Cli::grammar().debug_assert();
}

#[test]
fn wrong_command_lines_end_with_two_and_help_with_zero() {
    for line in [
        "",
        "wach",
        "push",
        "watch --keep --move-to x",
        "push a --delete --move-to x",
        "watch --transfers 0",
        "ls -v -q",
    ] {
        assert_eq!(refused(line).exit_code(), 2, "{line}");
    }
    for line in ["--help", "--version", "watch --help", "help push"] {
        assert_eq!(refused(line).exit_code(), 0, "{line}");
    }
}

#[test]
fn help_lists_the_exit_codes() {
    let help = refused("--help").to_string();
    for line in
        ["  0  all done", "  6  another", "130  interrupted", "astran-backup watch ./TemporaryFolder --dest /HR_Backup"]
    {
        assert!(help.contains(line), "{line}");
    }
}

#[test]
fn there_is_no_flag_for_a_password() {
    for line in ["ls --password hunter2", "ls --password=hunter2", "--password=hunter2 ls"] {
        let output = refused(line).to_string();
        assert!(output.contains("--password-file") && !output.contains("hunter2"), "{output}");
    }
}

#[test]
fn file_names_may_hold_any_bytes() {
    let odd = OsStr::from_bytes(b"\xff.pdf");
    let line = [
        "astran-backup".as_ref(),
        "push".as_ref(),
        "--dest".as_ref(),
        "/x".as_ref(),
        "--".as_ref(),
        odd,
        "-v".as_ref(),
    ];
    let Command::Push(push) = Cli::try_parse_from(line).unwrap().command else { panic!("push") };
    assert_eq!(push.files, [Path::new(odd), Path::new("-v")]);
}

#[test]
fn a_daemon_logs_more_than_a_command() {
    use tracing::Level;
    let rows = [
        ("watch", Level::INFO),
        ("watch --once", Level::WARN),
        ("ls", Level::WARN),
        ("ls -v", Level::DEBUG),
        ("-vv watch", Level::TRACE),
        ("watch -q", Level::ERROR),
    ];
    for (line, level) in rows {
        assert_eq!(typed(line).level(), level, "{line}");
    }
}
