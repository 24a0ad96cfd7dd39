//! Lines that fit a terminal. Pure.

use crate::printable::{columns, columns_of};

/// The cells of a bar, where there is room for it.
const CELLS: [usize; 2] = [20, 10];
/// A name gets at least so many columns before there is room for a bar, and at most so many.
const NAME_LEAST: usize = 16;
const NAME_MOST: usize = 36;
/// Where the beginning of a name is left out.
const CUT: &str = "..";

/// A line with a name, a bar and numbers. `numbers` are texts of which the first one that fits is taken; where none fits, it is the
/// percentage.
pub(super) fn bar(name: &str, (done, whole): (u64, u64), numbers: &[String], width: usize) -> String {
    let percent = percent(done, whole);
    for cells in CELLS {
        let Some(text) = numbers.iter().find(|text| NAME_LEAST + cells + 6 + text.len() <= width) else { continue };
        let room = (width - cells - 6 - text.len()).min(NAME_MOST);
        return format!("{}  {}  {text}", padded(name, room), drawn(percent, cells));
    }
    let short = format!("{percent}%");
    let fits = |text: &&String| NAME_LEAST + 2 + text.len() <= width;
    let text = numbers.iter().find(fits).unwrap_or(&short);
    if text.len() + 3 > width {
        return fit(text, width);
    }
    format!("{}  {text}", padded(name, (width - 2 - text.len()).min(NAME_MOST)))
}

fn percent(done: u64, whole: u64) -> usize {
    if whole == 0 {
        return 100;
    }
    // At most 100, so it fits.
    usize::try_from(u128::from(done.min(whole)) * 100 / u128::from(whole)).unwrap_or(100)
}

fn drawn(percent: usize, cells: usize) -> String {
    let full = percent * cells / 100;
    let tip = if full < cells { ">" } else { "" };
    format!("[{}{tip}{}]", "=".repeat(full), " ".repeat(cells - full - tip.len()))
}

/// A name that fills so many columns. Of a longer one the end is shown, which tells files apart.
fn padded(name: &str, room: usize) -> String {
    let wide = columns(name);
    if wide <= room {
        return format!("{name}{}", " ".repeat(room - wide));
    }
    let mut left = room.saturating_sub(CUT.len());
    let end = name.char_indices().rev().take_while(|(_, c)| {
        let fits = columns_of(*c) <= left;
        left = left.saturating_sub(columns_of(*c));
        fits
    });
    let start = end.last().map_or(name.len(), |(at, _)| at);
    let end = &name[start..];
    let filled = columns(end) + CUT.len();
    fit(&format!("{CUT}{end}{}", " ".repeat(room.saturating_sub(filled))), room)
}

/// The beginning of a text, as much of it as fits.
pub(super) fn fit(text: &str, width: usize) -> String {
    let mut left = width;
    let begins = text.chars().take_while(|c| {
        let fits = columns_of(*c) <= left;
        left = left.saturating_sub(columns_of(*c));
        fits
    });
    begins.collect()
}

/// A sentence as lines that fit.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fit(word, width)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_its_terminal_has_room_for() {
        let numbers = ["311 MiB of 1.0 GiB, 12 MiB/s, 58 s left".to_owned(), "311 MiB of 1.0 GiB".to_owned()];
        let line = |width| bar("contracts/2026/report.pdf", (311, 1024), &numbers, width);
        assert_eq!(
            line(99),
            "contracts/2026/report.pdf           [======>             ]  311 MiB of 1.0 GiB, 12 MiB/s, 58 s left"
        );
        assert_eq!(line(79), "contracts/2026/report.pdf            [======>             ]  311 MiB of 1.0 GiB");
        assert_eq!(line(50), "..026/report.pdf  [===>      ]  311 MiB of 1.0 GiB");
        assert_eq!(line(39), "..s/2026/report.pdf  311 MiB of 1.0 GiB");
        assert_eq!(line(19), "..6/report.pdf  30%");
        assert_eq!(line(4), "30%");
    }

    #[test]
    fn no_line_is_wider_than_its_terminal() {
        let numbers = ["311 MiB of 1.0 GiB, 12 MiB/s, 58 s left".to_owned(), "311 MiB of 1.0 GiB".to_owned()];
        for name in ["a", "日本語の契約書の写し.pdf", &"long".repeat(30)] {
            for width in 1..200 {
                let line = bar(name, (311, 1024), &numbers, width);
                assert!(columns(&line) <= width, "{width}: {line:?}");
                let lines = wrapped("stopping: 2 uploads under way may take 30 s more", width);
                assert!(lines.iter().all(|line| columns(line) <= width), "{width}: {lines:?}");
            }
        }
    }

    #[test]
    fn a_bar_fills_from_nothing_to_all() {
        assert_eq!(drawn(percent(0, 10), 10), "[>         ]");
        assert_eq!(drawn(percent(5, 10), 10), "[=====>    ]");
        assert_eq!(drawn(percent(12, 10), 10), "[==========]");
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    }
}
