//! `man`: the manual pages, made from the grammar of the command line and from the tables beside it.

use std::io::{self, Write};

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::completions::write;
use crate::cli::{Cli, reference};
use crate::exit::{Exit, Fatal};

/// Writes the manual page of the program, or of one command, in roff.
pub(super) fn man(command: Option<&str>, out: &mut dyn Write) -> Result<(), Fatal> {
    let mut grammar = Cli::grammar().disable_help_subcommand(true);
    grammar.build();
    let page = match command {
        None => grammar,
        Some(name) => page_of(&grammar, name)?,
    };
    let mut roff = Vec::new();
    render(page, command, &mut roff).map_err(|e| Fatal::new(Exit::SomeFailed, e.to_string()))?;
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

fn render(page: clap::Command, command: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
    let has_commands = page.has_subcommands();
    let page = clap_mangen::Man::new(page)
        .source(concat!("astran-backup ", env!("CARGO_PKG_VERSION")))
        .manual("astran-backup");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if has_commands {
        page.render_subcommands_section(out)?;
    }
    let codes = reference::EXIT_CODES.map(|(code, meaning)| (code.to_string(), meaning));
    section("EXIT STATUS", codes.iter().map(|(code, meaning)| (code.as_str(), *meaning)), out)?;
    section("ENVIRONMENT", reference::ENVIRONMENT, out)?;
    section("FILES", reference::FILES, out)?;
    let examples = command.map_or(reference::EXAMPLES.as_slice(), reference::examples);
    section("EXAMPLES", examples.iter().copied(), out)?;
    see_also(command, out)
}

/// A section of terms, each with its description indented below.
fn section<'a>(title: &str, terms: impl IntoIterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, words) in terms {
        roff.control("TP", []).text([bold(term)]).text([roman(words)]);
    }
    roff.to_writer(out)
}

/// The other pages: those of the commands, or the one of the program; and the documents of the package.
fn see_also(command: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
    let mut names = vec!["astran-backup".to_owned()];
    if command.is_none() {
        let grammar = Cli::grammar();
        names = grammar.get_subcommands().map(|command| format!("astran-backup-{}", command.get_name())).collect();
    }
    let mut line: Vec<Inline> = Vec::new();
    for name in names {
        line.extend([bold(name), roman("(1), ")]);
    }
    line.extend([bold("systemd.exec"), roman("(5), ")]);
    line.push(roman("and the documents in /usr/share/doc/astran-backup/"));
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text(line);
    roff.to_writer(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn page(command: Option<&str>) -> Result<String, Fatal> {
        let mut roff = Vec::new();
        man(command, &mut roff).map(|()| String::from_utf8(roff).unwrap())
    }

    /// The names of all pages' commands, and the program itself.
    fn commands() -> Vec<Option<String>> {
        let grammar = Cli::grammar();
        let names = grammar.get_subcommands().map(|command| Some(command.get_name().to_owned()));
        names.chain([None]).collect()
    }

    /// The terms of a section.
    fn terms(page: &str, title: &str) -> BTreeSet<String> {
        let start =
            page.split(&format!(".SH \"{title}\"")).nth(1).or_else(|| page.split(&format!(".SH {title}")).nth(1));
        let section = start.unwrap_or_else(|| panic!("no {title} in {page}")).split("\n.SH").next().unwrap();
        let terms = section.split(".TP\n").skip(1).map(|term| term.lines().next().unwrap());
        terms.map(|term| term.replace("\\fB", "").replace("\\fR", "").replace('\\', "")).collect()
    }

    /// Texts in the source that stand for environment variables: upper case with an underscore, or one of the few names without.
    fn variables() -> BTreeSet<String> {
        let is_name = |text: &str| {
            let is_upper = text.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
            ["HOME", "TERM"].contains(&text) || is_upper && text.contains('_') && !text.ends_with('_')
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = walkdir::WalkDir::new(source).into_iter().map(|entry| entry.unwrap().into_path());
        let mut found = BTreeSet::new();
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            found.extend(text.split('"').filter(|text| is_name(text)).map(str::to_owned));
        }
        found
    }

    /// Names that are no variables that a user may set.
    fn is_internal(name: &str) -> bool {
        let told = ["EVENT", "OF", "TIME", "HOST", "FOLDER", "COUNT", "REASON", "MESSAGE"];
        let by_notify = told.iter().any(|word| name == format!("ASTRAN_BACKUP_{word}"));
        let in_tests = ["ASTRAN_BACKUP_FAILPOINT", "ASTRAN_BACKUP_PANIC", "ASTRAN_BACKUP_PAUSES"].contains(&name)
            || name.starts_with("ASTRAN_BACKUP_TEST_")
            || name.starts_with("GIT_CONFIG_");
        let in_the_log = ["ASTRAN_NUMBER", "ASTRAN_FOLDER", "ASTRAN_FILE", "SYSLOG_IDENTIFIER"].contains(&name);
        let of_cargo = name.starts_with("CARGO_");
        by_notify || in_tests || in_the_log || of_cargo
    }

    #[test]
    fn each_environment_variable_of_the_code_is_in_the_manual() {
        let documented = terms(&page(None).unwrap(), "ENVIRONMENT");
        // These are read by the libraries for HTTP and TLS.
        let of_libraries = ["ALL_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSL_CERT_FILE"].map(str::to_owned);
        let used: BTreeSet<String> =
            variables().into_iter().filter(|name| !is_internal(name)).chain(of_libraries).collect();
        assert_eq!(documented, used);
    }

    #[test]
    fn each_exit_code_is_in_the_manual() {
        let code = |line: &str| Some(line.trim().strip_suffix(',')?.split_once(" = ")?.1.to_owned());
        let expected: BTreeSet<String> = include_str!("../exit.rs").lines().filter_map(code).collect();
        assert!(expected.contains("130"), "{expected:?}");
        assert_eq!(terms(&page(None).unwrap(), "EXIT STATUS"), expected);
    }

    #[test]
    fn each_page_has_its_sections_and_every_command_has_a_page() {
        for command in commands() {
            let text = page(command.as_deref()).unwrap();
            for title in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
                assert!(!terms(&text, title).is_empty(), "{command:?} {title}");
            }
            assert!(text.contains("SEE ALSO"), "{command:?}");
        }
        assert!(page(Some("watch")).unwrap().contains("once"));
        assert_eq!(page(Some("wach")).unwrap_err().exit, Exit::Usage);
    }
}
