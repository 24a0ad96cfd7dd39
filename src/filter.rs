//! Which files are chosen by their path below the folder: `ignore`, `exclude` and `include`. Pure.
//!
//! | asked in this order | by | result |
//! | --- | --- | --- |
//! | a name that this program made | itself | never uploaded |
//! | a folder on the way, from the top down, then the path itself | the last pattern that matches of `ignore`, then `exclude` | excluded; with `!` before the pattern: not excluded |
//! | the path, or a folder on the way | any pattern of `include` | included; without a match: left; without `include`: included |
//!
//! An excluded folder is not entered, so nothing below it can be taken out again. The rules of one pattern are gitignore's; the tests
//! compare them with `git check-ignore`.

use std::fmt;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::file::PRIVATE;
use crate::file::staged_name::is_beside;
use crate::printable::printable;

/// Chooses files by their path.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    exclude: Gitignore,
    /// `None` where all that is not excluded is included.
    include: Option<Gitignore>,
}

/// Why a file or folder is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excluded<'a> {
    /// This program made it: it belongs to an upload or a removal.
    Own,
    /// This pattern of `ignore` or `exclude` matches it.
    Pattern(&'a str),
    /// There are patterns of `include`, and none matches it.
    NotIncluded,
}

/// Why a pattern can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatternError {
    /// It has a form that no pattern has.
    #[error("is no pattern: {0}")]
    Malformed(#[from] ignore::Error),
    /// It would match nothing.
    #[error("matches nothing: write a pattern such as *.tmp, or logs/ for folders of this name")]
    Empty,
    /// It begins with `!`, which takes something out of a list, and the list of what is included has nothing to take out.
    #[error("begins with !, which only `exclude` knows: name what is left out there")]
    Negated,
}

/// The list that a pattern stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Ignore,
    Exclude,
    Include,
}

impl Filter {
    /// From the patterns of each list, in their order.
    pub(crate) fn new(ignore: &[String], exclude: &[String], include: &[String]) -> Result<Self, PatternError> {
        let of = |list, patterns: &[String]| patterns.iter().map(|pattern| line(list, pattern)).collect::<Vec<_>>();
        let exclude = [of(List::Ignore, ignore), of(List::Exclude, exclude)].concat();
        let include = (!include.is_empty()).then(|| compile(&of(List::Include, include))).transpose()?;
        Ok(Self { exclude: compile(&exclude)?, include })
    }

    /// Returns why a path is left whose folders are not excluded. A folder is never left for want of an `include` pattern, for something
    /// in it may match one.
    pub(crate) fn excludes(&self, relative: &Path, is_folder: bool) -> Option<Excluded<'_>> {
        if relative.file_name().is_some_and(|name| name == PRIVATE || is_beside(name)) {
            return Some(Excluded::Own);
        }
        if let Match::Ignore(pattern) = self.exclude.matched(relative, is_folder) {
            return Some(Excluded::Pattern(pattern.original()));
        }
        (!is_folder && !self.includes(relative)).then_some(Excluded::NotIncluded)
    }

    /// The same for a path of which it is not known whether its folders are excluded.
    pub(crate) fn excludes_any_part(&self, relative: &Path, is_folder: bool) -> Option<Excluded<'_>> {
        let mut folders: Vec<&Path> = relative.ancestors().skip(1).collect();
        folders.reverse();
        let mut on_the_way = folders.into_iter().filter(|folder| !folder.as_os_str().is_empty());
        on_the_way.find_map(|folder| self.excludes(folder, true)).or_else(|| self.excludes(relative, is_folder))
    }

    fn includes(&self, file: &Path) -> bool {
        let Some(include) = &self.include else { return true };
        let matches = |path: &Path, is_folder| include.matched(path, is_folder).is_ignore();
        let mut folders = file.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        matches(file, false) || folders.any(|folder| matches(folder, true))
    }
}

/// Checks one pattern as it is written in a configuration or on a command line.
pub(crate) fn check(list: List, pattern: &str) -> Result<(), PatternError> {
    if list == List::Include && pattern.starts_with('!') {
        return Err(PatternError::Negated);
    }
    let compiled = compile(&[line(list, pattern)])?;
    if compiled.is_empty() { Err(PatternError::Empty) } else { Ok(()) }
}

/// A pattern as a line of a gitignore file. In `ignore`, which is older than the other lists, `!` is a letter; `#` begins a comment in no
/// list.
fn line(list: List, pattern: &str) -> String {
    let is_letter = pattern.starts_with('#') || (list == List::Ignore && pattern.starts_with('!'));
    if is_letter { format!("\\{pattern}") } else { pattern.to_owned() }
}

fn compile(lines: &[String]) -> Result<Gitignore, PatternError> {
    // Paths are matched as they are below the folder.
    let mut builder = GitignoreBuilder::new("");
    // A bracket that is never closed is a typing error: it is refused, not taken for a letter.
    builder.allow_unclosed_class(false);
    for line in lines {
        builder.add_line(None, line)?;
    }
    Ok(builder.build()?)
}

/// The reason in plain words, on one line, safe for terminals.
impl fmt::Display for Excluded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("astran-backup made it"),
            Self::Pattern(pattern) => write!(f, "its name matches `{}`", printable(pattern)),
            Self::NotIncluded => f.write_str("no pattern of `include` matches it"),
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
