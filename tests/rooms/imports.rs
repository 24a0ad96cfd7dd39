//! The imports from room to room.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::tokens::{Token, tokens};

/// One import from one room into another.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    file: PathBuf,
    line: usize,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}` imports `{}`", self.file.display(), self.line, self.from, self.to)
    }
}

/// A file of the crate, which is one module.
struct Module {
    /// The file from `src` on.
    file: PathBuf,
    /// From the crate's root down; the roots themselves have none.
    path: Vec<String>,
}

impl Module {
    fn room(&self) -> &str {
        self.path.first().map_or("main", String::as_str)
    }

    /// Where a module that is declared here has its file.
    fn child(&self, Declared { name, file }: &Declared, source: &Path) -> Module {
        let folder: PathBuf = self.path.iter().collect();
        let plain = folder.join(format!("{name}.rs"));
        let file = match file {
            Some(file) => self.file.with_file_name(file),
            None if source.join(&plain).exists() => plain,
            None => folder.join(name).join("mod.rs"),
        };
        let path = self.path.iter().cloned().chain([name.clone()]).collect();
        Module { file, path }
    }
}

/// The rooms: the crate's modules at the root that are not test code, and the program.
pub(crate) fn rooms(source: &Path) -> BTreeSet<String> {
    let lib = Module { file: "lib.rs".into(), path: Vec::new() };
    let rooms = Reading::of(&lib, source).modules;
    rooms.into_iter().map(|declared| declared.name).chain(["main".to_owned()]).collect()
}

/// All imports of the crate from one room into another, without those of test code.
pub(crate) fn imports_of_crate(source: &Path) -> Vec<Import> {
    let lib = Module { file: "lib.rs".into(), path: Vec::new() };
    let main = Module { file: "main.rs".into(), path: Vec::new() };
    let mut imports = of_file(&main, &Reading::of(&main, source));
    // The root itself only declares: what it re-exports belongs to the room of that name.
    let mut modules: Vec<Module> =
        Reading::of(&lib, source).modules.iter().map(|name| lib.child(name, source)).collect();
    while let Some(module) = modules.pop() {
        let reading = Reading::of(&module, source);
        imports.extend(of_file(&module, &reading));
        modules.extend(reading.modules.iter().map(|name| module.child(name, source)));
    }
    imports
}

fn of_file(module: &Module, reading: &Reading) -> Vec<Import> {
    let other = reading.paths.iter().filter(|(to, _)| to != module.room());
    let import = |(to, line): &(String, usize)| Import {
        from: module.room().to_owned(),
        to: to.clone(),
        file: Path::new("src").join(&module.file),
        line: *line,
    };
    other.map(import).collect()
}

/// A declared module.
#[derive(Debug, PartialEq, Eq)]
struct Declared {
    name: String,
    /// The file that a `#[path]` gives it.
    file: Option<String>,
}

/// What one file holds outside of test code.
#[derive(Default)]
struct Reading {
    /// Modules declared here that have files of their own.
    modules: Vec<Declared>,
    /// The first name of each path from the crate's root, with its line.
    paths: Vec<(String, usize)>,
}

impl Reading {
    fn of(module: &Module, source: &Path) -> Self {
        let path = source.join(&module.file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::of_text(&text, module.path.len())
    }

    /// `depth` is how many `super`s lead from this file's module to the crate's root.
    fn of_text(text: &str, depth: usize) -> Self {
        let tokens = without_tests(&tokens(text));
        let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        let mut reading = Self::default();
        // For each open brace, whether it is a module's.
        let mut braces: Vec<bool> = Vec::new();
        let mut file = None;
        let mut at = 0;
        while at < words.len() {
            match words[at..] {
                ["path", "=", text, "]", ..] => file = Some(text.trim_matches('"').to_owned()),
                ["mod", name, ";", ..] => reading.modules.push(Declared { name: name.to_owned(), file: file.take() }),
                ["{", ..] => braces.push(at >= 2 && words[at - 2] == "mod"),
                ["}", ..] => drop(braces.pop()),
                _ => {}
            }
            let supers_to_root = depth + braces.iter().filter(|is_module| **is_module).count();
            match root(&words[at..], supers_to_root) {
                0 => at += 1,
                length => {
                    at += length;
                    for name in first_names(&words[at..]) {
                        reading.paths.push((words[at + name].to_owned(), tokens[at + name].line));
                    }
                }
            }
        }
        reading
    }
}

/// The number of words of a path's beginning that leads to the crate's root; 0 where there is none.
fn root(words: &[&str], supers_to_root: usize) -> usize {
    match words {
        ["crate" | "astran_backup", ":", ":", ..] => 3,
        ["super", ":", ":", ..] => {
            let supers = words.chunks(3).take_while(|chunk| *chunk == ["super", ":", ":"]).count();
            if supers_to_root > 0 && supers == supers_to_root { 3 * supers } else { 0 }
        }
        _ => 0,
    }
}

/// Where in `words` the names stand that come next in the path: one, or several in braces.
fn first_names(words: &[&str]) -> Vec<usize> {
    if words.first() != Some(&"{") {
        return vec![0];
    }
    let mut names = vec![];
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (*word == "{" || *word == ",") && words[at + 1] != "}" {
            names.push(at + 1);
        }
    }
    names
}

/// Takes out each item under `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(token) = rest.first() {
        if rest.len() >= 7 && rest[..7].iter().map(|token| token.text.as_str()).eq(CFG_TEST) {
            rest = &rest[7 + item(&rest[7..])..];
        } else {
            kept.push(token.clone());
            rest = &rest[1..];
        }
    }
    kept
}

/// The length of an item with its attributes: to its semicolon, or to its closing brace.
fn item(tokens: &[Token]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
            return at + 1;
        }
    }
    tokens.len()
}

#[test]
fn every_kind_of_path_from_the_root_is_found_and_test_code_is_not() {
    let rooms = |text: &str, depth| {
        let paths = Reading::of_text(text, depth).paths;
        paths.into_iter().map(|(room, line)| format!("{room}:{line}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        rooms("use crate::a::B;\nuse crate::{c, d::{E, F}, g::H};\nfn i() { crate::j::k() }", 1),
        "a:1 c:2 d:2 g:2 j:3"
    );
    assert_eq!(rooms("use super::a; use super::super::b;", 2), "b:1");
    assert_eq!(rooms("mod a { use super::b; use super::super::c; }\nuse super::d;", 1), "c:1 d:2");
    assert_eq!(rooms("pub(crate) fn a() {} //! crate::b\n/// [`crate::c`]\nfn d() { \"crate::e\" }", 1), "");
    assert_eq!(
        rooms("#[cfg(test)]\n#[path = \"x\"]\nmod a;\n#[cfg(test)]\nmod b { use crate::c; }\nuse crate::d;", 1),
        "d:6"
    );
    assert_eq!(rooms("#[cfg(test)]\nuse crate::a;\n#[cfg(not(test))]\nuse crate::b;", 1), "b:4");
    let declared = |name: &str, file: Option<&str>| Declared { name: name.into(), file: file.map(str::to_owned) };
    let text = "mod a; #[path = \"x.rs\"] pub(crate) mod b; #[cfg(test)] #[path = \"y.rs\"] mod c; mod d {} mod e;";
    let modules = [declared("a", None), declared("b", Some("x.rs")), declared("e", None)];
    assert_eq!(Reading::of_text(text, 1).modules, modules);
}
