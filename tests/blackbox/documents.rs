//! The commands of README and `docs/` do what is written: each block ` ```sh ` ends with 0, each block ` ```console ` prints what it shows, and each
//! line ` ```crontab ` runs. The blocks of a page run one after the other in one world, as a reader would type them.
//!
//! The blocks can reach this world only. `PATH` has the program and a few harmless tools; paths of the documents such as `/srv/scans` become paths in
//! the world's folder, and a block that names any other path outside it is refused before a shell sees it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use astran_backup::vault::RemotePath;

use crate::support::{Output, World, run_to_end};

/// Blocks that can't be run here, by the reason that stands above them. A further one is a decision: change the number.
const NOT_RUN: [(&str, usize); 8] = [
    ("asks at a terminal", 1),
    ("builds the program", 5),
    ("changes rights of real folders", 1),
    ("changes the machine", 4),
    ("needs PostgreSQL", 3),
    ("needs a container engine", 1),
    ("needs a mail program or a chat", 2),
    ("needs systemd", 5),
];

/// Tools that a block may use. None of them removes or overwrites a file that it is not told to by a redirection.
const TOOLS: [&str; 13] =
    ["cat", "date", "echo", "false", "find", "grep", "head", "jq", "printf", "sh", "tail", "test", "timeout"];

/// Paths of this machine that the documents name; they become paths in the world's folder.
const MOVED: [&str; 4] = ["/srv/", "/home/me", "/etc/astran-backup", "/usr/bin/astran-backup"];

/// Paths in the vault, and others that may stand in a block as they are.
const ALLOWED: [&str; 6] = ["/HR_Backup", "/Legal", "/Backups", "/dev/null", "/Folder", "/TemporaryFolder"];

/// Words with slashes that are no paths.
const NO_PATHS: [&str; 1] = ["(.stored // 0)"];

/// What `astran-backup` is in the blocks. A daemon runs until it is stopped, so it is stopped after a while. Where root runs the tests, `init`
/// would write to `/etc` unless it is told another place.
const PROGRAM: &str = r#"
case " $* " in
    *' init '*' --config '* | *' watch '*' --once '* | *' watch '*' --dry-run '*) ;;
    *' init '*) echo 'init without --config is not run'; exit 99 ;;
    *' watch '*) exec timeout --foreground --preserve-status -s TERM 1.5 PROGRAM "$@" ;;
esac
exec PROGRAM "$@""#;

/// A block of a document.
struct Block {
    /// Where it stands, for messages.
    place: String,
    kind: String,
    text: String,
    not_run: Option<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and all pages of `docs/`.
fn documents() -> Vec<PathBuf> {
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    all.sort();
    all.insert(0, root().join("README.md"));
    all
}

fn blocks(document: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(document).unwrap();
    let name = document.strip_prefix(root()).unwrap().display();
    let (mut found, mut lines, mut not_run) = (Vec::new(), text.lines().enumerate(), None);
    while let Some((number, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if let Some(reason) = line.trim_start().strip_prefix("<!-- not run: ") {
            not_run = Some(reason.trim_end_matches(" -->").to_owned());
        } else if let Some(kind) = line.trim_start().strip_prefix("```") {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_start() != "```");
            let text = inside.flat_map(|line| [line.get(indent..).unwrap_or_default(), "\n"]).collect();
            let place = format!("{name}:{}", number + 1);
            found.push(Block { place, kind: kind.to_owned(), text, not_run: not_run.take() });
        } else if !line.trim().is_empty() {
            not_run = None;
        }
    }
    found
}

/// The paths outside the world that a script names, besides those of [`ALLOWED`]; and what could delete without a path.
fn foreign_paths(script: &str, world: &Path) -> Vec<String> {
    let script = NO_PATHS.iter().fold(script.to_owned(), |script, text| script.replace(text, ""));
    let without_comments = script.lines().filter(|line| !line.starts_with('#'));
    let words = without_comments.flat_map(|line| line.split(|letter: char| " \t'\"=;|&<>()`".contains(letter)));
    let is_own = |word: &str| Path::new(word).starts_with(world) || ALLOWED.iter().any(|path| word.starts_with(path));
    let leads_out = |word: &&str| {
        let is_outside = word.starts_with('/') && !is_own(word);
        is_outside
            || word.contains("..")
            || word.starts_with('~')
            || word.starts_with("-delete")
            || word.starts_with("-exec")
    };
    words.filter(leads_out).map(str::to_owned).collect()
}

/// A world in which a reader's commands find what the documents speak of.
struct Reader {
    world: World,
    bin: PathBuf,
}

impl Reader {
    fn new() -> Self {
        let folders = ["/HR_Backup", "/Legal", "/Backups"].map(|path| RemotePath::parse(path).unwrap());
        let world = World::with(|options| options.folders = folders.into());
        let dir = world.dir.path().to_owned();
        let bin = dir.join("bin");
        for folder in ["bin", "contracts", "scans", "srv/scans", "target/release", ".config/astran-backup"] {
            std::fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for tool in TOOLS {
            let place =
                ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool)).into_iter().find(|path| path.exists());
            std::os::unix::fs::symlink(place.unwrap_or_else(|| panic!("{tool} is not here")), bin.join(tool)).unwrap();
        }
        let reader = Self { world, bin };
        reader.script("astran-backup", &PROGRAM.replace("PROGRAM", env!("CARGO_BIN_EXE_astran-backup")));
        // `cargo run` with the program that is built already.
        reader.script(
            "cargo",
            "test \"$1\" = run || exit 1\nwhile test \"$1\" != --; do shift; done\nshift\nexec astran-backup \"$@\"",
        );
        reader.script("pg_dump", "echo 'create table t();'");
        std::os::unix::fs::symlink(reader.bin.join("astran-backup"), dir.join("target/release/astran-backup")).unwrap();
        for file in ["report.pdf", "last-run", "contracts/lease.pdf"] {
            std::fs::write(dir.join(file), file).unwrap();
        }
        // `find -newer last-run` finds the contract.
        reader.configure_as_readme_says();
        let past = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        std::fs::File::options().write(true).open(dir.join("last-run")).unwrap().set_modified(past).unwrap();
        let stored = reader.run("the fixture", "astran-backup push report.pdf --dest /Legal");
        assert_eq!(stored.code, Some(0), "{stored:?}");
        reader
    }

    fn script(&self, name: &str, text: &str) {
        // By another process: a child that a neighbouring test makes meanwhile would hold a file of ours open for writing, and the kernel runs
        // no such file.
        let mut writer = Command::new("sh");
        writer.args(["-c", "printf '#!/bin/sh\n%s\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"]);
        assert!(writer.arg(self.bin.join(name)).arg(text).status().unwrap().success());
    }

    /// The configuration that README shows, at the place that it names, with the password file that it names.
    fn configure_as_readme_says(&self) {
        let blocks = blocks(&root().join("README.md"));
        let text = &blocks.iter().find(|block| block.kind == "toml").expect("README shows a configuration").text;
        for (name, content) in [("config.toml", self.moved(text)), ("password", self.world.access.password.clone())] {
            let path = self.world.dir.path().join(".config/astran-backup").join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// A text with the paths of the documents as paths in the world.
    fn moved(&self, text: &str) -> String {
        let dir = self.world.dir.path().to_str().unwrap();
        let program = self.bin.join("astran-backup");
        MOVED.iter().fold(text.to_owned(), |text, path| match *path {
            "/usr/bin/astran-backup" => text.replace(path, program.to_str().unwrap()),
            "/home/me" => text.replace(path, dir),
            path => text.replace(path, &format!("{dir}{path}")),
        })
    }

    /// Runs a script as the reader's shell would; its standard error is in the standard output.
    fn run(&self, place: &str, script: &str) -> Output {
        let script = self.moved(script);
        let foreign = foreign_paths(&script, self.world.dir.path());
        assert!(foreign.is_empty(), "{place} names paths of this machine, so it is not run: {foreign:?}");
        let mut command = Command::new("/bin/bash");
        command
            .args(["-e", "-o", "pipefail", "-c", &format!("exec 2>&1\n{script}")])
            .current_dir(self.world.dir.path())
            .stdin(Stdio::null());
        command.env_clear().env("HOME", self.world.dir.path()).env("PATH", &self.bin);
        for name in
            ["API_URL", "AUTH_URL", "REALM", "CLIENT_ID", "USERNAME"].map(|name| format!("ASTRAN_BACKUP_{name}"))
        {
            let variables = crate::support::access_variables(&self.world.access);
            let value = variables.iter().find(|(known, _)| *known == name).unwrap().1;
            command.env(name, value);
        }
        run_to_end(&mut command)
    }

    /// Runs the blocks of a page in their order; returns what is wrong.
    fn read(&self, document: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        for block in blocks(document).into_iter().filter(|block| block.not_run.is_none()) {
            match block.kind.as_str() {
                "sh" => faults.extend(fault(&block, &self.run(&block.place, &block.text))),
                "console" => faults.extend(self.transcript(&block)),
                "crontab" => {
                    for line in block.text.lines().filter(|line| line.starts_with('*')) {
                        let command = line.splitn(6, ' ').nth(5).unwrap();
                        faults.extend(fault(&block, &self.run(&block.place, command)));
                    }
                }
                _ => {}
            }
        }
        faults
    }

    /// What a block of commands (`$ command`) and their output shows otherwise than it is.
    fn transcript(&self, block: &Block) -> Option<String> {
        let mut parts: Vec<(String, String)> = Vec::new();
        for line in block.text.lines() {
            match (line.strip_prefix("$ "), parts.last_mut()) {
                (Some(command), _) => parts.push((command.to_owned(), String::new())),
                (None, Some((_, shown))) => shown.extend([line, "\n"]),
                (None, None) => panic!("{}: the first line of a transcript is a command (`$ …`)", block.place),
            }
        }
        let dir = self.world.dir.path().to_str().unwrap();
        parts.into_iter().find_map(|(command, shown)| {
            let printed = self.run(&block.place, &command).stdout.replace(dir, "");
            let fits = fits(&shown, &printed);
            (!fits).then(|| format!("{}: `{command}` is shown with\n{shown}\nand prints\n{printed}", block.place))
        })
    }
}

fn fault(block: &Block, output: &Output) -> Option<String> {
    (output.code != Some(0))
        .then(|| format!("{} ends with {:?}:\n{}\n{}", block.place, output.code, block.text, output.stdout))
}

/// Whether a text is as it is shown, where `…` stands for anything within a line.
fn fits(shown: &str, printed: &str) -> bool {
    let (shown, printed): (Vec<_>, Vec<_>) = (shown.lines().collect(), printed.lines().collect());
    shown.len() == printed.len() && shown.iter().zip(printed).all(|(shown, printed)| line_fits(shown, printed))
}

fn line_fits(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == printed };
    let Some(left) = printed.strip_prefix(start) else { return false };
    left.char_indices().map(|(at, _)| at).chain([left.len()]).any(|at| line_fits(rest, &left[at..]))
}

#[test]
fn each_command_of_readme_and_docs_does_what_is_written() {
    // Each page has a world of its own, so all pages are read at the same time.
    let faults: Vec<String> = std::thread::scope(|scope| {
        let read = |document: PathBuf| move || Reader::new().read(&document);
        let pages: Vec<_> = documents().into_iter().map(|document| scope.spawn(read(document))).collect();
        pages.into_iter().flat_map(|page| page.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn each_block_that_is_not_run_says_why_and_is_counted() {
    let mut counted = BTreeMap::new();
    let (mut run, mut shells) = (0, 0);
    for block in documents().iter().flat_map(|document| blocks(document)) {
        let is_shell = ["sh", "console", "crontab"].contains(&block.kind.as_str());
        assert!(is_shell || !["", "bash", "shell"].contains(&block.kind.as_str()), "{}: which language?", block.place);
        shells += usize::from(is_shell);
        match block.not_run {
            Some(reason) => *counted.entry(reason).or_insert(0) += 1,
            None => run += usize::from(is_shell),
        }
    }
    assert_eq!(counted, NOT_RUN.map(|(reason, count)| (reason.to_owned(), count)).into());
    assert!(run >= 12, "only {run} of {shells} blocks are run");
}

#[test]
fn a_block_that_names_a_path_of_this_machine_is_refused_before_it_runs() {
    let world = Path::new("/tmp/world");
    for script in [
        "cat /etc/passwd",
        "x=/root/y",
        "cat ~/x",
        "echo > ../x",
        "cat <'/var/log/x'",
        "ls /tmp/other",
        "astran-backup watch /",
        "find . -delete",
    ] {
        assert!(!foreign_paths(script, world).is_empty(), "{script}");
    }
    for script in ["ls /HR_Backup", "cat /tmp/world/x", "echo '(.stored // 0)'", "# /etc is named only"] {
        assert!(foreign_paths(script, world).is_empty(), "{script}");
    }
}

#[test]
fn what_varies_is_shown_as_an_ellipsis() {
    assert!(fits("stored in …\n…  b\n", "stored in 1.2 s\n 633 bytes  b\n"));
    assert!(!fits("a\n", "a\nb\n") && !fits("a … c", "a b") && !fits("ab", "a"));
}
