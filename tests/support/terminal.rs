//! A terminal of its own for a program, which the test types into.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{PATIENCE, wait};

/// A program whose standard input and standard error are a terminal; its standard output is another end of the same terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
    /// How much of what was seen was waited for.
    waited: usize,
}

impl Terminal {
    pub fn start(command: &mut Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let open = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let child = command.stdin(open()).stdout(open()).stderr(Stdio::from(open())).spawn().unwrap();
        // The ends that the command holds for further children would keep the terminal open after the program's end.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let keyboard = File::from(ours);
        let mut from = keyboard.try_clone().unwrap();
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // The read fails once the program has ended.
            while let Ok(length @ 1..) = from.read(&mut piece) {
                if sender.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, seen: String::new(), waited: 0 }
    }

    /// Waits until the screen shows this text, after what was waited for before.
    pub fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen[self.waited..].find(text) {
                self.waited += at + text.len();
                return;
            }
            let piece = self.screen.recv_timeout(end.saturating_duration_since(Instant::now()));
            let Ok(piece) = piece else { panic!("{text:?} was never shown, but:\n{}", self.seen) };
            self.seen += &String::from_utf8_lossy(&piece);
        }
    }

    /// Types what is given, as it is: Enter is `\n`, Ctrl-D is `\x04`.
    pub fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a question, and types a line.
    pub fn answer(&mut self, question: &str, line: &str) {
        self.wait_for(question);
        // The question ends with these, and only then are keys read for it.
        self.wait_for(": ");
        self.type_keys(&format!("{line}\n"));
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the terminal shows what is typed.
    pub fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// Waits until the program ends; returns its exit code, and all that the screen has shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = wait(PATIENCE, &mut self.child);
        self.seen.extend(self.screen.iter().map(|piece| String::from_utf8_lossy(&piece).into_owned()));
        (code, self.seen)
    }
}
