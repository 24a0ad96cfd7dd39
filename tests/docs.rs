//! The documents for developers name only what exists: files, functions, tests, links. So they can't go stale unnoticed.

// What the tests are about is text.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "support/schema.rs"]
#[allow(dead_code, unreachable_pub)]
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 3] = ["docs/architecture.md", "docs/CONTRIBUTING.md", "docs/promises.md"];

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn exists(path: impl AsRef<Path>) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// The text without its blocks of code.
fn prose(document: &str) -> String {
    let text = read(document);
    text.split("```").step_by(2).collect()
}

/// What stands in backticks.
fn quoted(document: &str) -> Vec<String> {
    prose(document).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// All Rust files below a folder.
fn sources(folder: &str) -> Vec<PathBuf> {
    walkdir::WalkDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn defines(text: &str, function: &str) -> bool {
    [format!("fn {function}("), format!("fn {function}<")].iter().any(|start| text.contains(start))
}

/// Whether a text in backticks is a path in this repository.
fn is_path(text: &str) -> bool {
    let is_below_top = ["src", "tests", "docs", ".ci", "fuzz"].iter().any(|top| text.starts_with(&format!("{top}/")));
    // Patterns and placeholders, and files that a tool writes when there is something to write.
    let is_example = text.contains(['…', '*', ' ']) || text.ends_with("/TARGET") || text.ends_with(".regressions");
    is_below_top && !is_example && text != "fuzz/artifacts"
}

/// What is wrong with a path, or with a function that is named as `src/file.rs::function`.
fn fault(text: &str) -> Option<String> {
    let (file, function) = text.split_once("::").map_or((text, None), |(file, name)| (file, Some(name)));
    if !exists(file) {
        return Some(format!("{file} does not exist"));
    }
    let function = function.filter(|function| !defines(&read(file), function))?;
    Some(format!("{file} has no function {function}"))
}

#[test]
fn each_file_and_each_function_that_the_documents_name_exists() {
    let named: Vec<String> = DOCUMENTS.into_iter().flat_map(quoted).filter(|text| is_path(text)).collect();
    let faults: BTreeSet<String> = named.iter().filter_map(|text| fault(text)).collect();
    assert!(faults.is_empty(), "{DOCUMENTS:?} name what is not there: {faults:#?}");
    assert!(named.len() > 60, "only {} paths were found: are they still written as `src/…`?", named.len());
}

#[test]
fn each_test_that_the_documents_name_exists() {
    let all: String = sources("tests").iter().chain(&sources("src")).map(read).collect();
    let mut named = 0;
    for document in DOCUMENTS {
        // Names of tests are sentences.
        for test in quoted(document).iter().filter(|text| text.matches('_').count() > 4) {
            if test.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_') {
                assert!(defines(&all, test), "{document} names the test {test}, which does not exist");
                named += 1;
            }
        }
    }
    assert!(named > 10, "only {named} tests were found in the documents");
}

/// README, the changelog and all pages of `docs/`.
fn pages() -> Vec<String> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages = files.map(|path| format!("docs/{}", path.file_name().unwrap().to_str().unwrap()));
    ["README.md", "CHANGELOG.md"].map(str::to_owned).into_iter().chain(pages).collect()
}

/// The links that a page's headings give, as GitHub makes them.
fn headings(page: &Path) -> BTreeSet<String> {
    let text = prose(page.to_str().unwrap());
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: &char| letter.is_alphanumeric() || "-_ ".contains(*letter);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn each_link_to_a_file_or_a_heading_leads_to_one() {
    for document in pages() {
        let folder = Path::new(&document).parent().unwrap();
        for link in prose(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned)) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            if link.contains("://") {
                continue;
            }
            let target = if file.is_empty() { PathBuf::from(&document) } else { folder.join(file) };
            assert!(exists(&target), "{document} links to {link}, which does not exist");
            assert!(
                heading.is_empty() || headings(&target).contains(heading),
                "{document} links to {link}, and {} has no such heading",
                target.display()
            );
        }
    }
}

#[test]
fn readme_leads_to_every_page() {
    let readme = read("README.md");
    for page in pages().into_iter().filter(|page| page != "README.md") {
        assert!(readme.contains(&format!("]({page})")), "README does not lead to {page}");
    }
}

#[test]
fn the_list_of_test_binaries_is_complete() {
    let listed: BTreeSet<String> = prose("docs/CONTRIBUTING.md")
        .lines()
        .skip_while(|line| !line.starts_with("| test binary"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| {
            line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let there_are: BTreeSet<String> = std::fs::read_dir(tests)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, there_are);
}

#[test]
fn each_variable_of_the_tests_is_explained() {
    let variables = |text: &str| -> BTreeSet<String> {
        let rest = text.split("ASTRAN_TEST_").skip(1);
        rest.map(|rest| rest.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect())
            .filter(|name: &String| !name.is_empty())
            .collect()
    };
    let used = variables(&sources("tests").iter().map(read).collect::<String>());
    assert_eq!(variables(&read("docs/CONTRIBUTING.md")), used);
}

/// The types of events that the code can emit: each has a constant in the source.
fn emitted() -> BTreeSet<String> {
    let code: String = sources("src").iter().map(read).collect();
    let types = code.split("const TYPE: &'static str = \"").skip(1);
    types.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// The examples of `docs/scripting.md`, by the type under whose heading they stand.
fn examples() -> BTreeMap<String, Vec<String>> {
    let text = read("docs/scripting.md");
    let sections = text.split("\n### `").skip(1).map(|section| section.split_once('`').unwrap());
    let blocks = |section: &str| -> Vec<String> {
        section
            .split("```json\n")
            .skip(1)
            .flat_map(|block| block.split("```").next().unwrap().lines())
            .map(str::to_owned)
            .collect()
    };
    sections.map(|(kind, section)| (kind.to_owned(), blocks(section))).collect()
}

#[test]
fn each_type_of_event_has_a_schema_and_a_section_with_an_example() {
    let emitted = emitted();
    assert!(emitted.len() >= 17, "only {emitted:?} were found: are the types still written as `const TYPE`?");
    let schemas: BTreeSet<String> = schema::schemas().into_keys().collect();
    assert_eq!(schemas, emitted, "docs/schema/ and the code");
    let examples = examples();
    assert_eq!(examples.keys().cloned().collect::<BTreeSet<_>>(), emitted, "docs/scripting.md and the code");
    for (kind, lines) in &examples {
        assert!(!lines.is_empty(), "{kind} has no example");
        for line in lines {
            assert_eq!(schema::fault(line), None, "{line}");
            assert!(line.contains(&format!("\"type\":\"{kind}\"")), "another event stands under {kind}: {line}");
        }
        assert!(
            read("docs/scripting.md").contains(&format!("](schema/{kind}.json)")),
            "no link to the schema of {kind}"
        );
    }
}

#[test]
fn a_schema_lets_additions_pass_for_scripts_and_not_for_the_tests() {
    let mut event: serde_json::Value = serde_json::from_str(&examples()["retry"][0]).unwrap();
    event["later"] = 1.into();
    assert!(jsonschema::is_valid(&schema::schemas()["retry"], &event));
    assert!(schema::fault(&event.to_string()).unwrap().contains("later"));
}

#[test]
fn each_exit_code_and_its_words_are_documented_for_scripts() {
    let code = read("src/exit.rs");
    let words = code.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let table = read("docs/scripting.md");
    for word in words {
        assert!(table.contains(&format!("| `{word}` |")), "{word} is not in the table of docs/scripting.md");
    }
}
