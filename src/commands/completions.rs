//! `completions`: made from the grammar of the command line.

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

/// Writes to standard output. A reader that has read enough (`| head`) is no failure.
pub(super) fn write(bytes: &[u8], out: &mut dyn Write) -> Result<(), Fatal> {
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
}
