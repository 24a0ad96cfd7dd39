//! `--help` of every command, as files in `snapshots/`: a change of the words is seen in a review. After a change on purpose,
//! `INSTA_UPDATE=always cargo test --test blackbox help` writes the files anew.

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
