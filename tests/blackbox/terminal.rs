//! At a terminal: bars for what is under way, lines above them that are not torn, what Ctrl-C waits for.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::{World, eventually};

/// A program on a terminal of its own, which is its standard output and standard error.
struct AtTerminal {
    child: Child,
    /// All that the terminal got.
    got: Arc<Mutex<Vec<u8>>>,
    reading: std::thread::JoinHandle<()>,
}

/// The two ends of a new terminal: the one where a person sits, and the program's.
fn terminal(columns: u16) -> (OwnedFd, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    tcsetwinsize(&person, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = std::fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (person, program.into())
}

fn on(end: &OwnedFd, command: &mut Command) -> Child {
    command.stdout(end.try_clone().unwrap()).stderr(end.try_clone().unwrap());
    command.spawn().unwrap()
}

impl AtTerminal {
    fn start(mut command: Command, columns: u16) -> Self {
        let (person, program) = terminal(columns);
        let child = on(&program, command.env("TERM", "xterm"));
        let got = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&got);
        let reading = std::thread::spawn(move || {
            let (mut person, mut piece) = (File::from(person), [0; 4096]);
            // The read fails once no program has the terminal open.
            while let Ok(length @ 1..) = person.read(&mut piece) {
                all.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { child, got, reading }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.got.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, text: &str) {
        eventually(text, || self.text().contains(text));
    }

    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for the end; returns the exit code, all that the terminal got, and the lines that it shows in the end.
    fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        let mut code = None;
        eventually("the program ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        self.reading.join().unwrap();
        let text = String::from_utf8_lossy(&self.got.lock().unwrap()).into_owned();
        let shown = shown(&text);
        (code.unwrap().code(), text, shown)
    }
}

/// The lines that a terminal shows after this output. It knows the sequences that the program uses, and panics at any other.
fn shown(output: &str) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0, 0);
    let mut rest = output.chars();
    while let Some(c) = rest.next() {
        match c {
            // The kernel has added a return.
            '\n' => row += 1,
            '\r' => column = 0,
            '\u{1b}' => {
                assert_eq!(rest.next(), Some('['));
                let sequence: String = rest.by_ref().take_while_inclusive(char::is_ascii_alphabetic);
                let (number, letter) = sequence.split_at(sequence.len() - 1);
                match (number.parse::<usize>().unwrap_or(1), letter) {
                    (_, "m") => {}
                    (by, "A") => row -= by,
                    (_, "J") => {
                        assert_eq!(column, 0);
                        lines[row..].fill(Vec::new());
                    }
                    _ => panic!("unknown sequence {sequence:?}"),
                }
            }
            c => {
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let lines = lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

trait TakeWhileInclusive {
    fn take_while_inclusive(&mut self, ends: fn(&char) -> bool) -> String;
}

impl<I: Iterator<Item = char>> TakeWhileInclusive for I {
    fn take_while_inclusive(&mut self, ends: fn(&char) -> bool) -> String {
        let mut taken = String::new();
        for c in self {
            taken.push(c);
            if ends(&c) {
                break;
            }
        }
        taken
    }
}

const MIB: usize = 1 << 20;

/// A push of these files, of 2 MiB each, which takes about 1.5 s for two.
fn push(world: &World, names: &[&str], more: &[&str]) -> Command {
    for name in names {
        world.put(name, vec![b'x'; 2 * MIB]);
    }
    let mut command = world.command();
    command.current_dir(world.watched()).arg("push").args(names).args(more);
    command
}

#[test]
fn uploads_have_bars_with_the_lines_above_them_and_the_sum_at_the_end() {
    let world = World::new();
    let run = AtTerminal::start(push(&world, &["a", "b"], &["--limit-rate", "2MiB"]), 100);
    let (code, text, shown) = run.end();
    assert_eq!(code, Some(0), "{text}");
    let has = |part: &str| assert!(text.contains(part), "{part:?} is missing in {text}");
    has("of 2.0 MiB");
    has("/s");
    has(" left");
    has("[===");
    has("0 stored, 2 to go");
    let mut stored = shown[..2].to_vec();
    stored.sort();
    assert!(stored[0].starts_with("stored  a -> ") && stored[1].starts_with("stored  b -> "), "{shown:?}");
    let sum = &shown[2];
    assert!(sum.starts_with("2 stored (4.0 MiB), 0 failed, 0 skipped in ") && sum.ends_with(" s"), "{shown:?}");
    assert_eq!(shown.len(), 3, "nothing of the bars stays: {shown:?}");
}

#[test]
fn log_lines_and_bars_do_not_tear_each_other_on_a_narrow_terminal() {
    let world = World::new();
    let run = AtTerminal::start(push(&world, &["a", "b"], &["--limit-rate", "2MiB", "-vv"]), 20);
    let (code, text, shown) = run.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains('%'), "{text}");
    let is_whole =
        |line: &String| line.starts_with("20") || line.starts_with("stored  ") || line.starts_with("2 stored");
    let torn: Vec<_> = shown.iter().filter(|line| !is_whole(line)).collect();
    assert!(torn.is_empty() && shown.len() > 20, "{torn:?}");
}

#[test]
fn ctrl_c_says_what_it_waits_for_and_how_long_and_a_second_one_cuts() {
    let world = World::new();
    let run = AtTerminal::start(push(&world, &["a"], &["--limit-rate", "200KiB"]), 120);
    run.wait_for("of 2.0 MiB");
    run.interrupt();
    run.wait_for("stopping: 1 upload under way may take 30 s more; press Ctrl-C again to cut it");
    run.wait_for("may take 29 s more");
    run.interrupt();
    let (code, text, shown) = run.end();
    assert_eq!(code, Some(130), "{text}");
    assert!(
        shown.iter().any(|line| line.ends_with("uploads that are still under way are cut, their files stay whole")),
        "{shown:?}"
    );
    assert!(shown.last().unwrap().starts_with("0 stored, 0 failed, 0 skipped, 1 left for later in "), "{shown:?}");
}

#[test]
fn a_terminal_that_can_not_move_its_cursor_and_one_that_wants_quiet_get_no_bars() {
    let world = World::new();
    for (name, term, arguments) in
        [("dumb", "dumb", &[][..]), ("never", "xterm", &["--progress", "never"]), ("quiet", "xterm", &["--quiet"])]
    {
        let mut command = push(&world, &[name], &[&["--limit-rate", "3MiB"], arguments].concat());
        let (person, program) = terminal(80);
        let child = on(&program, command.env("TERM", term));
        drop((command, program));
        let mut text = Vec::new();
        File::from(person).read_to_end(&mut text).ok();
        assert!(child.wait_with_output().unwrap().status.success());
        assert!(!text.contains(&0x1b), "{name}: {:?}", String::from_utf8_lossy(&text));
        assert_eq!(text.is_empty(), name == "quiet");
    }
}

#[test]
fn a_terminal_that_is_closed_stops_no_upload() {
    let world = World::new();
    let mut command = push(&world, &["a"], &["--limit-rate", "2MiB"]);
    let (person, program) = terminal(80);
    let mut child = on(&program, command.env("TERM", "xterm"));
    let (mut person, mut piece) = (File::from(person), [0; 64]);
    // The first bar is drawn.
    person.read_exact(&mut piece).unwrap();
    drop((person, program, command));
    assert!(child.wait().unwrap().success());
    assert_eq!(world.stored("/HR_Backup/a").unwrap().len(), 2 * MIB);
}
