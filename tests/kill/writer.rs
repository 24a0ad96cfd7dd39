//! A writer that closes files into the folder while the program is killed.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::proof::{Dice, identity, sha256, unique};

/// Few names, so that a name comes again while the last file of that name is still under way.
pub(crate) const NAMES: [&str; 5] = ["a", "b.pdf", "c.txt", "d e", "f.x.y"];

/// Closes files into the folder until told to stop; never overwrites. Returns what was closed.
pub(crate) fn write_until(
    folder: &Path,
    names: &[&str],
    stop: &AtomicBool,
    mut dice: Dice,
) -> BTreeMap<String, String> {
    let mut closed = BTreeMap::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if dice.one_in(8) {
            let place = folder.join(format!("empty-{number}"));
            std::fs::write(&place, "").unwrap();
            closed.insert(identity(&place.to_string_lossy(), "", 0), place.display().to_string());
        }
        let place = place(folder, names, &mut dice);
        let content = unique(&format!("{number} {}", place.display()), size(&mut dice));
        let slow = dice.one_in(20);
        let written =
            if dice.one_in(3) { by_rename(folder, &place, &content) } else { by_close(&place, &content, slow) };
        if written {
            closed.insert(sha256(&content), place.display().to_string());
        }
        std::thread::sleep(Duration::from_millis(dice.within(1, 60)));
    }
    closed
}

fn place(folder: &Path, names: &[&str], dice: &mut Dice) -> PathBuf {
    let parent = folder.join(dice.of(&["", "", "sub", "sub/below"]));
    std::fs::create_dir_all(&parent).unwrap();
    parent.join(dice.of(names))
}

fn size(dice: &mut Dice) -> usize {
    let most = *dice.of(&[100, 5000, 100_000, 600_000, 3_000_000]);
    usize::try_from(dice.within(1, most)).unwrap()
}

fn by_close(place: &Path, content: &[u8], slow: bool) -> bool {
    let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(place) else { return false };
    let (first, second) = content.split_at(content.len() / 2);
    file.write_all(first).unwrap();
    if slow {
        std::thread::sleep(Duration::from_millis(150));
    }
    file.write_all(second).unwrap();
    true
}

fn by_rename(folder: &Path, place: &Path, content: &[u8]) -> bool {
    let temporary = folder.with_extension("temporary");
    std::fs::write(&temporary, content).unwrap();
    renameat_with(CWD, &temporary, CWD, place, RenameFlags::NOREPLACE).is_ok()
}
