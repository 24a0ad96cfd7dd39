//! `--help` of every command, as files in `snapshots/`: a change of the words is seen in a review. After a change on purpose,
//! `INSTA_UPDATE=always cargo test --test blackbox help` writes the files anew.

use std::io::Write as _;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;

use astran_backup::cli::Cli;

/// What all commands have in common stands under this heading, and is in one snapshot only.
const COMMON: &str = "\nGlobal options:\n";

#[test]
fn help_of_every_command_is_as_it_was_reviewed() {
    let mut grammar = Cli::command().term_width(100);
    grammar.build();
    insta::assert_snapshot!("help", grammar.render_long_help());
    for command in grammar.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let name = command.get_name().to_owned();
        let text = command.render_long_help().to_string();
        let own = text.split_once(COMMON).map_or(text.as_str(), |(own, _)| own);
        insta::assert_snapshot!(format!("help of {name}").replace(' ', "_"), own);
    }
}

/// Where groff is missing this test says so, and succeeds.
#[test]
fn groff_has_no_warning_about_any_manual_page() {
    let mut grammar = Cli::command();
    grammar.build();
    let names = grammar.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help");
    for arguments in names.map(|name| vec!["man", name]).chain([vec!["man"]]) {
        let page = Command::new(env!("CARGO_BIN_EXE_astran-backup")).args(&arguments).output().unwrap();
        assert!(page.status.success(), "{arguments:?}: {page:?}");
        let groff = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut groff) = groff else { return eprintln!("groff is not here: nothing was tested") };
        groff.stdin.take().unwrap().write_all(&page.stdout).unwrap();
        let said = groff.wait_with_output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "{arguments:?}: {said:?}");
    }
}
