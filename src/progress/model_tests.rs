//! What is shown, with times that the tests choose.

use super::*;

const MIB: u64 = 1 << 20;

fn upload(id: u64, started: Instant, sent: u64, size: u64) -> TransferInFlight {
    TransferInFlight { id, folder: "/w".into(), path: format!("{id}.pdf").into(), size, sent, started }
}

fn of(transfers: Vec<TransferInFlight>) -> Moment {
    let sent = transfers.iter().map(|upload| upload.sent).sum();
    Moment { transfers, sent, ..Moment::default() }
}

struct Scenario {
    start: Instant,
    bars: Bars,
}

impl Scenario {
    fn new() -> Self {
        Self { start: Instant::now(), bars: Bars::default() }
    }
    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
    fn lines(&mut self, ms: u64, moment: &Moment) -> Vec<String> {
        let now = self.at(ms);
        self.bars.lines(moment, None, (100, 24), now)
    }
}

#[test]
fn small_files_one_after_another_make_no_bar_of_their_own_flicker() {
    let mut scenario = Scenario::new();
    for tick in 0..50 {
        let upload = upload(tick, scenario.at(tick * 100), 0, 4096);
        let moment = Moment { stored: tick, stored_bytes: tick * 4096, sent: tick * 4096, ..of(vec![upload]) };
        let lines = scenario.lines(tick * 100, &moment);
        assert_eq!(lines.len(), usize::from(tick >= 5), "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with(&format!("{tick} stored, 1 to go"))), "{lines:?}");
    }
    let rest = Moment { stored: 50, sent: 50 * 4096, ..Moment::default() };
    assert_eq!(scenario.lines(5000, &rest).len(), 1, "a short rest is no end");
    assert!(scenario.lines(6000, &rest).is_empty());
}

#[test]
fn a_bar_has_bytes_rate_and_time_left_and_a_single_upload_has_no_bar_of_all() {
    let mut scenario = Scenario::new();
    let start = scenario.start;
    scenario.lines(0, &of(vec![upload(1, start, 0, 100 * MIB)]));
    assert!(scenario.lines(400, &of(vec![upload(1, start, 4 * MIB, 100 * MIB)])).is_empty());
    let lines = scenario.lines(1000, &of(vec![upload(1, start, 10 * MIB, 100 * MIB)]));
    assert_eq!(
        lines,
        ["1.pdf                                 [==>                 ]  10 MiB of 100 MiB, 10 MiB/s, 9 s left"]
    );
    let lines = scenario.lines(9000, &of(vec![upload(1, start, 100 * MIB, 100 * MIB)]));
    assert!(lines[0].ends_with("100 MiB sent, the store's answer is to come"), "{lines:?}");
}

#[test]
fn the_bar_of_all_knows_what_waits_and_never_goes_back() {
    let mut scenario = Scenario::new();
    let start = scenario.start;
    let two = |sent| vec![upload(1, start, sent, 10 * MIB), upload(2, start, 0, 10 * MIB)];
    let moment = |sent| Moment { waiting: Some((30, 100 * MIB)), ..of(two(sent)) };
    scenario.lines(0, &moment(0));
    let lines = scenario.lines(1000, &moment(10 * MIB));
    assert_eq!(lines.len(), 3);
    assert!(lines[2].starts_with("0 stored, 30 to go ") && lines[2].ends_with("10 MiB of 100 MiB, 10 MiB/s, 9 s left"));
    // The first file is sent, and its removal is not over.
    let removing = Moment {
        sent: 10 * MIB,
        ..Moment { waiting: Some((30, 100 * MIB)), ..of(vec![upload(2, start, 0, 10 * MIB)]) }
    };
    let lines = scenario.lines(1100, &removing);
    assert!(lines[1].contains("10 MiB of 100 MiB"), "{lines:?}");
}

#[test]
fn hundreds_of_uploads_leave_room_on_the_terminal() {
    let mut scenario = Scenario::new();
    let many = of((0..200).map(|id| upload(id, scenario.start, 0, MIB)).collect());
    let now = scenario.at(1000);
    scenario.lines(0, &many);
    let lines = scenario.bars.lines(&many, None, (20, 8), now);
    assert!(lines.len() <= 6 && lines.contains(&"and 196 more".to_owned()), "{lines:?}");
    assert!(lines.iter().all(|line| line.len() < 20), "{lines:?}");
    assert_eq!(scenario.bars.lines(&many, None, (1, 1), now).len(), 3, "the smallest terminal there is");
}

#[test]
fn a_stop_says_what_it_waits_for_how_long_and_how_to_cut_it_and_counts_down() {
    let mut scenario = Scenario::new();
    let stopping = Stopping { ends: scenario.at(30_000) };
    let two = of(vec![upload(1, scenario.start, 0, MIB), upload(2, scenario.start, 0, MIB)]);
    for (ms, left) in [(0, 30), (100, 30), (12_500, 18), (40_000, 0)] {
        let now = scenario.at(ms);
        let lines = scenario.bars.lines(&two, Some(stopping), (200, 24), now);
        let text = format!("stopping: 2 uploads under way may take {left} s more; press Ctrl-C again to cut them");
        assert_eq!(lines.last(), Some(&text));
    }
    assert!(stopping.line(0, scenario.start, true).ends_with("press Ctrl-C again to end at once"));
    assert!(
        stopping
            .line(1, scenario.start, false)
            .contains("1 upload under way may take 30 s more; signal again to cut it")
    );
}

#[test]
fn without_a_terminal_there_is_a_line_a_minute_while_something_is_under_way() {
    let (start, mut minutes) = (Instant::now(), Minutes::default());
    let minute = |number: u32| start + number * super::super::MINUTE;
    let uploads = |sent| vec![upload(1, start, sent, 1024 * MIB), upload(2, start, 0, MIB)];
    assert_eq!(
        minutes.line(&of(uploads(300 * MIB)), minute(1)).unwrap(),
        "2 uploads in flight: 300 MiB of 1.0 GiB, 5.0 MiB/s; 0 stored so far"
    );
    assert_eq!(
        minutes.line(&of(uploads(900 * MIB)), minute(2)).unwrap(),
        "2 uploads in flight: 900 MiB of 1.0 GiB, 10 MiB/s; 0 stored so far"
    );
    let small = Moment { sent: 960 * MIB, stored: 4998, ..Moment::default() };
    assert_eq!(minutes.line(&small, minute(3)).unwrap(), "0 uploads in flight, 1.0 MiB/s; 4,998 stored so far");
    assert_eq!(minutes.line(&small, minute(4)), None, "nothing is under way");
}
