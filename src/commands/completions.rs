//! `completions` and `man`: made from the grammar of the command line.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{Exit, Fatal};

/// Writes the completions for a shell.
pub(super) fn completions(shell: Shell, out: &mut dyn Write) -> Result<(), Fatal> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::grammar(), "astran-backup", &mut script);
    write(&script, out)
}

/// Writes the manual page of the program, or of one command, in roff.
pub(super) fn man(command: Option<&str>, out: &mut dyn Write) -> Result<(), Fatal> {
    let mut grammar = Cli::grammar().disable_help_subcommand(true);
    grammar.build();
    let page = match command {
        None => grammar,
        Some(name) => page_of(&grammar, name)?,
    };
    let mut roff = Vec::new();
    let page = clap_mangen::Man::new(page).source(concat!("astran-backup ", env!("CARGO_PKG_VERSION")));
    page.render(&mut roff).map_err(|e| Fatal::new(Exit::SomeFailed, e.to_string()))?;
    write(&roff, out)
}

fn page_of(grammar: &clap::Command, name: &str) -> Result<clap::Command, Fatal> {
    let found = grammar.get_subcommands().find(|command| command.get_name() == name);
    let command = found.ok_or_else(|| {
        let all: Vec<_> = grammar.get_subcommands().map(clap::Command::get_name).collect();
        Fatal::new(Exit::Usage, format!("there is no command `{name}`: there are {}", all.join(", ")))
    })?;
    Ok(command.clone())
}

/// Writes to standard output. A reader that has read enough (`| head`) is no failure.
fn write(bytes: &[u8], out: &mut dyn Write) -> Result<(), Fatal> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fatal::new(Exit::SomeFailed, format!("standard output can't be written to: {e}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_gets_completions() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            completions(*shell, &mut script).unwrap();
            assert!(String::from_utf8(script).unwrap().contains("password-file"), "{shell}");
        }
    }

    #[test]
    fn pages() {
        let page = |command| {
            let mut roff = Vec::new();
            man(command, &mut roff).map(|()| String::from_utf8(roff).unwrap())
        };
        assert!(page(None).unwrap().contains("Exit codes"));
        assert!(page(Some("watch")).unwrap().contains("once"));
        assert_eq!(page(Some("wach")).unwrap_err().exit, Exit::Usage);
    }
}
